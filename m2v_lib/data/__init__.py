"""From motion to batches: cameras, 2D detector, readers of data sets and the store all of them end in.

``prepare(name)`` makes a store under ``default_root()``; ``store.open_store(name)`` opens it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from m2v_lib.data.store import DataError, default_root, open_store

Kind = Literal["synthetic", "mocap"]
#: the files that decide what is in a store: when one changes, an older store is made anew
_CODE = ("cameras.py", "detector.py", "h36m_cameras.json", "kinematics.py", "mocap.py", "styles.py", "synthetic.py")


def prepare(
    name: str,
    *,
    root: Path | str | None = None,
    pack: Path | str | None = None,
    kind: Kind | None = None,
    test_subjects: Sequence[str] | None = None,
    val_subjects: Sequence[str] | None = None,
    input_noise_seed: int = 0,
) -> Path:
    """Make the store ``<root>/<name>`` and return its folder; an existing one of the same recipe is kept as it is.

    ``name`` is "synthetic", "mocap" or any name with ``kind``; "mocap" reads ``pack`` or, without it,
    ``cmu_mocap/cmu_mocap_h36m17_50hz_train.npz`` under ``$M2V_DATA`` (else ``data``). Subjects default to
    the benchmark's (``mocap.TEST_SUBJECTS``). ``input_noise_seed`` fixes the 2D detector's noise.
    Errors are ``DataError``.
    """
    root = Path(root) if root else default_root()
    kind = kind or _kind_of(name, pack)
    if kind == "synthetic":
        if pack or test_subjects or val_subjects:
            raise DataError(f"{name}: synthetic motion takes no pack and no subjects")
        return _prepare_synthetic(root, name, input_noise_seed)
    if kind != "mocap":
        raise DataError(f"{name}: kind {kind!r} is not known, expected synthetic or mocap")
    return _prepare_mocap(root, name, _find_pack(pack), test_subjects, val_subjects, input_noise_seed)


def _kind_of(name: str, pack: Path | str | None) -> Kind:
    if name == "synthetic":
        return "synthetic"
    if name == "mocap" or pack:
        return "mocap"
    raise DataError(f"{name}: no such data set, expected synthetic, mocap or a name with --pack FILE")


def _find_pack(pack: Path | str | None) -> Path:
    from m2v_lib.data.mocap import PACK_FILE

    if pack:
        return Path(pack)
    path = Path(os.environ.get("M2V_DATA") or "data") / "cmu_mocap" / PACK_FILE
    if not path.is_file():
        raise DataError(f"{path}: no such file, run `python data_scripts/fetch_cmu.py` to download CMU motion capture, "
                        "set M2V_DATA to a folder that has it, or name a pack with --pack FILE")  # fmt: skip
    return path


def _prepare_mocap(
    root: Path, name: str, pack: Path, test: Sequence[str] | None, val: Sequence[str] | None, seed: int
) -> Path:
    from m2v_lib.data import mocap
    from m2v_lib.data.detector import DetectorModel

    test, val = tuple(test or mocap.TEST_SUBJECTS), tuple(mocap.VAL_SUBJECTS if val is None else val)
    detector = DetectorModel(seed=seed)
    if not pack.is_file():
        raise DataError(f"{pack}: no such file, expected a motion capture pack (.npz)")
    sha256 = hashlib.sha256(pack.read_bytes()).hexdigest()
    recipe = _recipe(kind="mocap", pack=sha256, test=test, val=val, detector=detector.describe())
    if _is_current(root, name, recipe):
        return root / name
    return mocap.prepare_mocap(
        root, name, mocap.read_pack(pack), source=f"{pack.name} (sha256 {sha256[:12]})",
        test_subjects=test, val_subjects=val, detector=detector, recipe=recipe,
    )  # fmt: skip


def _prepare_synthetic(root: Path, name: str, seed: int) -> Path:
    from m2v_lib.data import synthetic
    from m2v_lib.data.detector import DetectorModel

    detector, plan = DetectorModel(seed=seed), synthetic.Plan()
    recipe = _recipe(kind="synthetic", plan=plan.describe(), detector=detector.describe())
    if _is_current(root, name, recipe):
        return root / name
    return synthetic.prepare_synthetic(root, name, plan, detector=detector, recipe=recipe)


def _recipe(**inputs: object) -> str:
    code = hashlib.sha256(b"".join(Path(__file__).with_name(name).read_bytes() for name in _CODE)).hexdigest()
    text = json.dumps({"code": code, **inputs}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_current(root: Path, name: str, recipe: str) -> bool:
    try:
        store = open_store(name, root)
        store.split("train"), store.split("test")
    except DataError:
        return False
    return store.meta.recipe == recipe
