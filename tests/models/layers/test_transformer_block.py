"""Parts that the lifters share: attention both ways, stochastic depth, full precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from m2v_lib.config.fields import ConfigError
from m2v_lib.models.base import Lifter
from m2v_lib.models.layers.exact import ExactLinear
from m2v_lib.models.layers.stochastic_depth import StochasticDepth, rising_rates
from m2v_lib.models.layers.transformer import SHORT, Block, attend, over_frames, over_joints
from m2v_lib.models.registry import model_class

TINY: dict[str, dict[str, int]] = {
    "mixste": {"n_frames": 3, "dim": 16, "n_layers": 2},
    "motionbert": {"n_frames": 3, "dim": 16, "n_layers": 2, "dim_rep": 8},
    "stcformer": {"n_frames": 3, "dim": 16, "n_layers": 2},
    "gla_gcn": {"n_frames": 3, "channels": 8},
    "poseformer": {"n_frames": 3, "dim_per_joint": 8, "n_layers": 2},
    "poseformerv2": {
        "n_frames": 5,
        "n_kept_frames": 3,
        "n_kept_coeffs": 2,
        "dim_per_joint": 8,
        "n_layers": 2,
    },
    "d3dp": {"n_frames": 3, "dim": 16, "n_layers": 2, "n_steps": 2},
}


def built(name: str) -> Lifter:
    made: Any = model_class(name)
    torch.manual_seed(0)
    return made(made.Settings(**TINY[name]))


@pytest.mark.parametrize("n_tokens", [1, SHORT, SHORT + 1])
def test_attention_of_few_and_of_many_tokens_is_the_same(n_tokens: int) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, n_tokens, 5, dtype=torch.float64)
    expected = torch.empty_like(v)
    for n in range(n_tokens):
        scores = (q[:, :, n : n + 1] * k).sum(-1) * 0.3
        weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
        expected[:, :, n] = (weights.unsqueeze(-1) * v).sum(2)
    torch.testing.assert_close(attend(q, k, v, 0.3), expected)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match="10 features cannot be cut into 4 equal heads"):
        Block(10, 4, 2)


def test_over_joints_and_over_frames_mix_one_axis_alone() -> None:
    torch.manual_seed(0)
    block, x = Block(8, 2, 2).double(), torch.randn(2, 4, 3, 8, dtype=torch.float64)
    for axis, over in ((2, over_joints), (1, over_frames)):
        y = over(block, x)
        for b in range(2):
            for i in range(x.shape[3 - axis]):
                group = x[b].select(2 - axis, i).unsqueeze(0)
                torch.testing.assert_close(y[b].select(2 - axis, i), block(group)[0])


def test_stochastic_depth_drops_whole_entries_and_keeps_the_mean() -> None:
    layer, x = StochasticDepth(0.25), torch.ones(4000, 3, 2)
    assert layer.eval()(x) is x
    torch.manual_seed(0)
    y = layer.train()(x)
    per_entry = y.flatten(1)
    assert torch.equal(per_entry.amin(1), per_entry.amax(1))
    assert {round(v, 5) for v in per_entry[:, 0].unique().tolist()} == {0.0, round(1 / 0.75, 5)}
    assert per_entry.mean().item() == pytest.approx(1, abs=0.03)


def test_rates_rise_from_0_to_the_last() -> None:
    assert rising_rates(0.1, 5) == pytest.approx([0, 0.025, 0.05, 0.075, 0.1])
    assert rising_rates(0.1, 1) == [0.0]
    with pytest.raises(ValueError, match="drop rate"):
        StochasticDepth(1.0)


def test_exact_linear_keeps_precision_under_autocast() -> None:
    exact, x = ExactLinear(2, 4), torch.randn(5, 2)
    plain = nn.Linear(2, 4)
    plain.load_state_dict(exact.state_dict())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert plain(x).dtype == torch.bfloat16
        found = exact(x)
    torch.testing.assert_close(found, plain(x), rtol=0, atol=0)


@pytest.mark.parametrize("name", TINY)
def test_poses_are_float32_under_autocast(name: str) -> None:
    model = built(name).eval()
    x = 0.3 * torch.randn(2, model.settings.n_frames, 17, 3)
    with torch.no_grad():
        plain = model(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = model(x)
    assert mixed.dtype == torch.float32 and not torch.equal(mixed, plain)
    torch.testing.assert_close(mixed, plain, rtol=0, atol=0.05)
