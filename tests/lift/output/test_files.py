"""What is written says its units and can be read with plain tools; a page and a film show what
they should.
"""

from __future__ import annotations

import csv
import errno
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.browser import Browser, chromium
from fakes.lifting import CAMERA, Flat, tracks

from m2v_lib import cli
from m2v_lib.config import Experiment
from m2v_lib.data.checks import DataError
from m2v_lib.data.export.keypoints import write_keypoints
from m2v_lib.lift import WRITERS, lift, save
from m2v_lib.lift.command import check_outputs
from m2v_lib.lift.people import Motion, lift_tracks
from m2v_lib.lift.windows import Lifter
from m2v_lib.models.registry import build_model
from m2v_lib.models.state_files import save_tensors
from m2v_lib.runs.records import version_of
from m2v_lib.skeletons.h36m import JOINTS


@pytest.fixture(scope="module")
def motion() -> Motion:
    """Two people of 60 frames; the first is unseen in frames 10 to 14 and lacks a wrist in frame
    20.
    """
    made = tracks(60)
    one = made.people[0]
    kept = np.r_[0:10, 15:60]
    confidence = one.confidence[kept].copy()
    confidence[15, 13] = 0
    first = replace(one, frames=kept, xy=one.xy[kept], confidence=confidence)
    second = replace(one, name="<2>", xy=one.xy - (300, 0))
    return lift_tracks(
        replace(made, people=(first, second)), Lifter(Flat(), 27), focal=CAMERA.focal
    )


def test_npz(motion: Motion, tmp_path: Path) -> None:
    assert save(motion, tmp_path / "x.npz") == [tmp_path / "x.npz"]
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        rows = file["person"] == "<2>"
        assert file["frame"][rows].tolist() == list(range(60)) and file["bones"].shape == (16, 2)
        np.testing.assert_array_equal(file["pose_mm"][rows], motion.people[1].pose_mm)
        np.testing.assert_array_equal(file["root_mm"][~rows], motion.people[0].root_mm)
        assert file["filled"][~rows][10:15].all() and not file["filled"][rows].any()
    assert (
        about["units"] == "mm"
        and about["axes"].startswith("x right, y down")
        and about["joints"] == list(JOINTS)
    )
    assert (about["fps"], about["width"], about["focal_px"], about["stature_m"]) == (
        25,
        1280,
        1000,
        1.7,
    )


def test_json(motion: Motion, tmp_path: Path) -> None:
    save(motion, tmp_path / "x.json")
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["units"] == "mm" and [p["name"] for p in content["people"]] == ["1", "<2>"]
    np.testing.assert_allclose(
        content["people"][0]["pose_mm"], motion.people[0].pose_mm, atol=0.051
    )
    assert np.argwhere(content["people"][0]["filled"]).tolist()[-1] == [20, 13]


def test_csv(motion: Motion, tmp_path: Path) -> None:
    save(motion, tmp_path / "x.csv")
    lines = (tmp_path / "x.csv").read_text().splitlines()
    assert '# units: "mm"' in lines
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert len(rows) == 2 * 60 * 17
    row = rows[17 * 20 + 13]
    assert (row["person"], row["frame"], row["seconds"], row["joint"], row["filled"]) == (
        "1",
        "20",
        "0.8000",
        "left wrist",
        "1",
    )
    place = [float(row[f"{axis}_mm"]) for axis in "xyz"]
    np.testing.assert_allclose(place, motion.people[0].joints_mm[20, 13], atol=0.051)


def test_every_table_holds_the_uncertainty_where_it_is_known(
    motion: Motion, tmp_path: Path
) -> None:
    spread = [np.full(p.filled.shape, 12.5 + i) for i, p in enumerate(motion.people)]
    people = tuple(replace(p, spread_mm=s) for p, s in zip(motion.people, spread, strict=True))
    known = replace(motion, people=people, absent=(9,))
    unsure = tuple(replace(p, spread_mm=None) for p in motion.people)
    for made, there in ((known, True), (replace(motion, people=unsure), False)):
        save(made, tmp_path / "x.npz")
        with np.load(tmp_path / "x.npz") as file:
            assert ("spread_mm" in file) == there
            if there:
                own = file["spread_mm"][file["person"] == "<2>"]
                assert np.isnan(own[:, 9]).all() and (np.delete(own, 9, axis=1) == 13.5).all()
        save(made, tmp_path / "x.json")
        two = json.loads((tmp_path / "x.json").read_text())["people"][1]
        assert two.get("spread_mm", [[None] * 17])[0][8] == (13.5 if there else None)
        save(made, tmp_path / "x.csv")
        lines = [line for line in (tmp_path / "x.csv").read_text().splitlines() if line[0] != "#"]
        rows = list(csv.DictReader(lines))
        assert [row["spread_mm"] for row in rows[8:10]] == (["12.5", ""] if there else ["", ""])


