"""Small files in Human3.6M's layouts, made once, for the tests that read them whole and broken.
No tests here.
"""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m2v_lib.data import prepare
from m2v_lib.data.export import export_store
from m2v_lib.data.sources.mocap import prepare_mocap
from m2v_lib.data.sources.synthetic import Plan, make_pack
from m2v_lib.data.store import DataError, open_store

PICKLE, WORLD, CPN, GT = (
    "h36m_sh_conf_cam_source_final.pkl",
    "data_3d_h36m.npz",
    "data_2d_h36m_cpn_ft_h36m_dbb.npz",
    "data_2d_h36m_gt.npz",
)
N_FRAMES = 9

Edit = Callable[[dict[str, Any]], object]


class Files:
    """One store in every layout below ``folder``; ``pickle`` and ``npz`` give contents to change
    and save again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        pack = make_pack(Plan(n_train=2, n_test=2, n_frames=24, styles=("walk", "wave")))
        prepare_mocap(
            folder / "stores",
            "toy",
            pack,
            source="x",
            test_subjects=("SYN_3", "SYN_4"),
            val_subjects=(),
        )
        self.store = open_store("toy", folder / "stores")
        root = folder / "stores"
        export_store("toy", "h36m-clips", folder, root=root, n_frames=N_FRAMES)
        for kind in ("detected", "gt"):
            export_store("toy", "h36m-npz", folder, root=root, input_2d=kind)
        self._pickle = pickle.loads((folder / PICKLE).read_bytes())
        self._npz: dict[str, dict[str, Any]] = {}
        for name in (WORLD, CPN, GT):
            with np.load(folder / name, allow_pickle=True) as held:
                self._npz[name] = {key: held[key].item() for key in held.files}

    def pickle(self) -> dict[str, Any]:
        return copy.deepcopy(self._pickle)

    def npz(self, name: str) -> dict[str, Any]:
        return copy.deepcopy(self._npz[name])


def save_pickle(path: Path, content: Any) -> Path:
    path.write_bytes(pickle.dumps(content, 4))
    return path


def save_npz(path: Path, **objects: Any) -> Path:
    np.savez(path, **{key: np.array(value, object) for key, value in objects.items()})  # type: ignore[arg-type]
    return path


def refused(folder: Path, sentence: str, *sources: Path, begins: Path) -> None:
    """Preparing these sources ends in the sentence, which begins with a file, and leaves no
    store behind.
    """
    root = folder / "stores"
    with pytest.raises(DataError, match=sentence) as caught:
        prepare("h36m", root=root, source=sources)
    assert str(caught.value).startswith(str(begins)) and "\n" not in str(caught.value)
    assert not root.exists() or not list(root.iterdir())


class System:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch was-run",)
