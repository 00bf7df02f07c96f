"""Stands in for the command `m2v` under Snakemake: copies notebooks instead of running them, but
for *broken* ones. One that *stops* does so once, at a checkpoint.

A whole workflow then takes seconds. Tested is the workflow: which jobs, in which order, and what
a failure does.
"""

import json
import sys
from pathlib import Path

from m2v_lib.experiments.run_notebook import run_notebook, status_path
from m2v_lib.runs.records import RESUME_EXIT_CODE


def main(command: str, *words: str) -> int:
    with Path("calls.txt").open("a", encoding="utf-8") as calls:
        calls.write(" ".join([command, *words]) + "\n")
    if command == "report":
        from m2v_lib.report import build

        build(words[1], runs="runs")
    elif command == "data":
        store = Path("stores", words[1], "meta.json")
        store.parent.mkdir(parents=True, exist_ok=True)
        store.write_text("{}", encoding="utf-8")
    elif "stops" in words[0] and not Path("went_on").exists():
        Path("went_on").touch()
        return RESUME_EXIT_CODE
    elif "broken" in words[0]:
        return run_notebook(words[0], words[1], {})
    else:
        out = Path(words[1])
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(Path(words[0]).read_text(encoding="utf-8"), encoding="utf-8")
        status = {
            "notebook": Path(words[0]).name,
            "state": "ok",
            "seconds": 0.1,
            "commit": "0123456789ab",
        }
        status_path(out).write_text(json.dumps(status), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
