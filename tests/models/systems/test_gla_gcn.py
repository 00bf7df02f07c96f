"""GLA-GCN against loops in numpy, its published sizes, and a file in its authors' layout."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.lifters_by_hand import clip, counts, shaken, write_authors_file
from fakes.reference_vectors import assert_ignores_confidence, assert_learns
from scipy.special import softmax

from m2v_lib.config.fields import ConfigError
from m2v_lib.models.authors_files import load_baseline
from m2v_lib.models.systems.graph.gla_gcn import GLAGCN, MODEL, Settings, jittered

T, J, C = 9, 17, 8
TINY = Settings(n_frames=T, channels=C)
#: (child, parent) of Human3.6M's skeleton.
BONES = (
    (1, 0),
    (2, 1),
    (3, 2),
    (4, 0),
    (5, 4),
    (6, 5),
    (7, 0),
    (8, 7),
    (9, 8),
    (10, 9),
    (11, 8),
    (12, 11),
    (13, 12),
    (14, 8),
    (15, 14),
    (16, 15),
)


def tiny() -> GLAGCN:
    model = shaken(MODEL(TINY))
    assert isinstance(model, GLAGCN)
    return model


@pytest.mark.parametrize(
    ("n_frames", "n_parameters", "macs", "n_tensors"),
    [
        (243, 1_348_856, 1_623_123_450, 362),
        (81, 1_096_466, 537_546_222, 300),
        (27, 844_076, 175_687_146, 238),
    ],
)
def test_published_sizes(n_frames: int, n_parameters: int, macs: int, n_tensors: int) -> None:
    assert counts(MODEL, Settings(n_frames=n_frames)) == (n_parameters, macs, n_tensors)


class ByHand:
    """One window (channels, frames, joints), in loops over graphs, kernel taps and joints."""

    def __init__(self, model: GLAGCN) -> None:
        self.p = {name: value.numpy() for name, value in model.state_dict().items()}
        self.graphs = np.zeros((3, J, J))
        self.graphs[0] = np.eye(J)
        for child, parent in BONES:
            self.graphs[1, parent, child] = 1
            self.graphs[2, child, parent] = 1
        sums = self.graphs.sum(1, keepdims=True)
        self.graphs = (self.graphs / np.where(sums > 0, sums, 1)).astype(np.float32).astype(float)

    def batch_norm(self, x: np.ndarray, name: str) -> np.ndarray:
        def each(kind: str) -> np.ndarray:
            return self.p[f"{name}.{kind}"].reshape(-1, *[1] * (x.ndim - 1))

        unit = (x - each("running_mean")) / np.sqrt(each("running_var") + 1e-5)
        return unit * each("weight") + each("bias")

    def pointwise(self, x: np.ndarray, name: str) -> np.ndarray:
        weight = self.p[f"{name}.weight"][..., 0, 0]
        return np.einsum("oc,ctv->otv", weight, x) + self.p[f"{name}.bias"][:, None, None]

    def over_time(self, x: np.ndarray, name: str, stride: int) -> np.ndarray:
        weight = self.p[f"{name}.conv.weight"][..., 0]
        half, n = weight.shape[2] // 2, x.shape[1]
        y = np.zeros((len(weight), -(-n // stride), J)) + self.p[f"{name}.conv.bias"][:, None, None]
        for i, t in enumerate(range(0, n, stride)):
            for tap in range(weight.shape[2]):
                if 0 <= t + tap - half < n:
                    y[:, i] += weight[..., tap] @ x[:, t + tap - half]
        return self.batch_norm(y, f"{name}.bn")

    def graph_convolution(self, x: np.ndarray, name: str) -> np.ndarray:
        total = np.zeros((C, x.shape[1], J))
        for k in range(3):
            a, b = (self.pointwise(x, f"{name}.conv_{ab}.{k}") for ab in "ab")
            alike = np.einsum("ctu,ctv->uv", a, b) / (a.shape[0] * a.shape[1])
            graph = softmax(alike, axis=0) + self.graphs[k] + self.p[f"{name}.PA"][k]
            mixed = np.einsum("ctu,uv->ctv", x, graph)
            total += self.pointwise(mixed, f"{name}.conv_d.{k}")
        down = x
        if f"{name}.down.0.weight" in self.p:
            down = self.batch_norm(self.pointwise(x, f"{name}.down.0"), f"{name}.down.1")
        return np.maximum(self.batch_norm(total, f"{name}.bn") + down, 0)

    def unit(self, x: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
        y = self.over_time(self.graph_convolution(x, f"{name}.gcn1"), f"{name}.tcn1", stride)
        if stride == 1:
            wide = f"{name}.residual.conv.weight" in self.p
            y = y + (self.over_time(x, f"{name}.residual", 1) if wide else x)
        return np.maximum(y, 0)

    def pose(self, x_TJ2: np.ndarray) -> np.ndarray:
        flat = self.batch_norm(x_TJ2.reshape(T, 2 * J).T, "data_bn")
        x = self.unit(np.stack([flat[0::2], flat[1::2]]).swapaxes(1, 2), "expand_gcn")
        for i in range(2):
            kept = x[:, 1::3]
            x = self.unit(x, f"layers_tcngcn.{2 * i}")
            x = kept + self.unit(x, f"layers_tcngcn.{2 * i + 1}", stride=3)
        return (self.p["fc.weight"][..., 0] @ x[:, 0]).T + self.p["fc.bias"]


def test_forward_is_the_description_in_numpy() -> None:
    model, x = tiny(), clip(T)
    hand = ByHand(model)
    with torch.no_grad():
        poses = model(x).numpy()
    assert poses.shape == (2, 1, J, 3)
    for b in range(2):
        np.testing.assert_allclose(poses[b, 0], hand.pose(x[b, ..., :2].numpy()), rtol=1e-11)


def test_start() -> None:
    start = MODEL(TINY).state_dict()
    for unit in ("expand_gcn", "layers_tcngcn.3"):
        assert torch.equal(start[f"{unit}.gcn1.bn.weight"], torch.full((C,), 1e-6))
        assert torch.equal(start[f"{unit}.gcn1.PA"], torch.full((3, J, J), 1e-6))
        assert not start[f"{unit}.tcn1.conv.bias"].any()
    spread = math.sqrt(2 / (C * C * 3))
    assert start["layers_tcngcn.1.gcn1.conv_d.0.weight"].std() == pytest.approx(spread, rel=0.4)


def test_targets_are_turned_and_scaled_window_by_window_in_training_alone() -> None:
    torch.manual_seed(0)
    target = clip(1, batch=60)
    moved = jittered(target)
    length = moved[..., :2].norm(dim=-1) / target[..., :2].norm(dim=-1)
    before, after = (torch.atan2(pose[..., 1], pose[..., 0]) for pose in (target, moved))
    turn = torch.rad2deg((after - before + math.pi) % (2 * math.pi) - math.pi)

    assert torch.equal(moved[..., 2], target[..., 2])
    for values, kinds in ((length, (0.95, 1.0, 1.05)), (turn, (-5.0, 0.0, 5.0))):
        torch.testing.assert_close(values, values[:, :, :1].expand_as(values))
        found = torch.tensor(kinds, dtype=values.dtype)
        nearest = (values[:, 0, :1] - found).abs()
        assert nearest.min(dim=1).values.max() < 1e-9
        assert nearest.argmin(dim=1).bincount(minlength=3).min() > 8

    model, x, y = tiny(), clip(T), clip(T, seed=8)
    expected = (model(x) - y[:, 4:5]).norm(dim=-1).mean()
    torch.testing.assert_close(model.loss(x, y)[0], expected)


def test_confidence_is_not_read_and_one_step_learns() -> None:
    assert_ignores_confidence(tiny(), clip(T, n_channels=2))
    assert_learns(tiny(), clip(T), clip(T, seed=8))


def test_window_must_be_a_power_of_3() -> None:
    with pytest.raises(ConfigError, match="power of 3, got 26"):
        MODEL(Settings(n_frames=26))


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_authors_file_gives_the_same_poses(tmp_path: Path, prefix: str) -> None:
    model, x = tiny(), clip(T)
    path = write_authors_file(tmp_path / "96_cpn_243_supervised.bin", model, "model_pos", prefix)

    loaded = load_baseline("gla_gcn", path)

    assert loaded.settings == TINY and loaded.n_matched == len(model.state_dict())
    assert torch.equal(loaded.double()(x), model.float().double()(x))
