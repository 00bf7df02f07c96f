"""The library is broken on purpose, and a chapter's proof must notice each time.

A break is a change of the source in a copy of m2v_lib; of the chapter, the code cells up to its proof are run against
the copy. One process imports torch once and forks for every run, which takes a second or two.
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
    """One change of the library and the chapter that must fail by it."""

    name: str
    chapter: str
    file: str
    old: str
    new: str


BREAKS = [
    Break(
        "joints' positions in reverse order",
        "20_skeleton_embedding",
        "model.py",
        "x_BTJD = x_BTJD + self.pos_embed",
        "x_BTJD = x_BTJD + self.pos_embed.flip(1)",
    ),
    Break(
        "the width of all heads under the root",
        "21_attention",
        "layers/attention.py",
        '(dim // n_heads if qk_scale == "head" else dim) ** -0.5',
        "dim**-0.5",
    ),
    Break(
        "attention over the other axis",
        "21_attention",
        "layers/attention.py",
        "self.axis = axis",
        'self.axis = "temporal" if axis == "spatial" else "spatial"',
    ),
    Break(
        "softmax over who asks",
        "21_attention",
        "layers/attention.py",
        ".softmax(dim=-1)",
        ".softmax(dim=-2)",
    ),
    Break(
        "no residual around attention",
        "21_attention",
        "model.py",
        "x = x_BTJD + scaled(self.mixer(self.norm1(x_BTJD)), self.layer_scale_1)",
        "x = scaled(self.mixer(self.norm1(x_BTJD)), self.layer_scale_1)",
    ),
    Break(
        "fusion weights swapped",
        "23_adaptive_fusion",
        "layers/fusion.py",
        "alpha[..., 0:1] * attention_BTJD + alpha[..., 1:2] * graph_BTJD",
        "alpha[..., 1:2] * attention_BTJD + alpha[..., 0:1] * graph_BTJD",
    ),
    Break(
        "minus in the graph convolution",
        "22_graph_convolution",
        "layers/graph.py",
        "torch.relu(u_BTJD + self.normalise(mixed))",
        "torch.relu(u_BTJD - self.normalise(mixed))",
    ),
    Break(
        "bones in one direction",
        "22_graph_convolution",
        "skeleton.py",
        "adjacency[parent, child] = adjacency[child, parent] = 1.0",
        "adjacency[child, parent] = 1.0",
    ),
    Break(
        "the frame after instead of before",
        "22_graph_convolution",
        "layers/graph.py",
        "torch.diag(neighbour, -1 if self.previous else 1)",
        "torch.diag(neighbour, 1 if self.previous else -1)",
    ),
    Break(
        "normalised over the features of a token",
        "22_graph_convolution",
        "layers/graph.py",
        "return self.batch_norm(view)",
        "return nn.functional.layer_norm(view, view.shape[-1:], self.batch_norm.weight, self.batch_norm.bias)",
    ),
    Break(
        "no residual around the MLP",
        "22_graph_convolution",
        "model.py",
        """self.convolve_normed(x_BTJD)
        return x + scaled(self.mlp(self.norm2(x)), self.layer_scale_2)""",
        """self.convolve_normed(x_BTJD)
        return scaled(self.mlp(self.norm2(x)), self.layer_scale_2)""",
    ),
    Break(
        "velocity taken from joint to joint",
        "25_losses_metrics",
        "losses.py",
        "torch.diff(pred_BTJ3, dim=1), torch.diff(target_BTJ3, dim=1)",
        "torch.diff(pred_BTJ3, dim=2), torch.diff(target_BTJ3, dim=2)",
    ),
    Break(
        "eq. (10) as printed",
        "25_losses_metrics",
        "losses.py",
        "return mpjpe_loss(dot / square * pred_BTJ3, target_BTJ3)",
        "return (dot / square).mean() * mpjpe_loss(pred_BTJ3, target_BTJ3)",
    ),
    Break(
        "no gradient through the scale",
        "25_losses_metrics",
        "losses.py",
        "return mpjpe_loss(dot / square * pred_BTJ3",
        "return mpjpe_loss((dot / square).detach() * pred_BTJ3",
    ),
    Break(
        "Procrustes may mirror",
        "25_losses_metrics",
        "metrics.py",
        "sign[..., -1] = np.sign(np.linalg.det(u @ vt))",
        "sign[..., -1] = 1.0",
    ),
    Break(
        "loss weights swapped",
        "40_finetune",
        "losses.py",
        'w_scale * parts["n_mpjpe"] + w_velocity * parts["velocity"]',
        'w_velocity * parts["n_mpjpe"] + w_scale * parts["velocity"]',
    ),
    Break(
        "spans may start one later",
        "30_masking",
        "pretraining/masking.py",
        "n_starts = J - SPAN",
        "n_starts = J - SPAN + 1",
    ),
    Break(
        "the share that is seen is hidden",
        "30_masking",
        "pretraining/masking.py",
        "round(mask_prob * T * J)",
        "round((1 - mask_prob) * T * J)",
    ),
    Break(
        "tau and 1 - tau",
        "31_teacher_targets",
        "pretraining/teacher.py",
        "torch._foreach_lerp_(mine, theirs, 1.0 - tau)",
        "torch._foreach_lerp_(mine, theirs, tau)",
    ),
    Break(
        "first K blocks",
        "31_teacher_targets",
        "pretraining/teacher.py",
        "outputs[-n_layers:]",
        "outputs[:n_layers]",
    ),
    Break(
        "no layer norm of the mean",
        "31_teacher_targets",
        "pretraining/teacher.py",
        "nn.functional.layer_norm(nn.functional.layer_norm(chosen, width).mean(0), width)",
        "nn.functional.layer_norm(chosen, width).mean(0)",
    ),
    Break(
        "views of another clip",
        "32_pretrain",
        "pretraining/objective.py",
        "target.repeat_interleave(M, dim=0)",
        "target.repeat(M, 1, 1, 1)",
    ),
    Break(
        "visible tokens count",
        "32_pretrain",
        "pretraining/objective.py",
        "weight = mask_BTJ.to(per_token.dtype)",
        "weight = torch.ones_like(per_token)",
    ),
    Break(
        "time before space",
        "24_whole_model",
        "model.py",
        "self.att_temporal(self.att_spatial(x_BTJD))",
        "self.att_spatial(self.att_temporal(x_BTJD))",
    ),
]

#: Reads jobs [name, folder of the copy, cells] and writes {name: "" or where and how it failed}.
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
        said, space = "", {"__name__": "__main__"}
        for cell, source in cells:
            try:
                exec(compile(source, cell, "exec"), space)
            except BaseException as error:
                said = f"{cell}: {type(error).__name__}: {error}"[:2000]
                break
        import m2v_lib
        if not m2v_lib.__file__.startswith(folder):
            said = "the copy was not the one that ran"
        os.write(theirs, said.encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    results[name] = said if status == 0 else f"ended with status {status}"
print(json.dumps(results))
"""


