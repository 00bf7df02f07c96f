"""Torch files from anybody: what numpy writes is read as plain data, all else refused, nothing run."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from m2v_lib.models import torch_files
from m2v_lib.models.torch_files import read_checkpoint


def saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def repacked(path: Path, change: Callable[[bytes], bytes], packing: int = 0) -> Path:
    """The same archive with its pickle changed."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", packing or zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(name, change(data) if name.endswith("data.pkl") else data)
    return path


def as_numpy_1(pickle: bytes) -> bytes:
    assert b"numpy._core" in pickle or b"numpy.core" in pickle
    return pickle.replace(b"numpy._core", b"numpy.core")


@pytest.mark.parametrize(("numpy_1", "zipped"), [(False, False), (False, True), (True, True)])
def test_what_numpy_writes_is_plain_data(tmp_path: Path, numpy_1: bool, zipped: bool) -> None:
    content = {
        "epoch": 3,
        "lr": [1e-3, np.float64(5e-4)],
        "best": np.float32(0.5),
        "n": np.int64(-7),
        "done": np.bool_(True),
        "random_state": np.random.RandomState(1234),
        "id": "a run",
        "model_pos": {"module.w": torch.arange(3.0)},
        "array": np.arange(4),
        "shape": torch.Size([2, 3]),
    }
    path = saved(tmp_path / "a.bin", content, _use_new_zipfile_serialization=zipped)
    if numpy_1:
        repacked(path, as_numpy_1)

    read = read_checkpoint(path)

    tensors = read.pop("model_pos")
    assert torch.equal(tensors["module.w"], torch.arange(3.0))
    assert read == {
        "epoch": 3,
        "lr": [1e-3, 5e-4],
        "best": 0.5,
        "n": -7,
        "done": True,
        "random_state": None,
        "id": "a run",
        "array": None,
        "shape": (2, 3),
    }
    assert {type(read[name]) for name in ("best", "n", "done")} == {float, int, bool}


def test_random_state_of_numpy_before_1_17(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.bin", {"random_state": np.random.RandomState(0)})
    old, new = b"numpy.random\n__RandomState_ctor", b"numpy.random._pickle\n__randomstate_ctor"
    repacked(path, lambda pickle: pickle.replace(new, old))
    assert read_checkpoint(path) == {"random_state": None}


class Command:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("zipped", [False, True])
def test_nothing_in_a_file_is_run(tmp_path: Path, zipped: bool) -> None:
    content = {"model_pos": {}, "extra": Command(tmp_path / "ran")}
    path = saved(tmp_path / "a.bin", content, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="refused, expected tensors and numbers alone"):
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def sparse() -> Tensor:
    return torch.eye(3).to_sparse()


def quantised() -> Tensor:
    return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)


@pytest.mark.filterwarnings("ignore:.*(quantize|TypedStorage)")
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (sparse, "sparse"),
        (quantised, "quantised"),
        (lambda: torch.ones(2, dtype=torch.complex64), "complex"),
        (lambda: torch.ones(2, device="meta"), "without numbers"),
        (lambda: torch.ones(1).expand(10**9), "claims more numbers than the file stores"),
        (lambda: torch.ones(5).as_strided((4, 4), (1, 0)), "claims more numbers than the file"),
    ],
)
def test_tensors_that_are_not_dense_numbers_are_refused(
    tmp_path: Path, make: Callable[[], Tensor], said: str
) -> None:
    path = saved(tmp_path / "a.bin", {"model_pos": {"w": make()}})
    with pytest.raises(ValueError, match=rf"a\.bin: refused, .*{said}"):
        read_checkpoint(path)


def test_what_all_tensors_claim_together_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "a.bin", [torch.ones(60), torch.ones(60)])
    monkeypatch.setattr(torch_files, "MAX_ELEMENTS", 120)
    assert len(read_checkpoint(path)) == 2
    monkeypatch.setattr(torch_files, "MAX_ELEMENTS", 119)
    with pytest.raises(ValueError, match="its tensors claim more than 119 numbers"):
        read_checkpoint(path)


def test_deep_nests_and_other_objects_are_refused(tmp_path: Path) -> None:
    nest: list[Any] = []
    for _ in range(40):
        nest = [nest]
    with pytest.raises(ValueError, match="nests more than 32"):
        read_checkpoint(saved(tmp_path / "deep.bin", nest))
    with pytest.raises(ValueError, match="holds a complex"):
        read_checkpoint(saved(tmp_path / "other.bin", {"x": 1 + 2j}))


def test_containers_that_share_are_walked_once(tmp_path: Path) -> None:
    shared: list[Any] = [1]
    for _ in range(30):
        shared = [shared, shared]  # 2^30 ways to the number
    read = read_checkpoint(saved(tmp_path / "a.bin", shared))
    assert read[0] is read[1]


def test_missing_truncated_and_packed_files(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.bin", {"w": torch.ones(100)})
    whole = path.read_bytes()
    with pytest.raises(ValueError, match="no such file"):
        read_checkpoint(tmp_path / "none.bin")

    for n_bytes in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:n_bytes])
        with pytest.raises(ValueError, match="a.bin: (not readable as a torch file|refused)"):
            read_checkpoint(path)

    path.write_bytes(whole)
    repacked(path, bytes, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="unpacks to more than the file's size"):
        read_checkpoint(path)
