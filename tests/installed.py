"""What an installed wheel has to do by itself, in an empty folder: `python tests/installed.py`,
on any system. Not collected by pytest: it is for the wheel, not for the checkout.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

#: Each is one call of the command line; `{sample}` and `{run}` are filled in.
CALLS = (
    "--version",
    "lift {sample} -o out.html out.bvh",
    "chapters course",
    "rows table8",
    "cite",
    "data prepare synthetic",
    "train table8/2 --preset smoke --data synthetic --set run.max_steps=20",
    "evaluate {run}",
)


def main() -> int:
    # Not the checkout: the folder of this script is the first place that Python looks in.
    where = "import m2v_lib.lift as l, pathlib; print(pathlib.Path(l.__file__).parent)"
    with tempfile.TemporaryDirectory() as folder:
        env = {k: v for k, v in os.environ.items() if not k.startswith(("M2V_", "PYTHONPATH"))}

        def run(*words: str) -> str:
            print(">", *words[2:], flush=True)
            done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"exit code {done.returncode}\n{done.stdout}{done.stderr}")
            return done.stdout

        sample = Path(run(sys.executable, "-c", where).strip(), "sample_video.npz")
        for call in CALLS:
            trained = next(Path(folder).glob("reports/runs/finetune-*"), Path())
            words = [word.format(sample=sample, run=trained) for word in call.split()]
            print("\n".join(run(sys.executable, "-m", "m2v_lib.cli", *words).splitlines()[-2:]))

        assert len(list(Path(folder, "course").glob("*.ipynb"))) > 30
        assert Path(folder, "out.bvh").read_text().startswith("HIERARCHY")
    return 0


if __name__ == "__main__":
    sys.exit(main())
