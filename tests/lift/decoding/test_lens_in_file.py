"""The focal length that a picture or a video states is the one that a lift takes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import m2v_lib.lift
from m2v_lib.data.keypoints import Footage
from m2v_lib.lift import SAMPLE, lift
from m2v_lib.lift.decoding.lens_in_file import focal_on_film, focal_px

#: of EXIF 2.32: the table of the exposure, FocalLengthIn35mmFilm; and as phones write it in a film
EXIF_TABLE, EXIF_FOCAL = 34665, 41989
VIDEO_KEY = "com.apple.quicktime.camera.focal_length.35mm_equivalent"

av = pytest.importorskip("av")
Image = pytest.importorskip("PIL.Image")


def picture(path: Path, focal: int | None) -> Path:
    exif = Image.Exif()
    if focal is not None:
        exif.get_ifd(EXIF_TABLE)[EXIF_FOCAL] = focal
    Image.new("RGB", (32, 32)).save(path, exif=exif)
    return path


def video(path: Path, said: dict[str, str]) -> Path:
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata.update(said)
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)
    return path


def test_pictures_and_videos_say_it(tmp_path: Path) -> None:
    assert focal_on_film(picture(tmp_path / "a.jpg", 26)) == 26
    assert focal_on_film(video(tmp_path / "a.mov", {VIDEO_KEY: "13"})) == 13


@pytest.mark.parametrize("focal", [None, 0, 4, 2001, 65535])
def test_what_makes_no_sense_is_not_taken(focal: int | None, tmp_path: Path) -> None:
    assert focal_on_film(picture(tmp_path / "a.jpg", focal)) is None
    said = {} if focal is None else {VIDEO_KEY: f"{focal}"}
    assert focal_on_film(video(tmp_path / "a.mov", said)) is None


def test_text_where_a_number_belongs_is_none(tmp_path: Path) -> None:
    assert focal_on_film(video(tmp_path / "a.mov", {VIDEO_KEY: "wide"})) is None
    (tmp_path / "a.txt").write_text("26")
    assert focal_on_film(tmp_path / "a.txt") is None


def test_a_50_mm_lens_sees_40_degrees_across_film() -> None:
    """3 x 2 film: 36 mm at 50 mm are 39.6 degrees."""
    across = 2 * np.degrees(np.arctan(3000 / 2 / focal_px(50, 3000, 2000)))
    assert across == pytest.approx(39.6, abs=0.05)


def test_a_lift_takes_it_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = m2v_lib.lift.read_tracks(SAMPLE)
    shot = dataclasses.replace(plain, footage=Footage("x.mov", 0.0, 25.0, focal_on_film=26.0))
    monkeypatch.setattr(m2v_lib.lift, "read_tracks", lambda *_, **__: shot)

    motion = lift("x.mov")
    assert motion.camera.focal == pytest.approx(focal_px(26, 1280, 720))
    assert any("26 mm" in note for note in motion.notes)
    assert "1.145" not in motion.report["assumed"]
    assert lift("x.mov", focal=900.0).camera.focal == 900
