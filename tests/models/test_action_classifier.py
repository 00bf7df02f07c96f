"""The action classifier: its layers by hand, the paper's size to the unit, people without an
order.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from m2v_lib.config import ActionConfig, Experiment
from m2v_lib.models.action_classifier import ActionModel, build_action_model, seeded_dropout
from m2v_lib.models.base import count_parameters
from m2v_lib.models.registry import build_model

CFG = Experiment.preset("smoke").override({"model.n_frames": 5, "model.dim_rep": 8}).model
ACTION = ActionConfig(hidden=16)


def people(n_samples: int = 3, n_people: int = 2) -> Tensor:
    return torch.randn(n_samples, n_people, 5, 17, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["flatten", "gap"])
def model(request: pytest.FixtureRequest) -> ActionModel:
    return build_action_model(
        CFG, dataclasses.replace(ACTION, head=request.param), 4, seed=0
    ).eval()


def test_forward_by_hand(model: ActionModel) -> None:
    x = people()
    for b, scores in enumerate(model(x)):
        vectors = []
        for m in range(2):
            rep_TJR = model.backbone.encode(x[b, m][None])[0]
            by_joint = [torch.stack([rep_TJR[t, j] for t in range(5)]).mean(0) for j in range(17)]
            vectors.append(torch.cat(by_joint) if model.by_joint else torch.stack(by_joint).mean(0))
        hidden = model.fc1((vectors[0] + vectors[1]) / 2)
        mean, var = model.bn.state_dict()["running_mean"], model.bn.state_dict()["running_var"]
        hidden = (hidden - mean) / (var + model.bn.eps).sqrt()
        torch.testing.assert_close(
            model.fc2((hidden * model.bn.weight + model.bn.bias).clamp(min=0)),
            scores,
            rtol=1e-4,
            atol=1e-5,
        )


def test_the_order_of_people_does_not_matter_but_who_is_there_does(model: ActionModel) -> None:
    x = people()
    torch.testing.assert_close(model(x.flip(1)), model(x), rtol=1e-5, atol=1e-6)
    alone = x.clone()
    alone[:, 1] = 0
    assert not torch.allclose(model(alone), model(x), atol=1e-4)


def test_the_papers_size_to_the_unit() -> None:
    """Base without its 3D layer, and 8704 -> 2048 -> 60 with a batch norm: 17.95 million (spec
    section 2).
    """
    exp = Experiment.preset("base", recipe="released")
    head = (17 * 512 + 1) * 2048 + 2 * 2048 + (2048 + 1) * 60
    assert head == 17_954_876
    pose = count_parameters(build_model(exp.model))
    assert count_parameters(ActionModel(exp.model, exp.action, 60)) == pose - (512 + 1) * 3 + head
    gap = exp.override({"action.head": "gap"})
    assert (
        count_parameters(ActionModel(gap.model, gap.action, 60))
        == pose - (512 + 1) * 3 + head - 16 * 512 * 2048
    )


def test_a_seed_makes_weights_repeatable_and_leaves_torch_alone() -> None:
    before = torch.random.get_rng_state()
    a, b, c = (build_action_model(CFG, ACTION, 4, seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.fc1.weight, c.fc1.weight)


def test_dropout_thins_out_by_its_generator_and_keeps_the_mean() -> None:
    x = torch.ones(200, 500)
    thin, again, other = (
        seeded_dropout(x, 0.3, torch.Generator().manual_seed(s)) for s in (0, 0, 1)
    )
    assert torch.equal(thin, again) and not torch.equal(thin, other)
    assert sorted(thin.unique().tolist()) == pytest.approx([0, 1 / 0.7])
    assert float(thin.mean()) == pytest.approx(1, abs=0.01)
    assert torch.equal(seeded_dropout(x, 0.0, torch.Generator()), x)


def test_dropout_only_when_training() -> None:
    model, x = build_action_model(CFG, ACTION, 4, seed=0), people()
    kept = [model.draw_kept(x, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    steps = [model(x, mask) for mask in kept]
    assert torch.equal(steps[0], steps[1]) and not torch.equal(steps[0], steps[2])
    model.eval()
    assert torch.equal(model(x, kept[0]), model(x))


def test_gradients_reach_every_layer(model: ActionModel) -> None:
    model.train()(people()).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
