"""A trained network for other programs: encoder and pose head as an ONNX file, which is then run
against torch.

Exported is the reference path: it is the equations as written, without the fast path's operators
of this library. Needs `pip install "m2v_lib[onnx]"`.
"""
# B batch, T frames, J joints, R features of the representation

from __future__ import annotations

import importlib
import logging
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.models.base import Lifter
from m2v_lib.runs.records import write_atomically
from m2v_lib.training.checkpoint import load_checkpoint

#: largest difference to torch (in the network's units: half the image's width is 1) of a file
#: that is right
TOLERANCE: Final = 1e-4
#: batches the file is tried with; it was traced with 2
TRIED: Final = (1, 2, 5)
INPUT, OUTPUTS = "keypoints", ("pose", "representation")


class _Outputs(nn.Module):
    """(B,T,J,3) -> the pose and, where the model has an encoder, the representation (B,T,J,R)."""

    def __init__(self, model: Lifter) -> None:
        super().__init__()
        self.model = model
        self.names = OUTPUTS if model.has_encoder else OUTPUTS[:1]

    def forward(self, keypoints: Tensor) -> tuple[Tensor, ...]:
        if not self.model.has_encoder:
            return (self.model(keypoints),)
        rep = self.model.encode(keypoints)
        return self.model.decode(rep), rep


def export_onnx(run: Path | str, out: Path) -> float:
    """Write the network of a run (folder or weights) as ONNX, any batch size; returns its
    largest difference to torch.

    Raises ConfigError where a package is missing, where the model draws random numbers in
    `forward`, or where onnxruntime's numbers are not torch's: then no file is left.
    """
    onnx, runtime = _module("onnx"), _module("onnxruntime")
    _module("onnxscript")
    model, exp = load_checkpoint(run)
    if model.draws_in_forward:
        raise ConfigError(
            f"{out}: model.name={exp.model.name} draws the noise it starts from with torch's "
            "generator, which ONNX has not"
        )

    outputs = _Outputs(model.use("reference")).eval()
    found = 0.0

    def write(beside: Path) -> None:
        nonlocal found
        _trace(outputs, beside)
        _describe(onnx, beside, exp, model.output_under(exp.model))
        found = difference(runtime, outputs, beside)
        if not found < TOLERANCE:
            raise ConfigError(
                f"{out}: is off by {found:.1g} from torch, expected less than {TOLERANCE:g}; not "
                "written"
            )

    write_atomically(out, write)
    return found


def difference(runtime: Any, outputs: _Outputs, path: Path) -> float:
    """The largest difference of any output between the file under onnxruntime and the module,
    over some batches.
    """
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng, worst = torch.Generator().manual_seed(0), 0.0

    for n in TRIED:
        x_BTJ3 = _example(outputs, n, rng)
        with torch.no_grad():
            expected = outputs(x_BTJ3)
        for mine, theirs in zip(
            session.run(list(outputs.names), {INPUT: x_BTJ3.numpy()}), expected, strict=True
        ):
            worst = max(worst, float(np.abs(mine - theirs.numpy()).max()))

    return worst


def _trace(outputs: _Outputs, path: Path) -> None:
    """Let torch write the file; what its exporter says of itself is left out."""
    rng = torch.Generator().manual_seed(0)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            outputs,
            (_example(outputs, 2, rng),),
            path,
            input_names=[INPUT],
            output_names=list(outputs.names),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )


def _describe(onnx: Any, path: Path, exp: Experiment, frames_out: str) -> None:
    """Say in the file what goes in and comes out."""
    file = onnx.load(str(path))
    frames = "frames" if frames_out == "all" else f"1: the {frames_out} frame"
    properties = {
        "keypoints": "(batch, frames, joints, 3): x, y (image width to -1 .. 1, y down, same scale), "
        "confidence",
        "pose": f"(batch, {frames}, joints, 3): x, y, z in that unit, y down, z away; subtract "
        "the root",
        "representation": "(batch, frames, joints, features): the encoder's output",
        "frames_per_second": "50",
        "experiment": str(exp.to_dict()),
    }
    onnx.helper.set_model_props(file, properties)
    onnx.checker.check_model(file)
    onnx.save(file, str(path))


def _example(outputs: _Outputs, n: int, rng: torch.Generator) -> Tensor:
    settings = outputs.model.settings
    return torch.randn((n, settings.n_frames, settings.n_joints, 3), generator=rng)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f'ONNX needs {name}, which is not here: pip install "m2v_lib[onnx]"'
        ) from error
