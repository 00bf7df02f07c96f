"""The teacher: its step, its targets by hand, and the released target that is the student's own
input.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from m2v_lib.config import Experiment
from m2v_lib.models.dual_stream.model import DualStreamModel
from m2v_lib.models.registry import build_model
from m2v_lib.training.pretraining.teacher import Teacher, effective_rank, tau_at

# B batch, T frames, J joints, D features
T, J, D = 5, 17, 8


def student(recipe: str = "paper", seed: int = 0, **model: Any) -> DualStreamModel:
    tiny = {"model.n_layers": 3, "model.dim": D, "model.n_frames": T, "model.n_heads": 2}
    changes = {f"model.{key}": value for key, value in model.items()}
    return build_model(
        Experiment.preset("smoke", recipe).override({**tiny, **changes}).model, seed=seed
    )


def clean(model: DualStreamModel, seed: int = 1) -> Tensor:
    x = torch.randn(2, model.cfg.n_frames, J, 3, generator=torch.Generator().manual_seed(seed))
    return model.add_positions(model.joints_embed(x)).detach()


def disturb(model: DualStreamModel, seed: int = 2) -> None:
    """Move every parameter and batch-norm buffer, as training does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand(value.shape, generator=generator))
            else:
                value.add_(3)


def test_starts_as_the_student_and_takes_no_gradient() -> None:
    model = student()
    teacher = Teacher(model.layers)
    theirs = model.layers.state_dict()
    for name, mine in teacher.layers.state_dict().items():
        assert torch.equal(mine, theirs.pop(name)), name
    assert not theirs and not {p.data_ptr() for p in teacher.parameters()} & {
        p.data_ptr() for p in model.parameters()
    }
    assert not any(p.requires_grad for p in teacher.parameters())
    assert teacher.distance(model.layers).item() == 0
    assert not teacher.targets(clean(model).requires_grad_(), 2, normalise=True).requires_grad


@pytest.mark.parametrize("tau", [0.999, 0.9999, 0.5, 0.0, 1.0])
def test_a_step_moves_by_one_minus_tau_of_the_difference(tau: float) -> None:
    model = student()
    teacher = Teacher(model.layers)
    disturb(model)
    before = {name: p.clone() for name, p in teacher.layers.named_parameters()}
    teacher.update(model.layers, tau)
    for name, theirs in model.layers.named_parameters():
        expected = before[name].double() + (1 - tau) * (
            theirs.detach().double() - before[name].double()
        )
        torch.testing.assert_close(
            teacher.layers.get_parameter(name).double(), expected, rtol=1e-6, atol=1e-7
        )


def test_batch_norm_buffers_are_copied_whole() -> None:
    model = student()
    teacher = Teacher(model.layers)
    disturb(model)
    teacher.update(model.layers, 0.999)
    buffers = dict(teacher.layers.named_buffers())
    compared = [
        name for name, theirs in model.layers.named_buffers() if torch.equal(buffers[name], theirs)
    ]
    assert (
        len(compared) == len(buffers) and sum("running_mean" in name for name in compared) == 3 * 2
    )
    assert sum("num_batches_tracked" in name for name in compared) == 3 * 2


def test_repeated_steps_forget_the_start_geometrically() -> None:
    model = student()
    teacher = Teacher(model.layers)
    disturb(model)
    start = teacher.distance(model.layers).item()
    for _ in range(5):
        teacher.update(model.layers, 0.8)
    assert teacher.distance(model.layers).item() == pytest.approx(start * 0.8**5, rel=1e-3)


def test_distance_by_hand() -> None:
    model = student()
    teacher = Teacher(model.layers)
    disturb(model)
    mine = np.concatenate([p.detach().numpy().ravel() for p in teacher.layers.parameters()]).astype(
        float
    )
    theirs = np.concatenate([p.detach().numpy().ravel() for p in model.layers.parameters()]).astype(
        float
    )
    expected = np.linalg.norm(mine - theirs) / np.linalg.norm(theirs)
    assert teacher.distance(model.layers).item() == pytest.approx(expected, rel=1e-5)


