"""Tensors are written as the safetensors package writes them, in blocks, and are mapped back."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from m2v_lib.data.checks import DataError
from m2v_lib.data.store import tensors
from m2v_lib.data.store.tensors import fingerprint, map_tensors, write_tensors


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "pose": rng.normal(size=(50, 17, 3)).astype(np.float32),
        "label": rng.integers(0, 60, 7),
        "valid": rng.random(5) > 0.5,
        "factor": rng.random(50).astype(np.float32),
        "none": np.empty((0, 3), np.float32),
    }


def test_the_bytes_are_those_of_the_safetensors_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors, "BLOCK_BYTES", 1000)  # several blocks, the last one shorter
    write_tensors(tmp_path / "a", arrays())
    assert (tmp_path / "a").read_bytes() == save(arrays())
    for key, array in map_tensors(
        tmp_path / "a", ("pose", "label", "none"), ("valid", "elsewhere")
    ).items():
        np.testing.assert_array_equal(array, load_file(tmp_path / "a")[key])
        assert array.dtype == arrays()[key].dtype


def test_views_and_wide_floats(tmp_path: Path) -> None:
    wide = np.random.default_rng(1).normal(size=(9, 4, 3))
    write_tensors(
        tmp_path / "a", {"view": wide[::2, :2], "same": np.broadcast_to(np.float64(0.5), (9, 2))}
    )
    back = map_tensors(tmp_path / "a", ("view", "same"))
    np.testing.assert_array_equal(back["view"], wide[::2, :2].astype(np.float32))
    assert back["same"].shape == (9, 2) and (back["same"] == 0.5).all()


def test_a_long_write_shows_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    original = tensors.tqdm
    monkeypatch.setattr(
        tensors, "tqdm", lambda **k: original(**{**k, "delay": 0, "file": shown, "mininterval": 0})
    )
    write_tensors(tmp_path / "train.safetensors", arrays())
    assert "writing train.safetensors: 100%" in shown.getvalue()


def test_a_short_write_shows_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tensors(tmp_path / "a", arrays())
    assert capsys.readouterr().err == ""


def test_missing_and_truncated(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a", {"pose": arrays()["pose"], "valid": arrays()["valid"]})
    with pytest.raises(DataError, match="has no label, expected pose, label"):
        map_tensors(tmp_path / "a", ("pose", "label"))
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"is \d+ bytes long, its header says \d+ \(truncated"):
        map_tensors(tmp_path / "a", ("pose",), ("valid",))


def test_a_fingerprint_is_of_contents_in_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    a, b = tmp_path / "a", tmp_path / "b"
    assert fingerprint([a, b]) != fingerprint([b, a])
    assert fingerprint([a]) == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
