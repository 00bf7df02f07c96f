"""A pose of one frame is trained, scored, compared and lifted as that of the same frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from m2v_lib.config import Experiment
from m2v_lib.data import prepare
from m2v_lib.data.clips import Clips, training_clips
from m2v_lib.data.store import Store, open_store
from m2v_lib.data.views import Views
from m2v_lib.evaluation.camera_grid import evaluate_grid, grid_views
from m2v_lib.evaluation.protocols import evaluate_3dhp, evaluate_pose
from m2v_lib.evaluation.trivial_baselines import evaluate_trivial_baselines
from m2v_lib.lift.windows import SingleFrameLifter
from m2v_lib.models.base import Lifter
from m2v_lib.models.registry import build_model
from m2v_lib.training.clip_loader import ClipLoader

T = 9
CAUSAL = ("videopose3d", "srnet", "anatomy3d")
CPU = torch.device("cpu")
#: A system, whether it is causal, and the number of the frame that comes out of nine.
CASES = [(name, causal, 8 if causal else 4) for name in CAUSAL for causal in (False, True)]

each_case = pytest.mark.parametrize(
    ("name", "causal", "frame"), [*CASES, ("poseformer", None, 4), ("mixste", None, None)]
)


def experiment(name: str, causal: bool | None) -> Experiment:
    choice = {} if causal is None else {"model.causal": causal}
    changes = {"model.name": name, "model.n_frames": T, "data.test_stride": 1, **choice}
    return Experiment.preset("smoke").override({"data.name": "tiny", **changes})


def oracle(exp: Experiment) -> Lifter:
    """The network, but it gives what its loss would have it give for the window it sees."""
    model = build_model(exp.model, seed=0)
    model.forward = lambda x: model.output_frames(x - x[:, :, :1])
    return model


def shown_the_answer(clips: Clips) -> Clips:
    return replace(clips, input_nJ3=clips.label_nJ3)


@each_case
def test_the_frame_that_the_loss_wants_is_without_error(
    name: str, causal: bool | None, frame: int | None, tiny_store: Store
) -> None:
    exp = experiment(name, causal)
    model = oracle(exp)
    assert model.output_frame(exp.model) == frame

    clips = shown_the_answer(ClipLoader().evaluation(exp, tiny_store, "test", CPU))
    found = evaluate_pose(model, clips)
    whole_windows = 66  # less the tails, and the last video, which is shorter than one
    assert found["mpjpe"] < 1e-3 and found["n_frames"] == (70 if frame else whole_windows)


@pytest.mark.parametrize("causal", [False, True])
def test_so_it_is_by_the_other_protocol(
    causal: bool, tiny_store: Store, as_3dhp: Callable[..., Store]
) -> None:
    exp = experiment("videopose3d", causal)
    store = as_3dhp(tiny_store, valid=[0, 31])
    clips = shown_the_answer(ClipLoader().evaluation(exp, store, "test", CPU))
    found = evaluate_3dhp(oracle(exp), clips)
    assert found["mpjpe"] < 1e-3 and found["n_frames"] == 2
    past = [0] * 9 if causal else [0, 0, 0, 0, 0, 1, 2, 3, 4]
    assert clips.index_CT[0].tolist() == past


def test_trivial_baselines_lift_the_same_frames(tiny_store: Store) -> None:
    """Every frame by itself: what else is in its window is all the same to them."""
    train = training_clips(tiny_store, T, 4, input_2d="detected", validation=True, device="cpu")
    causal, centred = (
        ClipLoader().evaluation(experiment("videopose3d", choice), tiny_store, "test", CPU)
        for choice in (True, False)
    )
    assert not torch.equal(causal.index_CT, centred.index_CT)
    assert evaluate_trivial_baselines(train, causal) == evaluate_trivial_baselines(train, centred)


@pytest.mark.parametrize(("name", "causal", "frame"), CASES)
def test_a_motion_is_lifted_frame_by_frame(name: str, causal: bool, frame: int) -> None:
    exp = experiment(name, causal)
    lifter = SingleFrameLifter(oracle(exp), T, frame)
    rng = np.random.default_rng(0)
    seen = np.concatenate([rng.uniform(0, 500, (12, 17, 2)), np.ones((12, 17, 1))], axis=-1)
    np.testing.assert_allclose(lifter(seen)[..., :2], (seen - seen[:, :1])[..., :2], atol=1e-3)


@pytest.mark.parametrize("causal", [False, True])
def test_new_cameras_ask_for_the_same_frame(
    causal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exp = experiment("videopose3d", causal)
    prepare("synthetic", root=tmp_path)
    seen = Views.seen

    def answers(self: Views, *args: Any) -> tuple[Tensor, Tensor]:
        _, y = seen(self, *args)
        return 1.0001 * y, y  # an error of 0 has no ratio

    monkeypatch.setattr(Views, "seen", answers)
    views = grid_views(open_store("synthetic", tmp_path), exp.data, T, n_windows=2)
    found = evaluate_grid(oracle(exp), views, flip_test=False)
    assert found["as_seen"]["mean"] < 0.1 and "framed" not in found


def test_a_setting_may_decide_it() -> None:
    """STCFormer gives the centre, or all frames."""
    for frames_out, frame in (("centre", 4), ("all", None)):
        exp = experiment("stcformer", None).override({"model.frames_out": frames_out})
        model = build_model(exp.model)
        assert model.output_frame(exp.model) == frame
