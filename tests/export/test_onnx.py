"""ONNX: what onnxruntime makes of the file is what torch makes of the model, at any batch size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from m2v_lib import cli
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.export import onnx as onnx_export
from m2v_lib.models.registry import build_model
from m2v_lib.models.state_files import save_tensors
from m2v_lib.training.checkpoint import load_checkpoint

TINY = {
    "model.n_layers": 2,
    "model.dim": 8,
    "model.n_heads": 2,
    "model.dim_rep": 8,
    "model.n_frames": 9,
    "pretrain.target_layers": 1,
}


def run(folder: Path, **changes: Any) -> Path:
    """The weights of an untrained network whose batch norm is not the identity."""
    exp = Experiment.preset("smoke").override(
        {**TINY, **{f"model.{k}": v for k, v in changes.items()}}
    )
    model = build_model(exp.model, seed=0).train()
    for n in range(3):
        model(torch.randn(4, 9, 17, 3, generator=torch.Generator().manual_seed(n)))
    save_tensors(folder / "weights.safetensors", model.state_dict(), {"experiment": exp.to_dict()})
    return folder


@pytest.fixture
def runtime() -> Any:
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name, reason=f"no {name} here")
    return pytest.importorskip("onnxruntime", reason="no onnxruntime here")


@pytest.mark.parametrize("graph", ["chain", "similarity"])
def test_the_file_computes_what_torch_does(
    graph: str, tmp_path: Path, runtime: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = run(tmp_path, temporal_graph=graph), tmp_path / "x.onnx"
    assert cli.main(["export", str(folder), "--onnx", str(out)]) == 0
    assert "x.onnx: under onnxruntime at most " in capsys.readouterr().out
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["weights.safetensors", "x.onnx"]
    session = runtime.InferenceSession(str(out))
    assert session.get_inputs()[0].shape == ["batch", 9, 17, 3]
    assert "subtract the root" in session.get_modelmeta().custom_metadata_map["pose"]
    x = torch.randn(7, 9, 17, 3, generator=torch.Generator().manual_seed(9))
    model, _ = load_checkpoint(folder)  # by the fast path
    with torch.no_grad():
        expected = model(x).numpy(), model.encode(x).numpy()
    for mine, theirs in zip(
        session.run(["pose", "representation"], {"keypoints": x.numpy()}), expected, strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_a_file_that_is_off_is_not_written(
    tmp_path: Path, runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "_trace", lambda both, path: path.write_bytes(b""))
    monkeypatch.setattr(onnx_export, "_describe", lambda *_: None)
    monkeypatch.setattr(onnx_export, "difference", lambda *_: 2e-4)
    with pytest.raises(
        ConfigError,
        match=r"x.onnx: is off by 0.0002 from torch, expected less than 0.0001; not writ",
    ):
        onnx_export.export_onnx(run(tmp_path), tmp_path / "x.onnx")
    assert not list(tmp_path.glob("x.onnx*"))


def test_without_its_packages_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(
        ConfigError, match=r'ONNX needs onnx, which is not here: pip install "m2v_lib\[onnx\]"'
    ):
        onnx_export.export_onnx(run(tmp_path), tmp_path / "x.onnx")
