"""The interactive skeleton: small, fixed axes, offline, both motions."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter

from m2v_lib.notebook.plots import upright
from m2v_lib.notebook.viewer import joint_slider, paths, skeleton_player
from m2v_lib.skeletons import H36M17
from m2v_lib.skeletons.h36m import BONES, N_JOINTS

RNG = np.random.default_rng(0)
TRUTH = (
    np.cumsum(RNG.normal(size=(243, N_JOINTS, 3)), axis=0) + RNG.normal(size=(N_JOINTS, 3)) * 400
)
PRED = TRUTH + RNG.normal(size=TRUTH.shape) * 30


def test_paths_draw_every_bone_once() -> None:
    drawn = [pair for path in paths(H36M17).values() for pair in pairwise(path) if -1 not in pair]
    assert sorted(drawn) == sorted(BONES)


def test_it_is_small_plays_and_holds_both_motions() -> None:
    fig = skeleton_player(PRED, TRUTH, fps=50.0, title="walk")
    assert (
        len(json.dumps(fig.to_plotly_json(), indent=1)) < 150_000
    )  # indented as in a notebook file
    assert [trace.line.dash for trace in fig.data] == ["solid"] * 3 + ["dash"] * 3
    assert fig.layout.updatemenus[0].buttons[0].method == "animate"
    assert len(fig.layout.sliders[0].steps) == len(fig.frames) <= 60
    assert all(len(frame.data) == 6 for frame in fig.frames)


def test_points_are_the_motion_upright_in_whole_millimetres() -> None:
    fig = skeleton_player(PRED, TRUTH, max_frames=10)
    frame = fig.frames[3]
    t = int(frame.name)
    line = frame.data[0]
    left = np.array([line.x, line.y, line.z]).T
    joints = np.array(paths(H36M17)["left"])
    assert (np.isnan(left).all(1) == (joints < 0)).all()
    np.testing.assert_array_equal(left[joints >= 0], np.rint(upright(PRED[t, joints[joints >= 0]])))


def test_thinned_clip_keeps_its_speed() -> None:
    fig = skeleton_player(PRED, fps=50.0, max_frames=60)
    assert [frame.name for frame in fig.frames[:3]] == ["0", "5", "10"]
    assert (
        fig.layout.updatemenus[0].buttons[0].args[1]["frame"]["duration"] == 100
    )  # 5 frames at 50 a second


def test_axes_stand_still_and_are_equal() -> None:
    scene = skeleton_player(PRED, TRUTH).layout.scene
    spans = [axis.range[1] - axis.range[0] for axis in (scene.xaxis, scene.yaxis, scene.zaxis)]
    assert scene.aspectmode == "cube" and max(spans) - min(spans) <= 1
    low, high = upright(TRUTH).reshape(-1, 3).min(0), upright(TRUTH).reshape(-1, 3).max(0)
    for axis, lo, hi in zip((scene.xaxis, scene.yaxis, scene.zaxis), low, high, strict=True):
        assert axis.range[0] <= lo and hi <= axis.range[1]


def test_a_notebook_gets_data_only() -> None:
    bundle, _ = DisplayFormatter().format(skeleton_player(PRED[:5]))
    assert set(bundle) == {"application/vnd.plotly.v1+json", "text/plain"}
    assert bundle["text/plain"] == "5 frames"
    assert "http" not in json.dumps(bundle, allow_nan=False)


@pytest.mark.parametrize("shape", [(17, 3), (5, 16, 3), (0, 17, 3)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="prediction must have shape"):
        skeleton_player(np.zeros(shape))


def test_gaps_and_unequal_lengths_are_refused() -> None:
    broken = PRED[:5].copy()
    broken[2, 3] = np.nan
    with pytest.raises(ValueError, match="not finite in frame 2"):
        skeleton_player(broken)
    with pytest.raises(ValueError, match="prediction has 5 frames, truth 4"):
        skeleton_player(PRED[:5], TRUTH[:4])


def test_a_slider_colours_the_joints_of_one_pose() -> None:
    values = {"0": np.eye(N_JOINTS)[16], "1": np.linspace(0, 50, N_JOINTS)}
    fig = joint_slider(TRUTH[0], values, quantity="%", prefix="layers: ")
    points = fig.data[-1]
    np.testing.assert_array_equal(
        np.array([points.x, points.y, points.z]).T, np.rint(upright(TRUTH[0]))
    )
    assert list(points.marker.color) == values["0"].tolist() and points.marker.cmax == 50
    assert points.text[16] == "right wrist: 1 %"
    assert [points.marker.size[j] > points.marker.size[0] for j in (15, 16)] == [False, True]
    (slider,) = fig.layout.sliders
    assert [step.args[0] for step in slider.steps] == [(frame.name,) for frame in fig.frames]
    (moved,) = fig.frames[1].data
    assert (
        fig.frames[1].traces == (len(fig.data) - 1,)
        and list(moved.marker.color) == values["1"].round(2).tolist()
    )
    assert "http" not in json.dumps(DisplayFormatter().format(fig)[0], allow_nan=False)


@pytest.mark.parametrize("values", [{}, {"a": np.zeros(16)}, {"a": np.full(N_JOINTS, np.nan)}])
def test_a_slider_wants_rows_of_numbers(values: dict) -> None:
    with pytest.raises(ValueError, match="rows of 17 finite numbers"):
        joint_slider(TRUTH[0], values, quantity="%")
