"""Figures: colours by side, dashes for truth, units on axes, no figure left open."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from m2v_lib.notebook import plots
from m2v_lib.skeletons import H36M17
from m2v_lib.skeletons.h36m import BONES, FLIP_PAIRS, N_JOINTS

RNG = np.random.default_rng(0)
POSE = RNG.normal(size=(N_JOINTS, 3)) * 300
STEPS = [0, 10, 20]

FIGURES: dict[str, Callable[[], Figure]] = {
    "skeleton_2d": lambda: plots.skeleton_2d(
        POSE[:, :2], POSE[:, :2] + 5, confidence_J=np.ones(N_JOINTS)
    ),
    "skeleton_3d": lambda: plots.skeleton_3d(POSE, POSE + 20),
    "learning_curve": lambda: plots.learning_curve(STEPS, [90.0, 80, 70]),
    "growth": lambda: plots.growth(
        {"a": ([1, 10], [1.0, 100.0])}, quantity="time (ms)", x_label="frames"
    ),
    "roofline": lambda: plots.roofline(
        {"a": ([4.0], [0.1])}, ceilings={"fp32": 1.0}, gb_per_s=100.0
    ),
    "learning_curves": lambda: plots.learning_curves(
        {"a": (STEPS, [3.0, 2, 1])}, references={"ridge": 2.5}
    ),
    "loss_curves": lambda: plots.loss_curves({f"run {i}": (STEPS, [3.0, 2, 1]) for i in range(9)}),
    "panels": lambda: plots.panels(
        {name: (STEPS, [3.0, 2, 1]) for name in ("loss", "rank", "tau")}
    ),
    "mask_image": lambda: plots.mask_image(RNG.random((27, 17)) < 0.7),
    "per_joint_error": lambda: plots.per_joint_error(np.arange(17.0)),
    "per_action": lambda: plots.per_action({"walk": 40.0, "sit": 60.0}, {"walk": 38.0}),
    "adjacency": lambda: plots.adjacency(np.eye(17)),
    "heat": lambda: plots.heat(
        RNG.random((2, 17)), rows=["block 1", "block 2"], columns=H36M17.joints, quantity="weight"
    ),
    "confusion": lambda: plots.confusion([[3, 1], [0, 0]], ["walk", "run"]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_is_labelled_and_closed(name: str) -> None:
    fig = FIGURES[name]()
    fig.canvas.draw()
    ax = fig.axes[0]
    assert ax.get_xlabel() or ax.get_ylabel()
    assert not plt.get_fignums(), "an open figure is shown twice in a notebook"


@pytest.mark.parametrize(
    "name", ["skeleton_2d", "skeleton_3d", "learning_curve", "per_joint_error", "per_action"]
)
def test_axes_of_quantities_carry_units(name: str) -> None:
    ax = FIGURES[name]().axes[0]
    assert any(unit in ax.get_xlabel() + ax.get_ylabel() for unit in ("(mm)", "(px)"))


def test_prediction_is_solid_truth_dashed_and_sides_have_their_colours() -> None:
    lines = plots.skeleton_3d(POSE, POSE + 20).axes[0].get_lines()
    truth, pred = lines[:16], lines[16:32]
    assert {line.get_linestyle() for line in truth} == {"--"} and {
        line.get_linestyle() for line in pred
    } == {"-"}
    for line, (_, child) in zip(pred, BONES, strict=True):
        assert line.get_color() == plots.SIDE_COLOURS[plots.side(child)]


def test_mirrored_joints_have_different_colours_that_differ_in_grey_too() -> None:
    for right, left in FLIP_PAIRS:
        assert {plots.side(right), plots.side(left)} == {"right", "left"}
    assert [plots.side(j) for j in (0, 7, 8, 9, 10)] == ["spine"] * 5
    grey = {
        name: float(np.dot(to_rgb(c), (0.299, 0.587, 0.114)))
        for name, c in plots.SIDE_COLOURS.items()
    }
    assert abs(grey["left"] - grey["right"]) > 0.1


def test_camera_coordinates_are_turned_upright() -> None:
    head_up = np.zeros((N_JOINTS, 3))
    head_up[10] = (1.0, -1700.0, 5.0)  # y points down in the camera
    np.testing.assert_array_equal(plots.upright(head_up)[10], (1.0, 5.0, 1700.0))
    ax: Any = plots.skeleton_3d(head_up).axes[0]
    assert ax.get_zlim()[1] > 1600


def test_three_dimensional_axes_have_equal_lengths() -> None:
    ax: Any = plots.skeleton_3d(POSE * [1, 3, 0.2]).axes[0]
    spans = [high - low for low, high in (ax.get_xlim(), ax.get_ylim(), ax.get_zlim())]
    np.testing.assert_allclose(spans, spans[0])


def test_image_y_axis_points_down() -> None:
    ax = plots.skeleton_2d(POSE[:, :2]).axes[0]
    assert ax.yaxis_inverted() and ax.get_aspect() == 1


def test_bars_are_the_data() -> None:
    joints: list[Any] = list(plots.per_joint_error(np.arange(17.0)).axes[0].patches)
    assert [bar.get_width() for bar in joints] == list(range(17))
    actions = plots.per_action({"walk": 40.0, "sit": 60.0}).axes[0]
    assert [label.get_text() for label in actions.get_xticklabels()] == ["sit", "walk"]
    bars: list[Any] = list(actions.patches)
    assert [bar.get_height() for bar in bars] == [60.0, 40.0]


def test_long_names_stand_beside_lying_bars() -> None:
    long = "summation instead of adaptive fusion"
    ax = plots.bars({"short": 1.0, long: 2.0}, quantity="mm").axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == [long, "short"]
    bars: list[Any] = list(ax.patches)
    assert [bar.get_width() for bar in bars] == [2.0, 1.0] and ax.get_xlabel() == "mm"


def test_an_interval_that_holds_0_is_grey_and_an_unknown_one_hollow() -> None:
    (ax,) = plots.intervals(
        {"a": (-2.0, -3.0, -1.0), "b": (1.0, -1.0, 3.0), "c": (4.0, np.nan, np.nan)}, quantity="mm"
    ).axes
    zero, *drawn = ax.lines
    np.testing.assert_array_equal(np.asarray(zero.get_xydata(), dtype=float)[:, 0], [0, 0])
    spans = [np.asarray(line.get_xydata(), dtype=float)[:, 0].tolist() for line in drawn]
    assert spans == [[-3, -1], [-2], [-1, 3], [1], [4]], (
        "bar and dot of each, and no bar where nothing is known"
    )
    grey = plots.SIDE_COLOURS["spine"]
    assert [line.get_color() for line in drawn[::2]] == [plots.LINE_COLOURS[0], grey, grey]
    assert drawn[-1].get_markerfacecolor() == "white" and drawn[1].get_markerfacecolor() != "white"
    assert ax.get_title() == "95 % intervals over seeds; hollow: one seed" and not ax.patches
    (ax,) = plots.intervals({"c": (4.0, np.nan, np.nan)}, quantity="mm", band=5.0).axes
    assert (
        ax.get_title() == "hollow: one seed, shaded what two seeds may differ by"
        and len(ax.patches) == 1
    )
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.intervals({}, quantity="mm")


@pytest.mark.parametrize("error", [50.0, float("nan")])
def test_names_of_points_side_by_side_stay_apart(error: float) -> None:
    points = {f"system {i}": (100.0 + i, error, 1.0) for i in (0, 1, 2, 3, 900)}
    fig = plots.error_against_cost(points, x_label="parameters", y_label="mm")
    fig.draw_without_rendering()
    (ax,) = fig.axes
    boxes = [note.get_window_extent() for note in ax.texts if note.get_text()]

    assert {note.get_text() for note in ax.texts} - {""} == set(points)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_panels_have_one_axis_a_quantity_and_no_empty_one() -> None:
    axes = plots.panels(
        {"loss": (STEPS, [3.0, 2, 1]), "rank": (STEPS, [1.0, 2, 3]), "tau": ([0], [1.0])}
    ).axes
    assert [ax.get_ylabel() for ax in axes] == ["loss", "rank", "tau"]
    np.testing.assert_array_equal(axes[1].lines[0].get_ydata(), [1.0, 2, 3])


def test_the_roof_bends_where_both_limits_meet() -> None:
    """1 TFLOP/s over 100 GB/s: ten operations a byte."""
    (ax,) = plots.roofline({"a": ([4.0], [0.1])}, ceilings={"fp32": 1.0}, gb_per_s=100.0).axes
    flat, slope, point = (np.asarray(line.get_xydata(), dtype=float) for line in ax.lines)
    assert flat[0].tolist() == slope[-1].tolist() == [10.0, 1.0]
    np.testing.assert_allclose(slope[:, 1], 0.1 * slope[:, 0])
    assert point.tolist() == [[4.0, 0.1]]


def test_mask_title_gives_the_share() -> None:
    mask = np.zeros((10, 17), bool)
    mask[:5] = True
    assert "50.0% masked" in plots.mask_image(mask).axes[0].get_title()


@pytest.mark.parametrize(
    "call",
    [
        lambda: plots.skeleton_3d(np.zeros((16, 3))),
        lambda: plots.skeleton_2d(np.zeros((1, 17, 2))),
        lambda: plots.per_joint_error(np.zeros(16)),
        lambda: plots.mask_image(np.zeros(17)),
        lambda: plots.adjacency(np.zeros((3, 4))),
        lambda: plots.confusion(np.zeros((3, 3)), ["walk", "run"]),
        lambda: plots.heat(np.zeros((2, 3)), rows=["a"], columns=["x", "y", "z"], quantity="q"),
        lambda: plots.loss_curves({}),
        lambda: plots.panels({}),
        lambda: plots.per_action({}),
        lambda: plots.growth({}, quantity="", x_label=""),
    ],
)
def test_wrong_shapes_are_refused_in_one_sentence(call: Callable[[], Figure]) -> None:
    with pytest.raises(ValueError, match=r"expected|must|no curve|nothing to draw"):
        call()


def test_confusion_shows_shares_of_each_row_and_leaves_empty_rows_blank() -> None:
    fig = plots.confusion([[3, 1, 0], [0, 0, 0], [0, 0, 2]], ["walk", "run", "jump"])
    drawn = fig.axes[0].images[0].get_array()
    assert drawn is not None
    expected = np.array([[75, 25, 0], [np.nan, np.nan, np.nan], [0, 0, 100]])
    np.testing.assert_allclose(np.ma.filled(drawn, np.nan), expected)
    assert [text.get_text() for text in fig.axes[0].get_yticklabels()] == ["walk", "run", "jump"]
