"""Broken ``.npz`` files in Human3.6M's camera-space layout: one sentence that names file and
place, no store.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.h36m import CPN, WORLD, Edit, Files, System, refused, save_npz


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("h36m"))


def in_2d(change: Callable[[list[np.ndarray]], Any]) -> Edit:
    """An edit of the four cameras' arrays of one recording."""

    def edit(held: dict[str, Any]) -> None:
        views = held["positions_2d"]["S9"]["wave 1"]
        held["positions_2d"]["S9"]["wave 1"] = change(views)

    return edit


def nan_at_5(views: list[np.ndarray]) -> list[np.ndarray]:
    views[1][5] = np.nan
    return views


FILES_2D: dict[str, tuple[Edit, str]] = {
    "no key": (
        lambda h: h.update(positions_2d=[1]),
        "has no dict of subjects and actions under the key 'positions_2d'",
    ),
    "no recording": (
        lambda h: h["positions_2d"]["S9"].pop("wave 1"),
        "S9, wave 1 is missing, expected an array for ea",
    ),
    "three cameras": (
        in_2d(lambda v: v[:3]),
        "S9, wave 1 is no list of them, expected an array for each of 4 cameras",
    ),
    "cameras in another order": (
        in_2d(lambda v: v[::-1]),
        "S9, wave 1, 54138969: its [xy] does not follow [xy] of the",
    ),
    "too short": (
        in_2d(lambda v: [a[:-1] for a in v]),
        "S9, wave 1, 54138969 has 23 frames, expected the 24 of its 3D",
    ),
    "13 joints": (
        in_2d(lambda v: [a[:, :13] for a in v]),
        r"has shape \(24, 13, 2\), expected \(frames, 17 joints, 2\)",
    ),
    "nan": (in_2d(nan_at_5), "S9, wave 1, 55011271 at frame 5 is not a finite number"),
    "normalised": (
        in_2d(lambda v: [a / 500 - 1 for a in v]),
        "expected pixels and not normalised coordinates",
    ),
    "left for right": (
        in_2d(lambda v: [a * [-1, 1] + [1000, 0] for a in v]),
        "its x does not follow x of the 3D joints",
    ),
    "another layout of 17": (
        lambda h: h["metadata"].update(layout_name="coco"),
        "metadata says 17 joints of layout 'coco', expected 17 of 'h36m'",
    ),
    "hostile": (in_2d(lambda v: System()), "array 'positions_2d': asks for 'posix.system'"),
}


@pytest.mark.parametrize("fault", FILES_2D)
def test_a_broken_2d_file(
    fault: str, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    edit, sentence = FILES_2D[fault]
    held = files.npz(CPN)
    edit(held)
    path = save_npz(tmp_path / CPN, **held)
    refused(tmp_path, sentence, files.folder / WORLD, path, begins=path)
    assert not (tmp_path / "was-run").exists()


def in_3d(change: Callable[[np.ndarray], Any]) -> Edit:
    def edit(held: dict[str, Any]) -> None:
        positions = held["positions_3d"]["S11"]
        positions["wave 1"] = change(positions["wave 1"])

    return edit


FILES_3D: dict[str, tuple[Edit, str]] = {
    "17 joints": (
        in_3d(lambda a: a[:, :17]),
        r"S11, wave 1 has shape \(24, 17, 3\), expected \(frames, 32 joints, 3\)",
    ),
    "millimetres": (
        in_3d(lambda a: a * 1000),
        "S11, wave 1, metres times 1000: the median bone is .* long, expected 30",
    ),
    "nan": (in_3d(lambda a: a * np.nan), "S11, wave 1 at frame 0 is not a finite number"),
    "no frame": (in_3d(lambda a: a[:0]), r"S11, wave 1 has shape \(0, 32, 3\)"),
    "numbers as text": (
        in_3d(lambda a: a.astype(str)),
        "S11, wave 1 is no array of numbers, expected positions",
    ),
    "no test subject": (
        lambda h: [h["positions_3d"].pop(s) for s in ("S9", "S11")],
        "split test is empty: it needs S9 or S11, the file has S1, S5",
    ),
}


@pytest.mark.parametrize("fault", FILES_3D)
def test_a_broken_3d_file(fault: str, files: Files, tmp_path: Path) -> None:
    edit, sentence = FILES_3D[fault]
    held = files.npz(WORLD)
    edit(held)
    path = save_npz(tmp_path / WORLD, **held)
    refused(tmp_path, sentence, path, files.folder / CPN, begins=path)


def test_a_world_that_lies_on_its_side(files: Files, tmp_path: Path) -> None:
    held = files.npz(WORLD)
    for actions in held["positions_3d"].values():
        for name, positions in actions.items():
            actions[name] = positions[..., [0, 2, 1]]
    path = save_npz(tmp_path / WORLD, **held)
    sentence = (
        "does not follow . of the 3D joints|expected in front of the lens; are positions_3d in "
        "world metres, z up"
    )
    refused(tmp_path, sentence, path, files.folder / CPN, begins=files.folder / CPN)
