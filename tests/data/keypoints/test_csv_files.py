"""Tables as people's own scripts write them: what is a person, a score, a joint that is never given."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fakes.lifting import CAMERA, body, seen

from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints import Tracks, read_keypoints
from m2v_lib.data.keypoints.layouts import LAYOUTS

N = 6
JOINTS = LAYOUTS["h36m17"].keypoints
XY = seen(body(N, 25.0))
SCORE = 0.5


def text_of(rows: Sequence[Sequence[object]], separator: str = ",") -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def long_rows(joints: Sequence[int] = range(17), first: Sequence[str] = ()) -> list[list[object]]:
    """A line a keypoint; `first` are names of columns that number the lines."""
    rows: list[list[object]] = [[*first, "frame", "joint", "x", "y", "score"]]
    for frame in range(N):
        for joint in joints:
            row = [frame, joint, *XY[frame, joint].round(2), SCORE]
            rows.append([*[len(rows) - 1] * len(first), *row])
    return rows


def wide_rows(score: str = "score", first: Sequence[str] = ()) -> list[list[object]]:
    """A line a frame; `first` are names of columns that number the lines."""
    titles = [f"{name}_{axis}" for name in JOINTS for axis in ("x", "y", score)]
    rows: list[list[object]] = [[*first, "frame", *titles]]
    for frame in range(N):
        values = np.column_stack([XY[frame].round(2), np.full(17, SCORE)]).ravel()
        rows.append([*[frame] * len(first), frame, *values])
    return rows


def read(text: str | bytes, tmp_path: Path, layout: str | None = "h36m17") -> Tracks:
    file = tmp_path / "k.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_keypoints(file, size=(CAMERA.width, CAMERA.height), fps=25, layout=layout)


@pytest.mark.parametrize("first", [[""], ["id"], ["", "id"]])
def test_a_column_that_numbers_the_rows_is_nobodys_name(first: list[str], tmp_path: Path) -> None:
    for rows in (long_rows(first=first), wide_rows(first=first)):
        layout = None if rows[0][-1] != "score" else "h36m17"
        tracks = read(text_of(rows), tmp_path, layout)
        assert [len(person.frames) for person in tracks.people] == [N]
        assert "columns not read" in " ".join(tracks.notes)
        assert ("'id' differs in every row" in " ".join(tracks.notes)) == ("id" in first)


def test_a_single_frame_of_several_people_keeps_their_names(tmp_path: Path) -> None:
    rows = wide_rows(first=["id"])
    two = [rows[0], rows[1], [1, 0, *(np.array(rows[1][2:], float) + 300)]]
    assert [person.name for person in read(text_of(two), tmp_path).people] == ["0", "1"]


@pytest.mark.parametrize("score", ["visibility", "vis", "p", "prob", "probability", "presence"])
def test_a_score_has_the_same_names_in_both_kinds_of_table(score: str, tmp_path: Path) -> None:
    long = long_rows()
    long[0][-1] = score
    for rows in (long, wide_rows(score)):
        (person,) = read(text_of(rows), tmp_path).people
        np.testing.assert_allclose(person.confidence, SCORE)


def test_columns_that_are_not_read_are_said(tmp_path: Path) -> None:
    tracks = read(text_of(wide_rows("depth")), tmp_path)
    assert any("columns not read: " in note and "depth" in note for note in tracks.notes)


@pytest.mark.parametrize("missing", [0, 16])
def test_a_numbered_joint_that_is_never_given_is_missing_of_a_layout(
    missing: int, tmp_path: Path
) -> None:
    given = [joint for joint in range(17) if joint != missing]
    (person,) = read(text_of(long_rows(given)), tmp_path).people
    assert not person.confidence[:, missing].any() and person.confidence[:, given].all()


@pytest.mark.parametrize(
    "head",
    [
        "sep=;\n",
        '"sep=;"\n',
        "# width=1280, height=720, fps=25\n",
        "# fps=25,width=1280;height=720\n",
    ],
)
def test_first_lines_of_spreadsheets_and_of_people(head: str, tmp_path: Path) -> None:
    tracks = read(head + text_of(wide_rows(), ";"), tmp_path)
    assert len(tracks.people) == 1 and tracks.width == 1280


def test_a_rate_with_a_decimal_comma_is_not_cut(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fps must be a number .* got '29,97'"):
        read("# fps=29,97\n" + text_of(wide_rows(), ";"), tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig"])
def test_text_in_the_encodings_of_other_programs(encoding: str, tmp_path: Path) -> None:
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    text = mark + text_of(wide_rows(), "\t").encode(encoding)
    assert len(read(text, tmp_path).people) == 1
