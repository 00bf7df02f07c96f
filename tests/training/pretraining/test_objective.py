"""The masked loss: which tokens count, what fills them, and who moves when the optimiser steps."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from m2v_lib.config import Experiment
from m2v_lib.models.registry import build_model
from m2v_lib.training.pretraining import objective as objective_module
from m2v_lib.training.pretraining.masking import draw_masks
from m2v_lib.training.pretraining.objective import MaskedPrediction, masked_mse

# B batch, M masked views, T frames, J joints, D features
B, M, T, J, D = 2, 3, 5, 17, 8
TINY = {
    "model.n_layers": 2,
    "model.dim": D,
    "model.n_frames": T,
    "model.n_heads": 2,
    "pretrain.n_masks": M,
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(recipe: str = "paper", **pretrain: Any) -> MaskedPrediction:
    changes = {f"pretrain.{key}": value for key, value in pretrain.items()}
    exp = Experiment.preset("smoke", recipe).override({**TINY, **changes})
    student = build_model(exp.model, seed=0)
    with torch.no_grad():
        student.pos_embed.normal_(generator=generator(9))
    return MaskedPrediction(student, exp.pretrain, generator(8))


def clip(seed: int = 1) -> Tensor:
    return torch.randn(B, T, J, 3, generator=generator(seed))


def test_masked_mse_by_hand_and_blind_to_the_rest() -> None:
    predicted, target = torch.randn(2, B, T, J, D, generator=generator(1), dtype=torch.float64)
    mask = torch.rand(B, T, J, generator=generator(2)) < 0.4
    rows = [
        (predicted[b, t, j] - target[b, t, j]).square().sum().item() / D
        for b in range(B)
        for t in range(T)
        for j in range(J)
        if mask[b, t, j]
    ]
    loss = masked_mse(predicted, target, mask)
    assert loss.item() == pytest.approx(sum(rows) / len(rows))
    elsewhere = torch.where(mask.unsqueeze(-1), predicted, torch.full_like(predicted, 1e3))
    assert masked_mse(elsewhere, target, mask).item() == loss.item()
    inside = predicted.clone()
    inside[mask] += 1.0
    assert masked_mse(inside, target, mask).item() != loss.item()
    assert masked_mse(predicted, target, torch.zeros_like(mask)).item() == 0


def seen_by_loss(
    monkeypatch: pytest.MonkeyPatch, model: MaskedPrediction, x: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What a step gives to `masked_mse`: predictions, targets and mask."""
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def record(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        seen.append((predicted, target, mask))
        return masked_mse(predicted, target, mask)

    monkeypatch.setattr(objective_module, "masked_mse", record)
    model(x, generator(4))
    return seen[0]


@pytest.mark.parametrize("recipe", ["paper", "released"])
def test_a_step_by_hand(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Views, targets, mask and scale as spec section 3 has them, with the draws replayed from
    the generator.
    """
    model, x = make(recipe), clip()
    cfg, student = model.cfg, model.student
    predicted, target, mask = seen_by_loss(monkeypatch, model, x)
    assert predicted.shape == target.shape == (B * M, T, J, D)

    replay = generator(4)
    assert torch.equal(mask, draw_masks(cfg, (B * M, T, J), replay))
    f0 = student.joints_embed(x) + student.pos_embed
    clean_target = model.teacher.targets(f0, cfg.target_layers, normalise=cfg.norm_targets)
    for b in range(B):
        for m in range(M):
            torch.testing.assert_close(target[b * M + m], clean_target[b])

    noise = torch.randn(B * M, T, J, D, generator=replay)
    views = torch.empty(B * M, T, J, D)
    for view in range(B * M):
        for t in range(T):
            for j in range(J):
                token = student.joints_embed(x[view // M, t, j])
                # noise in the token's place, joint identity added afterwards
                if recipe == "paper":
                    token = 0.01 * noise[view, t, j] if mask[view, t, j] else token
                    views[view, t, j] = token + student.pos_embed[0, j]
                else:  # the learned vector overwrites token and identity
                    full = token + student.pos_embed[0, j]
                    views[view, t, j] = model.mask_emb[0, 0, 0] if mask[view, t, j] else full
    expected = views.detach()
    for block in student.layers:
        expected = block(expected)
    torch.testing.assert_close(predicted, student.norm(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", ["none", "sqrt-dim"])
def test_loss_scale(scale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(loss_scale=scale)
    predicted, target, mask = seen_by_loss(monkeypatch, model, clip())
    loss, _ = model(clip(), generator(4))
    expected = masked_mse(predicted, target, mask).item() / (
        math.sqrt(D) if scale == "sqrt-dim" else 1
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("recipe", ["paper", "released"])
def test_only_masked_tokens_carry_gradient(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(recipe)
    kept: list[Tensor] = []

    def record(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        predicted.retain_grad()
        kept.extend((predicted, mask))
        return masked_mse(predicted, target, mask)

    monkeypatch.setattr(objective_module, "masked_mse", record)
    model(clip(), generator(4))[0].backward()
    predicted, mask = kept
    assert predicted.grad is not None
    touched = predicted.grad.abs().sum(-1) > 0
    assert torch.equal(touched, mask)


@pytest.mark.parametrize("recipe", ["paper", "released"])
def test_who_moves(recipe: str) -> None:
    """Optimiser steps move the student and the learned fill, never the teacher nor the unused
    heads.
    """
    model = make(recipe)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for step in range(3):
        optimiser.zero_grad()
        model.train()(clip(step), generator(step))[0].backward()
        optimiser.step()
    moved = {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert not {n for n in trained if n.startswith(("teacher.", "student.head", "student.rep_"))}
    assert not {
        name for name in moved if name.startswith(("teacher.", "student.head", "student.rep_logit"))
    }
    # Batch norm takes a common shift of the mixed features out again: those biases may have no
    # gradient.
    weights = {
        n
        for n in before
        if n.startswith(("student.layers", "student.joints_embed", "student.norm"))
    }
    assert {n for n in weights if n.endswith("weight")} <= moved and "student.pos_embed" in moved
    assert ("mask_emb" in moved) == (recipe == "released")


def test_learned_fill_starts_in_0_to_1_and_follows_its_generator() -> None:
    one, same = make("released"), make("released")
    assert torch.equal(one.mask_emb, same.mask_emb)
    assert one.mask_emb.min() >= 0 and one.mask_emb.max() < 1 and one.mask_emb.numel() == D
    assert not hasattr(make("paper"), "mask_emb")


def test_the_same_generator_state_gives_the_same_loss() -> None:
    model, x = make().eval(), clip()
    one, same, other = (model(x, generator(seed))[0].item() for seed in (4, 4, 5))
    assert one == same and one != other


def test_mask_ratio_and_collapse_diagnostics() -> None:
    model, x = make(), clip()
    _, seen = model(x, generator(4))
    assert seen["mask_ratio"].item() == pytest.approx(round(0.7 * T * J) / (T * J))
    signs = model.collapse_diagnostics(seen)
    rows = seen["targets"].reshape(-1, D)
    assert signs["target_std"] == pytest.approx(rows.numpy().std(0, ddof=1).mean(), rel=1e-4)
    assert 1 < signs["target_rank"] <= D
    assert signs["teacher_distance"] == 0
    clean = (model.student.joints_embed(x) + model.student.pos_embed).detach()
    expected = (seen["targets"] - clean).norm() / clean.norm()
    assert signs["target_from_input"] == pytest.approx(expected.item(), rel=1e-5)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match=rf"the input must be \(B, T, {J}, 3\), got"):
        make()(torch.zeros(B, T, J + 1, 3), generator())
    with pytest.raises(ValueError, match=rf"the input must be \(B, {T}, {J}, 3\), got"):
        make("released")(torch.zeros(B, T + 1, J, 3), generator())
