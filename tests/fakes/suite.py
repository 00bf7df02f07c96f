"""A suite as `make reproduce` would leave it, in a moment: tiny executed notebooks, statuses and
run records.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from m2v_lib.config import Experiment

SUITE = "synthetic-smoke-paper"
PNG = base64.b64encode(
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
).decode()
FIGURE = {
    "data": [
        {"type": "scatter3d", "mode": "lines", "x": [0, 1, 2], "y": [0, 1, 0], "z": [0, 2, 1]}
    ],
    "layout": {"title": {"text": "a skeleton </script> in a title"}, "height": 420},
    "frames": [
        {
            "name": "1",
            "data": [{"type": "scatter3d", "x": [0, 1, 3], "y": [0, 1, 0], "z": [0, 2, 1]}],
        }
    ],
}


def notebook(*cells: NotebookNode, title: str = "A chapter") -> NotebookNode:
    made = new_notebook(cells=[new_markdown_cell(f"# {title}\n\nGoal."), *cells])
    made.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    return made


def parameters(source: str = "seed: int = 0  # random seed") -> NotebookNode:
    return new_code_cell(source, metadata={"tags": ["parameters"]})


def code(source: str, *outputs: NotebookNode, **metadata: Any) -> NotebookNode:
    return new_code_cell(source, outputs=list(outputs), execution_count=1, metadata=metadata)


def shown(**data: Any) -> NotebookNode:
    """A displayed output in several forms: png, plotly, html, markdown, text."""
    mimes = {"png": "image/png", "plotly": "application/vnd.plotly.v1+json"}
    mimes |= {key: f"text/{key}" for key in ("html", "markdown")} | {"text": "text/plain"}
    return new_output("display_data", data={mimes[key]: value for key, value in data.items()})


def chapter() -> NotebookNode:
    """Maths, a picture, a figure to turn, and a worked answer."""
    return notebook(
        code("seed = 0", tags=["injected-parameters"]),
        new_markdown_cell(
            "## Maths\n\nThe loss is $\\mathcal{L} = \\lVert x \\rVert$ and\n\n$$\\sum_{t=1}^{T} "
            "x_t$$"
        ),
        code("plot()", shown(png=PNG, text="<Figure>")),
        code(
            "nb.shapes(x=x)",
            shown(markdown="| name | shape |\n|---|---|\n| x | 2 × 3 |", text="<Markdown>"),
        ),
        new_markdown_cell(
            "## To turn round\n\nSee [fine-tuning](40_finetune.ipynb) and "
            "[masking](30_masking.ipynb)."
        ),
        code("player()", shown(plotly=FIGURE, text="Figure")),
        code("answer = 42", tags=["solution"]),
    )


def failed_chapter() -> NotebookNode:
    error = new_output(
        "error", ename="ZeroDivisionError", evalue="by zero", traceback=["division by zero"]
    )
    return notebook(code("1 / 0", error), title="A broken chapter")


def write_run(
    folder: Path, name: str, made: NotebookNode | None, state: str, label: str = "", **status: Any
) -> dict:
    """Write an executed notebook and its status; returns the job for `suite.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    if made is not None:
        nbformat.write(made, str(folder / f"{name}.ipynb"))
    file = f"{name.partition('-')[0]}.ipynb"
    if state != "not run":
        text = {
            "schema": 1,
            "notebook": file,
            "state": state,
            "seconds": 1.5,
            "parameters": {"seed": 0},
            **status,
        }
        text.setdefault("commit", "0123456789ab")
        (folder / f"{name}.status.json").write_text(json.dumps(text), encoding="utf-8")
    return {
        "name": name,
        "notebook": file,
        "kind": "chapter",
        "label": label,
        "parameters": {},
        "needs": [],
    }


def write_record(
    root: Path, row_overrides: dict[str, Any], mpjpe: float, data: str = "synthetic"
) -> Path:
    """A finished fine-tuning run as `training.finetune` records it."""
    exp = Experiment.preset("smoke").override({"data.name": data, **row_overrides})
    folder = root / exp.run_name("finetune")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(exp.to_yaml(), encoding="utf-8")
    values = [
        {"kind": "val", "step": step, "mpjpe": mpjpe + 100 / step, "p_mpjpe": 1.0}
        for step in (1, 10, 60)
    ]
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(v) + "\n" for v in values), encoding="utf-8"
    )
    env = {"python": "3.11.7", "packages": {"torch": "2.13.0"}}
    (folder / "env.json").write_text(json.dumps(env), encoding="utf-8")
    result = {
        "schema": 1,
        "stage": "finetune",
        "name": folder.name,
        "data": {
            "name": data,
            "protocol": f"{data} protocol",
            "fingerprint": "f" * 64,
            "input_2d": "detected",
        },
        "preset": "smoke",
        "recipe": "paper",
        "digest": exp.digest("finetune"),
        "seed": 0,
        "schedule": {"steps": 60, "epochs_done": 2.5, "epochs_full": 60, "partial": True},
        "commit": "0123456789ab",
        "device": "cpu",
        "seconds": 12.0,
        "selected": "last",
        "test": {"mpjpe": mpjpe, "p_mpjpe": mpjpe * 0.8},
        "baselines": {"mean_pose": {"mpjpe": 207.0}, "ridge": {"mpjpe": 86.0}},
        "init": "scratch",
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return folder


def write_suite(reports: Path) -> None:
    """Runs that ended well, failed, were killed and never began, with records to fill a table
    and the front page.
    """
    folder, finetuned = reports / "executed" / SUITE, notebook(title="Fine-tuning: stage 2")
    jobs = [
        write_run(folder, "00_start_here", chapter(), "ok"),
        write_run(
            folder,
            "13_broken",
            failed_chapter(),
            "failed",
            error="cell [1]: ZeroDivisionError: by zero",
        ),
        write_run(folder, "24_killed", None, "running"),
        write_run(folder, "30_masking", None, "not run"),
        write_run(folder, "40_finetune-table8-row1-s0", finetuned, "ok", "full model, seed 0"),
        write_run(folder, "40_finetune-table8-row2-s0", finetuned, "ok", "from scratch, seed 0"),
    ]
    plan = {
        "data": "synthetic",
        "preset": "smoke",
        "recipe": "paper",
        "seeds": [0],
        "overrides": {},
        "jobs": jobs,
    }
    (folder / "suite.json").write_text(json.dumps(plan), encoding="utf-8")
    write_record(reports / "runs", {"finetune.init": "pretrained"}, 70.4)
    write_record(reports / "records", {}, 43.2, data="mocap")
