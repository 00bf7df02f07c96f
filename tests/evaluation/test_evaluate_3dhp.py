"""MPI-INF-3DHP's evaluation against numbers worked out on paper, and against loops over frames
of the raw store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from m2v_lib.data.clips import Clips, evaluation_clips, make_clips, training_clips
from m2v_lib.data.store import Split, Store
from m2v_lib.evaluation.protocols import (
    JOINTS_3DHP,
    evaluate_3dhp,
    evaluate_3dhp_predictions,
    evaluate_lifting,
    evaluate_pose,
    predict_clips,
)
from m2v_lib.evaluation.trivial_baselines import evaluate_trivial_baselines, features, fit_ridge
from m2v_lib.skeletons.h36m import JOINTS

T = 5
MIRROR = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]
PERFECT_AUC = 100 * 30 / 31  # 0 < 0 is false: the first of 31 thresholds is always missed


class Crooked(nn.Module):
    """A lifter that depends on frame number, joint and side, so no step of the protocol leaves
    it unchanged.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(
            torch.randn(T, 17, 3, 3, generator=torch.Generator().manual_seed(0)) * 0.1
        )
        self.drop = nn.Dropout(0.5)

    def forward(self, x_BTJ3: Tensor) -> Tensor:
        return self.drop(torch.einsum("btjc,tjcd->btjd", x_BTJ3, self.mix))


@pytest.fixture
def clips(make_people: Callable[..., Split]) -> Clips:
    """Two sequences: three valid frames of TS1, one of TS2."""
    split = make_people(
        (("TS1.0", "TS1", "TS1", 20, 2048, 2048), ("TS2.0", "TS2", "TS2", 12, 1920, 1080))
    )
    return make_clips(
        replace(split, valid=np.isin(np.arange(32), [0, 7, 19, 25])),
        T,
        1,
        windows="centred",
        protocol="mpi_inf_3dhp",
    )


def off_by(clips: Clips, *mm: float, joints: list[int] | None = None) -> np.ndarray:
    """Predictions whose joints but the root are `mm` off in the four frames, each along another
    axis.
    """
    pred = clips.truth_nJ3[[0, 7, 19, 25]].astype(float)
    moved = list(range(1, 17)) if joints is None else joints
    for frame, distance in enumerate(mm):
        pred[frame, moved, frame % 3] += distance
    return pred


def test_a_perfect_prediction(clips: Clips) -> None:
    errors = evaluate_3dhp_predictions(off_by(clips, 0, 0, 0, 0), clips)
    assert (errors["mpjpe"], errors["pck"], errors["n_frames"]) == (0, 100, 4)
    assert errors["auc"] == pytest.approx(96.774, abs=1e-3) == PERFECT_AUC
    assert {name: (e["n_frames"], e["pck"]) for name, e in errors["per_sequence"].items()} == {
        "TS1": (3, 100),
        "TS2": (1, 100),
    }


def test_known_errors(clips: Clips) -> None:
    """TS1 is 20, 20 and 100 mm off, TS2 150: thresholds above them are 26 and 10 of 31; 150 <
    150 is false.
    """
    errors = evaluate_3dhp_predictions(off_by(clips, 20, 20, 100, 150.001), clips)
    ts1, ts2 = errors["per_sequence"]["TS1"], errors["per_sequence"]["TS2"]
    assert ts1["mpjpe"] == pytest.approx((20 + 20 + 100) / 3 * 16 / 17) and ts1["pck"] == 100
    assert ts1["auc"] == pytest.approx(100 * (26 + 26 + 10) / (3 * 31))
    assert (ts2["pck"], ts2["auc"]) == (0, 0) and ts2["mpjpe"] == pytest.approx(150.001 * 16 / 17)
    assert errors["mpjpe"] == pytest.approx((20 + 20 + 100 + 150.001) / 4 * 16 / 17)
    assert errors["pck"] == 75 and errors["auc"] == pytest.approx(100 * (26 + 26 + 10) / (4 * 31))
    for key in ("mpjpe", "pck", "auc"):
        weighted = sum(e[key] * e["n_frames"] for e in errors["per_sequence"].values()) / 4
        assert errors[key] == pytest.approx(weighted)
    assert errors["per_joint"][0] == 0 and errors["per_joint"][5] == pytest.approx(
        (20 + 20 + 100 + 150.001) / 4
    )


def test_fourteen_joints_count_for_pck_and_auc_and_seventeen_for_mpjpe(clips: Clips) -> None:
    """Their order is head top, neck, arms, legs; pelvis, spine and head stand behind and are
    left out.
    """
    assert [JOINTS[j] for j in JOINTS_3DHP] == [
        "head",
        "neck",
        "right shoulder",
        "right elbow",
        "right wrist",
        "left shoulder",
        "left elbow",
        "left wrist",
        "right hip",
        "right knee",
        "right ankle",
        "left hip",
        "left knee",
        "left ankle",
    ]
    left_out = [JOINTS.index("spine"), JOINTS.index("nose")]
    errors = evaluate_3dhp_predictions(off_by(clips, 500, 500, 500, 500, joints=left_out), clips)
    assert (
        errors["mpjpe"] == pytest.approx(500 * 2 / 17)
        and errors["auc"] == PERFECT_AUC
        and errors["pck"] == 100
    )
    errors = evaluate_3dhp_predictions(
        off_by(clips, 500, 500, 500, 500, joints=[JOINTS.index("head")]), clips
    )
    assert errors["pck"] == pytest.approx(100 * 13 / 14)


