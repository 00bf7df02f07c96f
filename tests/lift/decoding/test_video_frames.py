"""Films of every container to pictures with their times; parts, cuts, damage, pixels that are not
square, interlaced halves.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.films import CODECS, film, picture

from m2v_lib.lift.decoding.video_frames import (
    Video,
    VideoError,
    cuts,
    one_field,
    rate_of,
    thumbnail,
)
from m2v_lib.lift.video import is_video

pytest.importorskip("av")


def shades(n: int, rise: int = 4) -> list[np.ndarray]:
    return [picture(40 + rise * t) for t in range(n)]


def read(video: Video) -> tuple[list[float], list[int]]:
    """Times, and the shade of each picture's middle."""
    found = [(seconds, int(p[30, 40, 0])) for seconds, p in video.pictures()]
    times, grey = zip(*found, strict=True)
    return list(times), list(grey)


@pytest.mark.parametrize("container", CODECS)
def test_every_container_by_its_content(tmp_path: Path, container: str) -> None:
    path = film(tmp_path / "no ending", shades(30), container=container)
    assert is_video(path)
    video = Video(path)
    every = video.times()
    times, grey = read(video)
    np.testing.assert_allclose(every, np.arange(30) / 25, atol=2e-3)
    np.testing.assert_allclose(times, every, atol=2e-3)
    if container != "gif":  # of eight greys
        np.testing.assert_allclose(grey, 40 + 4 * np.arange(30), atol=8)
    assert video.notes == [] and rate_of(times) == pytest.approx(25, rel=0.01)

    part = Video(path, 0.4, 0.8)
    times, grey = read(part)
    assert len(times) == 10 and part.first == pytest.approx(0.4, abs=2e-3)
    assert times[0] == 0 and times[-1] == pytest.approx(0.36, abs=2e-3)
    if container != "gif":
        np.testing.assert_allclose(grey, 80 + 4 * np.arange(10), atol=8)


def test_a_part_far_into_a_film_is_found_by_its_time(tmp_path: Path) -> None:
    for container, between in (("mp4", "30"), ("mpegts", "12"), ("mpegts", "300")):
        path = film(tmp_path / "x", shades(200, 1), container=container, options={"g": between})
        part = Video(path, 5.2, 5.6)
        times, grey = read(part)
        assert (len(times), part.first) == (10, pytest.approx(5.2, abs=2e-3))
        np.testing.assert_allclose(grey, 40 + 130 + np.arange(10), atol=4)
    with pytest.raises(VideoError, match="holds no frame in this part, expected a video"):
        list(Video(path, 60.0).pictures())


def test_what_cannot_seek_is_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    path = film(tmp_path / "x", shades(30))
    video = Video(path)

    class Unseekable:
        def __init__(self, container: Any) -> None:
            self.container = container

        def __getattr__(self, name: str) -> Any:
            return getattr(self.container, name)

        def seek(self, *_: object) -> None:
            raise av.error.PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(video, "_container", Unseekable(video._container))
    assert len(video.times()) == len(read(video)[0]) == 30


def test_a_telephones_turn_and_pixels_that_are_not_square(tmp_path: Path) -> None:
    corners = {0: (0, 0), 90: (-1, 0), 180: (-1, -1), 270: (0, -1)}
    for turn, corner in corners.items():
        path = film(tmp_path / f"{turn}.mp4", shades(3), turn=turn)
        one = next(Video(path).pictures())[1]
        assert one.shape == ((48, 64, 3) if turn % 180 == 0 else (64, 48, 3))
        assert [c for c in corners.values() if one[c].mean() > 200] == [corner]
    wide = film(tmp_path / "wide.mp4", shades(3), shape=Fraction(4, 3))
    assert next(Video(wide).pictures())[1].shape == (48, 85, 3)


