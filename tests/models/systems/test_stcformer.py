"""STCFormer against loops in numpy, its published sizes, and a file in its authors' layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.lifters_by_hand import ByHand, clip, counts, gelu, shaken, write_authors_file
from fakes.reference_vectors import assert_ignores_confidence, assert_learns
from scipy.ndimage import correlate
from scipy.special import softmax

from m2v_lib.models.authors_files import load_baseline
from m2v_lib.models.base import uses_randomness
from m2v_lib.models.systems.transformer.stcformer import MODEL, Settings, STCFormer

T, J, H, E = 7, 17, 2, 3  # E features of a head in a group
TINY = Settings(dim=2 * H * E, n_layers=2, n_heads=H, mlp_ratio=3)
#: Trunk and head, right leg, left leg, left arm, right arm.
PARTS = ((0, 7, 8, 9, 10), (1, 2, 3), (4, 5, 6), (11, 12, 13), (14, 15, 16))


def tiny() -> STCFormer:
    model = shaken(MODEL(TINY))
    assert isinstance(model, STCFormer)
    return model


@pytest.mark.parametrize(
    ("size", "n_parameters", "macs"),
    [
        ("S-27", 4_748_000, 2_203_787_520),
        ("S-81", 4_748_000, 6_725_576_448),
        ("S", 4_748_000, 21_204_654_336),
        ("L-27", 18_933_184, 8_739_242_496),
        ("L-81", 18_933_184, 26_446_155_264),
        ("L", 18_933_184, 81_394_315_776),
    ],
)
def test_published_sizes(size: str, n_parameters: int, macs: int) -> None:
    assert counts(MODEL, Settings(**MODEL.published_sizes[size])) == (n_parameters, macs, 92)


class Attention:
    """One clip's attention, feature by feature and token by token."""

    def __init__(self, hand: ByHand, name: str) -> None:
        self.hand, self.name = hand, name

    def __call__(self, x_TJC: np.ndarray) -> np.ndarray:
        normed = self.hand.layer_norm(x_TJC, f"{self.name}.layer_norm", 1e-5)
        packed = self.hand.linear(normed, f"{self.name}.qkv")
        q, k, v = packed[..., 0::3], packed[..., 1::3], packed[..., 2::3]
        joined = np.empty_like(x_TJC)
        for h in range(H):
            space, time = (slice(g * H * E + h * E, g * H * E + h * E + E) for g in (0, 1))
            joined[..., 2 * h * E : (2 * h + 1) * E] = self.space(q, k, v, space)
            joined[..., (2 * h + 1) * E : (2 * h + 2) * E] = self.time(q, k, v, time)
        return x_TJC + self.hand.linear(joined, f"{self.name}.proj")

    def space(self, q: np.ndarray, k: np.ndarray, v: np.ndarray, own: slice) -> np.ndarray:
        y = np.empty((T, J, E))
        for t in range(T):
            scores = q[t, :, own] @ k[t, :, own].T / np.sqrt(H * E)
            y[t] = softmax(scores, axis=-1) @ v[t, :, own]
        return y + self.convolution(v, own, "sep2_s", first=0) + 1e-4 * self.part()

    def time(self, q: np.ndarray, k: np.ndarray, v: np.ndarray, own: slice) -> np.ndarray:
        y = np.empty((T, J, E))
        for j in range(J):
            scores = q[:, j, own] @ k[:, j, own].T / np.sqrt(H * E)
            y[:, j] = softmax(scores, axis=-1) @ v[:, j, own]
        return y + self.convolution(v, own, "sep2_t", first=H * E) + 1e-9 * self.part()

    def convolution(self, v: np.ndarray, own: slice, name: str, first: int) -> np.ndarray:
        kernels = self.hand.p[f"{self.name}.{name}.weight"]
        biases = self.hand.p[f"{self.name}.{name}.bias"]
        images = [
            correlate(v[..., c], kernels[c - first, 0], mode="constant") + biases[c - first]
            for c in range(own.start, own.stop)
        ]
        return np.stack(images, axis=-1)

    def part(self) -> np.ndarray:
        embedding = self.hand.p[f"{self.name}.emb.weight"]
        part_of = {joint: part for part, joints in enumerate(PARTS) for joint in joints}
        return np.stack([embedding[part_of[j]] for j in range(J)])


def test_forward_is_the_description_in_numpy() -> None:
    model, x = tiny(), clip(T)
    hand = ByHand(model, n_heads=H)
    with torch.no_grad():
        poses, tokens = model.all_poses(x).numpy(), model.encode(x).numpy()
        centre = model(x).numpy()

    for b in range(2):
        z = gelu(hand.linear(x[b, ..., :2].numpy(), "pose_emb"))
        for block in (f"stcformer.stc_block.{i}" for i in range(2)):
            z = Attention(hand, f"{block}.stc_att")(z)
            z = z + hand.mlp(hand.layer_norm(z, f"{block}.layer_norm", 1e-5), f"{block}.mlp")
        np.testing.assert_allclose(tokens[b], z, rtol=0, atol=1e-11)
        np.testing.assert_allclose(poses[b], hand.linear(z, "regress_head"), rtol=0, atol=1e-11)
    assert np.array_equal(centre, poses[:, 3:4])


def test_part_embedding_is_dropped_as_a_whole_or_doubled() -> None:
    attention = tiny().stcformer["stc_block"][0].stc_att  # type: ignore[index]
    full = attention.parts("joints")
    attention.train()
    torch.manual_seed(0)
    drawn = [attention.parts("joints") for _ in range(20)]
    kinds = [bool(d.any()) for d in drawn]
    assert 4 < sum(kinds) < 16
    assert all(torch.equal(d, 2 * full) for d, kept in zip(drawn, kinds, strict=True) if kept)


def test_confidence_is_not_read_and_any_length_comes_in() -> None:
    model = tiny()
    for n_frames in (1, 40):
        assert_ignores_confidence(model, clip(n_frames, n_channels=2))


def test_loss_is_the_mean_of_all_frames() -> None:
    model, x, target = tiny(), clip(T), clip(T, seed=8)
    distance = (model.all_poses(x) - target).norm(dim=-1)
    value, parts = model.loss(x, target)
    torch.testing.assert_close(value, distance.mean())
    torch.testing.assert_close(parts["mpjpe"], distance[:, 3].mean().detach())


def test_one_step_learns() -> None:
    model = tiny()
    assert uses_randomness(model)
    assert_learns(model, clip(T), clip(T, seed=8))


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_authors_file_gives_the_same_poses(tmp_path: Path, prefix: str) -> None:
    model, x = tiny(), clip(T)
    path = write_authors_file(tmp_path / "no_refine_20_4408.pth", model, None, prefix)

    loaded = load_baseline("stcformer", path)

    assert loaded.settings == TINY and loaded.n_matched == len(model.state_dict())
    assert torch.equal(loaded.double()(x), model.float().double()(x))


def test_the_3dhp_model_is_refused(tmp_path: Path) -> None:
    torch.save({"module.pose_emb.weight": torch.zeros(12, 2)}, tmp_path / "3dhp.pth")
    with pytest.raises(ValueError, match="no file of stcformer's authors"):
        load_baseline("stcformer", tmp_path / "3dhp.pth")