def protocol(model: Crooked, store: Store, tta: bool) -> dict[str, dict[str, Any]]:
    """Spec 6.5 with loops: for each valid frame a padded window, both passes, the middle frame,
    mm, the errors.
    """
    split = store.split("test")
    mix = model.mix.detach().double().numpy()
    errors: dict[str, list[np.ndarray]] = {}
    for video in split.videos:
        w, h = video.width, video.height
        for frame in range(video.n_frames):
            if split.valid is not None and not split.valid[video.start + frame]:
                continue
            window = [
                min(max(f, 0), video.n_frames - 1) + video.start
                for f in range(frame - 2, frame + 3)
            ]
            x = np.concatenate(
                [split.joint_2d[window] / w * 2 - [1, h / w], np.ones((T, 17, 1))], -1
            )
            pred = np.stack([x[2, j] @ mix[2, j] for j in range(17)])
            if tta:
                mirrored = x[:, MIRROR] * (-1, 1, 1)
                back = np.stack([mirrored[2, j] @ mix[2, j] for j in range(17)])[MIRROR] * (
                    -1,
                    1,
                    1,
                )
                pred = (pred + back) / 2
            pred[0] = 0
            pred = pred * w / 2 * split.factor[video.start + frame]
            truth = split.truth_mm[video.start + frame].astype(float)
            errors.setdefault(video.action, []).append(
                np.linalg.norm(pred - pred[0] - truth + truth[0], axis=1)
            )
    out = {}
    everything = [e for parts in errors.values() for e in parts]
    for name, parts in {**errors, "all": everything}.items():
        official = np.array(parts)[:, list(JOINTS_3DHP)]
        curve = [100 * np.mean(official < limit) for limit in range(0, 151, 5)]
        out[name] = {
            "mpjpe": np.mean(parts),
            "pck": curve[-1],
            "auc": np.mean(curve),
            "n_frames": len(parts),
        }
    return out


@pytest.mark.parametrize("tta", [True, False])
@pytest.mark.parametrize("valid", [None, [0, 1, 29, 33, 34, 64, 82, 96]])
def test_the_protocol_by_hand(
    tta: bool, valid: list[int] | None, tiny_store: Store, as_3dhp: Callable[..., Store]
) -> None:
    store, model = as_3dhp(tiny_store, valid), Crooked().train()
    clips = evaluation_clips(store, "test", T, 27, input_2d="detected", device="cpu")
    clips.input_nJ3[..., 2] = 1  # the store's confidences are a detector's
    ours = evaluate_3dhp(model, clips, flip_test=tta, batch_size=3)
    assert model.training
    expected = protocol(model, store, tta)
    assert set(ours["per_sequence"]) == expected.keys() - {"all"}
    for name, errors in ours["per_sequence"].items():
        assert {k: errors[k] for k in expected[name]} == pytest.approx(expected[name], rel=1e-4), (
            name
        )
    assert {k: ours[k] for k in expected["all"]} == pytest.approx(expected["all"], rel=1e-4)
    assert ours["n_frames"] == (97 if valid is None else len(valid))
    assert 0 < ours["auc"] < ours["pck"] < 100
    if valid:
        assert abs(ours["mpjpe"] - protocol(model, as_3dhp(tiny_store), tta)["all"]["mpjpe"]) > 1


def test_frames_that_do_not_count_change_nothing(clips: Clips) -> None:
    """The truth of frames that are not valid is never looked at; their 2D is, as neighbours."""
    model = Crooked()
    first = evaluate_3dhp(model, clips)
    ruined = clips.truth_nJ3.copy()
    ruined[[f for f in range(32) if f not in (0, 7, 19, 25)]] = 1e6
    assert evaluate_3dhp(model, replace(clips, truth_nJ3=ruined)) == first
    assert predict_clips(model, clips).shape == (4, 1, 17, 3)


def test_clips_name_their_protocol(tiny_store: Store, clips: Clips) -> None:
    model: Any = Crooked()
    whole = evaluation_clips(tiny_store, "test", T, T, input_2d="detected", device="cpu")
    assert evaluate_lifting(model, whole) == evaluate_pose(model, whole)
    assert evaluate_lifting(model, clips, flip_test=False) == evaluate_3dhp(
        model, clips, flip_test=False
    )
    with pytest.raises(ValueError, match="centred on the frames to evaluate, got whole windows"):
        evaluate_3dhp(model, whole)


def test_floors_are_evaluated_on_the_same_frames(
    tiny_store: Store, as_3dhp: Callable[..., Store]
) -> None:
    store = as_3dhp(tiny_store, [0, 29, 33, 82])
    train = training_clips(store, 9, 4, input_2d="detected", validation=True, device="cpu")
    test = evaluation_clips(store, "test", 9, 9, input_2d="detected", device="cpu")
    floors = evaluate_trivial_baselines(train, test)
    mean = train.truth_nJ3[np.unique(train.index_CT.numpy())].mean(0)
    expected = evaluate_3dhp_predictions(np.stack([mean] * 4), test)
    units = (features(test, np.array([0, 29, 33, 82])) @ fit_ridge(train)).reshape(4, 17, 3)
    ridge = (units - units[:, :1]) * test.mm_per_unit_n[[0, 29, 33, 82]][:, None, None]
    for name, errors in (
        ("mean_pose", expected),
        ("ridge", evaluate_3dhp_predictions(ridge, test)),
    ):
        assert floors[name] == pytest.approx(
            {k: errors[k] for k in ("mpjpe", "p_mpjpe", "pck", "auc")}
        )