def normed(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("normalise", [True, False])
def test_targets_by_hand(normalise: bool, n_layers: int) -> None:
    """Eq. (14): norm of each of the last K block outputs, their mean, its norm; or the bare mean
    (audit E3).
    """
    model = student()
    disturb(model)
    teacher = Teacher(model.layers)
    x, outputs = clean(model), []
    model.eval()
    with torch.no_grad():
        for block in model.layers:
            x = block(x)
            outputs.append(x.double().numpy())
    chosen = outputs[3 - n_layers :]
    expected = (
        normed(np.mean([normed(y) for y in chosen], axis=0))
        if normalise
        else np.mean(chosen, axis=0)
    )
    ours = teacher.targets(clean(model), n_layers, normalise=normalise)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-4)


def test_normed_targets_have_unit_variance() -> None:
    model = student()
    y = Teacher(model.layers).targets(clean(model), 3, normalise=True)
    torch.testing.assert_close(
        y.var(-1, unbiased=False), torch.ones(y.shape[:-1]), atol=1e-3, rtol=0
    )


def test_reads_buffers_even_when_told_to_train() -> None:
    """Batch norm in training mode would make the target of a clip depend on its batch, and move
    the buffers.
    """
    model = student()
    disturb(model)
    teacher = Teacher(model.layers).train()
    assert not any(module.training for module in teacher.modules())
    before = {name: b.clone() for name, b in teacher.named_buffers()}
    x = clean(model)
    together, alone = (teacher.targets(part, 2, normalise=True) for part in (x, x[:1]))
    torch.testing.assert_close(together[:1], alone)
    assert all(torch.equal(before[name], b) for name, b in teacher.named_buffers())


def test_the_released_target_is_the_students_input() -> None:
    """Audit E2: with LayerScale 1e-5 the frozen blocks are the identity to 2e-4, and the target
    has rank 3.
    """
    cfg = Experiment.preset("base", "released").override({"model.n_frames": 9}).model
    model = build_model(cfg, seed=0)
    f0 = clean(model)
    target = Teacher(model.layers).targets(f0, 6, normalise=False)
    relative = ((target - f0).norm() / f0.norm()).item()
    assert 1e-4 < relative < 4e-4
    rows = target.flatten(0, 2)
    values = torch.linalg.svdvals(rows - rows.mean(0))
    assert values[2] > 0.1 * values[0] and values[3] < 1e-3 * values[0]


def test_the_papers_target_is_not() -> None:
    cfg = (
        Experiment.preset("base", "paper")
        .override({"model.n_frames": 9, "model.n_layers": 8})
        .model
    )
    model = build_model(cfg, seed=0)
    f0 = clean(model)
    rows = Teacher(model.layers).targets(f0, 8, normalise=True).flatten(0, 2)
    values = torch.linalg.svdvals(rows - rows.mean(0))
    assert values[3] > 0.01 * values[0]


def test_tau_rises_linearly_over_all_steps() -> None:
    taus = [tau_at(step, 11, 0.999, 0.9999) for step in range(1, 12)]
    assert taus[0] == 0.999 and taus[-1] == pytest.approx(0.9999, abs=1e-15)
    np.testing.assert_allclose(np.diff(taus), 0.0009 / 10)
    assert tau_at(1, 1, 0.9, 1.0) == 0.9


def test_effective_rank() -> None:
    rng = np.random.default_rng(0)
    line = np.outer(rng.normal(size=200), rng.normal(size=6)) + 5
    assert effective_rank(torch.from_numpy(line)).item() == pytest.approx(1, abs=1e-3)
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    circle = (
        np.stack((np.cos(angle), np.sin(angle)), axis=1)
        @ np.linalg.qr(rng.normal(size=(6, 2)))[0].T
    )
    assert effective_rank(torch.from_numpy(circle)).item() == pytest.approx(2, rel=1e-3)
    assert effective_rank(torch.from_numpy(rng.normal(size=(5000, 6)))).item() == pytest.approx(
        6, rel=0.01
    )
    assert effective_rank(torch.ones(10, 4)).item() == pytest.approx(1, abs=1e-3)