def test_a_damaged_file_is_read_as_far_as_it_can_be_and_it_is_said(tmp_path: Path) -> None:
    whole = film(tmp_path / "x.avi", shades(100, 1), container="avi", options={"g": "10"})
    data = bytearray(whole.read_bytes())
    cut = tmp_path / "cut.avi"
    cut.write_bytes(bytes(data[: len(data) // 2]))
    video = Video(cut)
    times, _ = read(video)
    assert 5 < len(times) < 60 and len(video.notes) == 1
    assert len(Video(cut).times()) >= len(times)
    said = rf"pictures end at {times[-1]:.1f} s of \d\.\d s: the file is cut off"
    assert re.fullmatch(said, video.notes[0])

    film(tmp_path / "x.mp4", shades(100, 1), options={"g": "10", "bf": "0"})
    data = bytearray((tmp_path / "x.mp4").read_bytes())
    begin = data.index(b"mdat") + 4
    middle = begin + (len(data) - begin) // 3
    data[middle : middle + 300] = bytes(range(150)) * 2
    (tmp_path / "holes.mp4").write_bytes(bytes(data))
    video = Video(tmp_path / "holes.mp4")
    times, grey = read(video)
    assert times[0] == 0 and times[-1] == pytest.approx(3.96) and grey[-1] > 130
    assert len(times) < 100 and "damaged parts left out: " in video.notes[0]

    (tmp_path / "end.mp4").write_bytes((tmp_path / "x.mp4").read_bytes()[:900])
    with pytest.raises(VideoError, match="its index is missing, was the recording cut off"):
        Video(tmp_path / "end.mp4")


def test_interlaced_pictures_lose_their_comb() -> None:
    """A bar that moved between the two halves: only where it was at the first."""
    comb = np.zeros((48, 64, 3), np.uint8)
    comb[::2, 10:20], comb[1::2, 30:40] = 200, 200
    out = one_field(comb)
    assert out.shape == comb.shape
    assert (out[:, 10:20] == 200).all() and not out[:, 30:40].any()
    slope = np.repeat(np.arange(0, 240, 5, dtype=np.uint8)[:, None, None], 3, axis=2)
    assert np.abs(one_field(slope)[:-1].astype(int) - slope[:-1]).max() <= 1


def test_interlaced_films_are_known_and_said(tmp_path: Path) -> None:
    comb = picture(60)
    comb[1::2, 30:] = 200
    options = {"flags": "+ildct+ilme"}
    path = film(tmp_path / "x.mpg", [comb] * 6, container="mpeg", options=options)
    video = Video(path)
    found = [p for _, p in video.pictures()]
    assert len(found) == 6 and found[0][:, 40:].max() < 90, "the other half is gone"
    assert video.notes == ["interlaced: of each picture the first of its two halves is read"]


def scene(seed: int) -> Callable[[int], np.ndarray]:
    rng = np.random.default_rng(seed)
    field = rng.integers(0, 255, (4, 15, 3), dtype=np.uint8).repeat(40, 0).repeat(40, 1)
    return lambda t: field[:150, 5 * t : 5 * t + 200]


def test_cuts_are_found_and_nothing_else() -> None:
    a, b = scene(0), scene(1)
    shots = [a(t) for t in range(20)] + [b(t) for t in range(20)] + [a(t) for t in range(9)]
    assert cuts([thumbnail(p) for p in shots]) == [20, 40]

    calm = np.full((150, 200, 3), 90, np.uint8)
    flash = [calm] * 10 + [np.full_like(calm, 250)] + [calm] * 10
    assert cuts([thumbnail(p) for p in flash]) == [], "a flash is no cut"
    fade = [np.full_like(calm, 5 * t) for t in range(50)]
    assert cuts([thumbnail(p) for p in fade]) == []
    walker = [calm.copy() for _ in range(30)]
    for t, p in enumerate(walker):
        p[40:140, 6 * t : 6 * t + 30] = 220
    assert cuts([thumbnail(p) for p in walker]) == [] == cuts([thumbnail(calm)])
    moving = list(itertools.islice((a(t) for t in itertools.count()), 40))
    assert cuts([thumbnail(p) for p in moving]) == [], "a moving camera is no cut"
