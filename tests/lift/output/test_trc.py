"""OpenSim's markers, read back by the format's plain rules by a reader of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.lifting import CAMERA, body

from m2v_lib.data.checks import DataError
from m2v_lib.lift import save
from m2v_lib.lift.people import Lifted, Motion
from m2v_lib.skeletons.h36m import JOINTS


def read(path: Path) -> tuple[dict[str, str], list[str], np.ndarray, np.ndarray]:
    """Header, marker names, times (n,) and points (n,M,3), NaN where cells are empty."""
    lines = path.read_text().split("\n")
    header = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True))
    markers = [word for word in lines[3].split("\t")[2:] if word]
    assert lines[3].split("\t")[:2] == ["Frame#", "Time"] and lines[5] == ""
    rows = [line.split("\t") for line in lines[6:] if line]
    assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1))
    values = np.array([[float(cell or "nan") for cell in row[1:]] for row in rows])
    assert values.shape == (int(header["NumFrames"]), 1 + 3 * int(header["NumMarkers"]))
    assert len(lines[4].split("\t")) == 2 + 3 * len(markers)
    return header, markers, values[:, 0], values[:, 1:].reshape(len(rows), -1, 3)


def piece(name: str, start: int, joints: np.ndarray) -> Lifted:
    root, seen = joints[:, 0], joints[..., 0] > np.inf
    pose = joints - root[:, None]
    return Lifted(name, start, pose, root, joints[..., :2], np.ones(seen.shape), seen)


def motion(*people: Lifted) -> Motion:
    return Motion("made", 25.0, 60, CAMERA, people, {"units": "mm"})


def test_markers_are_the_joints_standing_on_a_floor(tmp_path: Path) -> None:
    joints = body(60, 25)
    assert save(motion(piece("1", 0, joints)), tmp_path / "x.trc") == [tmp_path / "x.trc"]
    header, markers, seconds, points = read(tmp_path / "x.trc")
    assert header["Units"] == "mm" and float(header["DataRate"]) == 25
    assert markers == [name.replace(" ", "_") for name in JOINTS]
    np.testing.assert_allclose(seconds, np.arange(60) / 25)
    assert abs(points[..., 1].min()) < 1e-3, "the lowest point is on the floor"
    assert (points[:, JOINTS.index("head"), 1] > points[:, JOINTS.index("right ankle"), 1]).all()
    upright = joints * (1, -1, -1)
    moved = points - points[0, 0]
    np.testing.assert_allclose(moved, upright - upright[0, 0], atol=2e-3)


def test_gaps_are_empty_absent_joints_left_out_and_people_apart(tmp_path: Path) -> None:
    joints = body(60, 25)
    people = piece("1", 40, joints[40:60]), piece("1", 10, joints[10:20]), piece("2", 0, joints)
    made = replace(motion(*people), absent=(9,))
    assert [p.name for p in save(made, tmp_path / "x.trc")] == ["x-1.trc", "x-2.trc"]
    _, markers, _, points = read(tmp_path / "x-1.trc")
    assert "nose" not in markers and len(markers) == 16 and len(points) == 60
    seen = np.isfinite(points).all((1, 2))
    assert np.flatnonzero(seen).tolist() == [*range(10, 20), *range(40, 60)]
    step = points[45, 0] - points[15, 0]
    np.testing.assert_allclose(step, (joints[45, 0] - joints[15, 0]) * (1, -1, -1), atol=2e-3)


def test_with_z_up_the_floor_is_where_z_is_0_and_people_face_the_same_way(tmp_path: Path) -> None:
    made = motion(piece("1", 0, body(5, 25)))
    save(made, tmp_path / "y.trc")
    save(made, tmp_path / "z.trc", up="z")
    upright, other = read(tmp_path / "y.trc")[3], read(tmp_path / "z.trc")[3]
    np.testing.assert_allclose(other, upright[..., [0, 2, 1]] * (1, -1, 1), atol=1e-3)
    with pytest.raises(DataError, match="up must be y or z, got 'x'"):
        save(made, tmp_path / "x.trc", up="x")