def cells_up_to_the_proof(chapter: str) -> list[tuple[str, str]]:
    cells: list[dict[str, Any]] = json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8"))[
        "cells"
    ]
    ids = [cell["id"] for cell in cells]
    needed = cells[: ids.index(PROOFS[chapter]) + 1]
    return [(cell["id"], "".join(cell["source"])) for cell in needed if cell["cell_type"] == "code"]


def broken_copy(change: Break, folder: Path) -> Path:
    """A copy of the library with the change; the old text must stand there exactly once."""
    shutil.copytree(ROOT / "m2v_lib", folder / "m2v_lib")
    path = folder / "m2v_lib" / change.file
    text = path.read_text(encoding="utf-8")
    assert text.count(change.old) == 1, f"{change.name}: {text.count(change.old)} places to change in {change.file}"
    path.write_text(text.replace(change.old, change.new), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """How each run ended: every chapter on the library as it is, then every break."""
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    folder = tmp_path_factory.mktemp("broken")
    jobs = [(chapter, str(ROOT), cells_up_to_the_proof(chapter)) for chapter in PROOFS]
    for number, change in enumerate(BREAKS):
        copy = broken_copy(change, folder / str(number))
        jobs.append((change.name, str(copy), cells_up_to_the_proof(change.chapter)))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "M2V_STORE": str(folder / "stores"),
                   "M2V_RUNS": str(folder / "runs"), "PYTHONPATH": ""}  # fmt: skip
    run = subprocess.run([sys.executable, "-c", RUNNER], input=json.dumps(jobs), env=environment, cwd=folder,
                         capture_output=True, text=True, timeout=300)  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_there_are_enough_breaks_and_each_has_a_name() -> None:
    assert len({change.name for change in BREAKS}) == len(BREAKS) >= 12
    assert {change.chapter for change in BREAKS} == set(PROOFS)


@pytest.mark.parametrize("chapter", PROOFS)
def test_the_library_as_it_is_passes(outcomes: dict[str, str], chapter: str) -> None:
    assert outcomes[chapter] == ""


@pytest.mark.parametrize("change", BREAKS, ids=lambda change: change.name.replace(" ", "-"))
def test_a_proof_notices(outcomes: dict[str, str], change: Break) -> None:
    said = outcomes[change.name]
    assert "AssertionError" in said, f"{change.chapter} did not notice: {change.name} ({said or 'it ran through'})"
