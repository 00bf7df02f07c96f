"""The library is broken on purpose, and a chapter's proof must notice each time.

A break (`breaks.yaml`) is a change of the source in a copy of m2v_lib; of the chapter, the code
cells up to its proofs are run against the copy. One process imports torch once and forks for
every run, which takes a second or two.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
#: The cell up to which each chapter is run.
PROOFS = {
    "20_skeleton_embedding": "20-16",
    "21_attention": "21-20",
    "22_graph_convolution": "22-21",
    "23_adaptive_fusion": "23-13",
    "25_losses_metrics": "25-23",
    "30_masking": "30-15",
    "31_teacher_targets": "31-11",
    "32_pretrain": "32-09",
    "40_finetune": "40-08",
    "24_whole_model": "24-13",
}


class Break(NamedTuple):
    """One change of the library and the proof that must fail by it."""

    name: str
    proof: str  # id of the cell, which begins with the chapter's number
    file: str
    old: str
    new: str

    @property
    def chapter(self) -> str:
        return next(chapter for chapter in PROOFS if chapter[:2] == self.proof[:2])


BREAKS = [
    Break(**entry)
    for entry in yaml.safe_load((ROOT / "tests" / "breaks.yaml").read_text(encoding="utf-8"))
]

#: Reads jobs [name, folder of the copy, cells] and writes {name: [[cell, error, what it said] of
#: each that failed]}.
RUNNER = """
import json, os, sys
import IPython.display, matplotlib, numpy, pandas, plotly.graph_objects, safetensors.torch, torch, yaml
matplotlib.use("Agg")
torch.set_num_threads(1)
results = {}
for name, folder, cells in json.load(sys.stdin):
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        sys.path.insert(0, folder)
        sys.stdout = open(os.devnull, "w")
        said, space = [], {"__name__": "__main__"}
        for cell, source in cells:
            try:
                exec(compile(source, cell, "exec"), space)
            except BaseException as error:
                said.append([cell, type(error).__name__, str(error)[:500]])
        import m2v_lib
        if not m2v_lib.__file__.startswith(folder):
            said = [["none", "ImportError", "the copy was not the one that ran"]]
        os.write(theirs, json.dumps(said).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    results[name] = json.loads(said) if status == 0 else [["none", "exit", str(status)]]
print(json.dumps(results))
"""


def cells_up_to_the_proof(chapter: str) -> list[tuple[str, str]]:
    cells: list[dict[str, Any]] = json.loads(
        (ROOT / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8")
    )["cells"]
    ids = [cell["id"] for cell in cells]
    needed = cells[: ids.index(PROOFS[chapter]) + 1]
    return [(cell["id"], "".join(cell["source"])) for cell in needed if cell["cell_type"] == "code"]


def broken_copy(change: Break, folder: Path) -> Path:
    """A copy of the library with the change; the old text must stand there exactly once."""
    shutil.copytree(ROOT / "m2v_lib", folder / "m2v_lib")
    path = folder / "m2v_lib" / change.file
    text = path.read_text(encoding="utf-8")
    assert text.count(change.old) == 1, (
        f"{change.name}: {text.count(change.old)} places to change in {change.file}"
    )
    path.write_text(text.replace(change.old, change.new), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[str]]]:
    """The cells that failed in each run: of every chapter on the library as it is, then of every
    break.
    """
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    folder = tmp_path_factory.mktemp("broken")
    jobs = [(chapter, str(ROOT), cells_up_to_the_proof(chapter)) for chapter in PROOFS]
    for number, change in enumerate(BREAKS):
        copy = broken_copy(change, folder / str(number))
        jobs.append((change.name, str(copy), cells_up_to_the_proof(change.chapter)))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "M2V_STORE": str(folder / "stores"),
        "M2V_RUNS": str(folder / "runs"),
        "PYTHONPATH": "",
    }
    run = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(jobs),
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_there_are_enough_breaks_and_each_has_a_name() -> None:
    assert len({change.name for change in BREAKS}) == len(BREAKS) >= 12
    assert {change.chapter for change in BREAKS} == set(PROOFS)


@pytest.mark.parametrize("chapter", PROOFS)
def test_the_library_as_it_is_passes(outcomes: dict[str, list[list[str]]], chapter: str) -> None:
    assert outcomes[chapter] == []


@pytest.mark.parametrize("change", BREAKS, ids=lambda change: change.name.replace(" ", "-"))
def test_the_proof_notices(outcomes: dict[str, list[list[str]]], change: Break) -> None:
    failed = [(cell, error) for cell, error, _ in outcomes[change.name]]
    assert (change.proof, "AssertionError") in failed, (
        f"{change.chapter}: failed were {failed or 'no cells'}"
    )