def test_what_every_file_says(motion: Motion, tmp_path: Path) -> None:
    report = motion.report | {"expected error": "50 mm a joint"}
    made = replace(motion, about=motion.about | {"network": "small"}, report=report)
    said = {
        "network": "small",
        "package": f"m2v_lib {version_of('m2v_lib')}",
        "expected_error": "50 mm a joint",
        "fps": 25.0,
        "world": motion.world.how,
    }
    save(made, tmp_path / "x.json")
    assert said.items() <= json.loads((tmp_path / "x.json").read_text()).items()
    save(made, tmp_path / "x.csv")
    assert '# network: "small"' in (tmp_path / "x.csv").read_text()
    save(made, tmp_path / "x.html")
    assert "<dt>package</dt><dd>m2v_lib " in (tmp_path / "x.html").read_text()


def test_a_page_needs_nothing_else_and_keeps_names_harmless(motion: Motion, tmp_path: Path) -> None:
    harmful = replace(motion.people[0], name="</script><b>x")
    save(replace(motion, source="</script><b>x", people=(harmful,)), tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text()
    assert not re.search(r"(src|href)\s*=|https?://(?!www\.w3\.org)", page)
    assert page.count("</script>") == 2 and "<b>x" not in page and "&lt;b&gt;x" in page
    assert len(page) < 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("no Chromium here")
    with Browser() as tab:
        yield tab


def test_the_page_draws_plays_and_turns(motion: Motion, tmp_path: Path, browser: Browser) -> None:
    save(motion, tmp_path / "x.html")
    assert browser.open(tmp_path / "x.html", ready="document.getElementById('clock').textContent")
    assert browser.faults == [] and [r for r in browser.requests if not r.startswith("file:")] == []
    assert browser.value("document.getElementById('frame').max") == "59"
    pixels = "c.getContext('2d').getImageData(0, 0, c.width, c.height).data"
    look = f"[plane, space].map((c) => {pixels}.reduce((sum, v, i) => sum + v * (i % 97), 0))"
    for _ in range(
        4
    ):  # Chromium draws otherwise, and a shade differently, once it knows that pixels are read
        start = browser.value(f"draw(), {look}")
    browser.value("slider.value = 40, slider.oninput()")
    later = browser.value(look)
    assert start[0] != later[0] and start[1] != later[1], "another frame, another picture"
    browser.value("state.turn += 1, draw()")
    turned = browser.value(look)
    assert turned[0] == later[0] and turned[1] != later[1], "turning changes the right side only"
    assert "1.60 s, frame 40 of 60" in browser.value("clock.textContent")
    browser.value("document.getElementById('play').click()")
    assert browser.open(tmp_path / "x.html") is True
    one = motion.people[0]
    pose = browser.value("Array.from(MOTION.people[0].pose.slice(0, 51))")
    upright = one.pose_mm[0] @ motion.world.rotation.T
    np.testing.assert_allclose(np.reshape(pose, (17, 3)), upright, atol=0.51)
    root = browser.value("Array.from(MOTION.people[0].root.slice(0, 3))")
    np.testing.assert_allclose(root, motion.world.to_world(one.root_mm[0]), atol=0.51)
    assert browser.value("MOTION.people[0].filled[20]") == 1 << 13


def test_left_is_on_the_right_of_who_faces_the_camera(
    motion: Motion, tmp_path: Path, browser: Browser
) -> None:
    """Seen from the camera's place (turn 0) the page's right half shows what the left does, not
    its mirror image.
    """
    save(motion, tmp_path / "x.html")
    browser.open(tmp_path / "x.html")
    browser.value("Object.assign(state, { turn: 0, tilt: 0 }), draw()")
    joint = "(j) => project(400, 400)(...[0, 1, 2].map((k) => MOTION.people[0].pose[3 * j + k]))"
    left, right, head, root = np.array(browser.value(f"[4, 1, 10, 0].map({joint})"))
    keypoints = motion.people[0].seen_px[0]
    assert np.sign(left[0] - right[0]) == np.sign(keypoints[4, 0] - keypoints[1, 0])
    assert head[1] < root[1], "the head is up"


def test_keys_curves_and_a_telephone(motion: Motion, tmp_path: Path, browser: Browser) -> None:
    spread = tuple(replace(p, spread_mm=np.full(p.filled.shape, 90.0)) for p in motion.people)
    save(replace(motion, people=spread), tmp_path / "x.html")
    assert browser.open(tmp_path / "x.html", ready="document.getElementById('clock').textContent")

    def press(key: str, shift: str = "false") -> int:
        event = f"new KeyboardEvent('keydown', {{ key: '{key}', shiftKey: {shift} }})"
        return int(browser.value(f"document.dispatchEvent({event}), state.t"))

    browser.value("go(10)")
    assert press("End") == 59 and press("Home") == 0
    assert press("ArrowRight", "true") == 10 and press("ArrowLeft") == 9
    browser.value("play(false), document.dispatchEvent(new KeyboardEvent('keydown', { key: ' ' }))")
    assert browser.value("state.playing") is True
    browser.value("play(false)")

    browser.value(
        "jointChoice.value = 13, quantity.value = 'height', jointChoice.onchange(), go(30)"
    )
    height = motion.world.to_world(motion.people[0].joints_mm[30, 13])[1]
    said = re.findall(r"1: (\d+) mm, <2>: \d+ mm", browser.value("byId('value').textContent"))
    assert float(said[0]) == pytest.approx(height, abs=1.1)
    browser.value("quantity.value = 'speed', quantity.onchange()")
    step = motion.people[0].joints_mm[31, 13] - motion.people[0].joints_mm[29, 13]
    said = re.findall(r"1: ([\d.]+) m/s", browser.value("byId('value').textContent"))
    assert float(said[0]) == pytest.approx(np.linalg.norm(step) * 25 / 2000, abs=0.03)
    at = "{ clientX: curves.getBoundingClientRect().right - chart.right, buttons: 1 }"
    assert browser.value(f"curves.onpointermove({at}), state.t") == 59

    shades = "space.getContext('2d').getImageData(0, 0, space.width, space.height).data"
    count = f"{shades}.reduce((n, v) => n + (v > 0 && v < 255), 0)"
    sure = browser.value(f"state.unsure = false, go(30), {count}")
    assert browser.value(f"state.unsure = true, go(30), {count}") > sure + 1000

    try:
        browser.metrics(390, 844)
        assert browser.value("innerWidth") == 390
        assert browser.value("document.documentElement.scrollWidth") <= 390
    finally:
        browser.metrics(1400, 1000)


def test_the_video_beside_the_page_plays_along(
    motion: Motion, tmp_path: Path, browser: Browser
) -> None:
    """Bright from frame 50 of the video's 75 on, which is frame 20 of a motion cut out at 1.2 s."""
    av, image = pytest.importorskip("av"), pytest.importorskip("PIL.Image")
    name = 'my "walk" & 50%.mp4'
    with av.open(str(tmp_path / name), "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 72, "yuv420p"
        for t in range(75):
            picture = np.full((72, 128, 3), 250 if t >= 50 else 20, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    made = replace(
        motion, about=motion.about | {"video": {"name": name, "start": 1.2, "fps": 25.0}}
    )
    save(made, tmp_path / "x.html")
    assert browser.open(tmp_path / "x.html", ready="state.film")
    assert browser.value("byId('nofilm').hidden") is True

    for frame, shade in ((10, 20), (18, 20), (21, 250), (40, 250)):
        browser.value(f"go({frame}), scrollTo(0, 0)")
        assert browser.wait("!film.seeking && film.readyState >= 2")
        assert abs(browser.value("film.currentTime") - (1.2 + frame / 25)) < 0.05
        browser.value("drawPlane()")
        browser.screenshot(tmp_path / "shot.png")
        box = browser.value("(({ left, top, width }) => [left + 9, top + width * 0.3])"
                            "(plane.getBoundingClientRect())")  # fmt: skip
        with image.open(tmp_path / "shot.png") as shot:
            assert shot.getpixel(tuple(map(int, box)))[0] == pytest.approx(shade, abs=15), frame

    browser.value("go(0), play(true)")
    assert browser.wait("state.t > 8"), "the video leads"
    assert browser.value("Math.abs(filmFrame() - state.t) <= 3")
    browser.value("play(false)")

    (tmp_path / name).unlink()
    assert browser.open(tmp_path / "x.html", ready="!byId('nofilm').hidden")
    assert browser.value("state.film") is False and browser.value("go(7), state.t") == 7


def test_films(motion: Motion, tmp_path: Path) -> None:
    image, av = pytest.importorskip("PIL.Image"), pytest.importorskip("av")
    save(motion, tmp_path / "x.gif")
    with image.open(tmp_path / "x.gif") as film:
        assert film.n_frames >= 55 and film.size == (960, 480) and film.info["duration"] == 40
        assert b'"package": "m2v_lib ' in film.info["comment"]
    save(motion, tmp_path / "x.mp4")
    with av.open(str(tmp_path / "x.mp4")) as film:
        assert '"expected_error": "' in film.metadata["comment"]
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        assert len(frames) == 60 and float(film.streams.video[0].average_rate) == 25
    half = frames[5][:, :480].astype(int), frames[5][:, 480:].astype(int)
    assert all((side.max(-1) - side.min(-1)).max() > 60 for side in half), "colours on both sides"
    foot = [side[460:470, 15:60].mean() for side in half]
    assert foot[1] < 250 < foot[0], "a ruler with its length stands in the right panel alone"


def test_a_film_without_its_packages_says_what_to_install(
    motion: Motion, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    with pytest.raises(
        DataError, match=r'a film needs Pillow, which is not here: pip install "m2v_lib\[lift\]"'
    ):
        save(motion, tmp_path / "x.gif")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_said_before_anything_is_lifted(monkeypatch: Any) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    check_outputs("keypoints.json", [Path("x.gif"), Path("x.csv")])
    with pytest.raises(DataError, match="a film needs PyAV, which is not here"):
        check_outputs("keypoints.json", [Path("x.csv"), Path("x.mp4")])


@pytest.mark.parametrize("ending", WRITERS)
def test_a_full_disk_leaves_the_older_file(
    ending: str, motion: Motion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"x{ending}"
    path.write_text("older")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    if ending in (".gif", ".mp4"):
        pytest.importorskip("PIL.Image"), pytest.importorskip("av")
    targets = replace(motion, people=motion.people[:1])
    with pytest.raises(OSError, match="No space left"):
        save(targets, path)
    assert path.read_text() == "older" and [p.name for p in tmp_path.iterdir()] == [path.name]


# ---- the command ----


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with the weights of an untrained network, as `m2v finetune` leaves them."""
    exp = Experiment.preset("smoke")
    weights = build_model(exp.model, seed=0).state_dict()
    (tmp_path / "run").mkdir()
    save_tensors(tmp_path / "run" / "weights.safetensors", weights, {"experiment": exp.to_dict()})
    return tmp_path / "run"


def test_the_command_writes_what_is_asked_for(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keypoints = write_keypoints(tracks(40), tmp_path / "kp.json", "alphapose")
    arguments = [
        str(keypoints),
        "-o",
        str(tmp_path / "x.npz"),
        str(tmp_path / "x.html"),
        "--model",
        str(run),
    ]
    assert cli.main(["lift", *arguments]) == 2
    assert (
        "kp.json: does not say how large its image is; give it (--size 1280x720)"
        in capsys.readouterr().err
    )
    assert (
        cli.main(["lift", *arguments, "--size", "1280x720", "--fps", "25", "--stature", "1.8"]) == 0
    )
    assert "person 1: frames 0 to 39, " in capsys.readouterr().out
    with np.load(tmp_path / "x.npz") as file:
        assert (
            json.loads(str(file["about"]))["stature_m"] == 1.8
            and np.isfinite(file["pose_mm"]).all()
        )
    assert (tmp_path / "x.html").exists()


def test_a_wrong_ending_is_said_before_the_work(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        cli.main(["lift", "nowhere.json", "-o", str(tmp_path / "x.fbx"), "--model", str(run)]) == 2
    )
    assert (
        "x.fbx: ends in .fbx, expected one of .npz, .json, .csv, .coco.json, .trc, .mot, .html, .bvh"
        in capsys.readouterr().err
    )


def test_lift_reads_and_lifts(run: Path, tmp_path: Path) -> None:
    keypoints = write_keypoints(tracks(40), tmp_path / "kp.csv", "csv")
    motion = lift(keypoints, model=run)
    assert motion.about["network"] == "run"
    assert motion.fps == 25 and motion.people[0].pose_mm.shape == (40, 17, 3)
