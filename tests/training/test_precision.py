"""What stays in float32 while products are bfloat16, each by its error against float64: statistics of
norms, losses, averages of weights; and all that a run keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from m2v_lib.config import Experiment
from m2v_lib.data.store import Store
from m2v_lib.models.losses import pose_loss
from m2v_lib.models.registry import build_model
from m2v_lib.training.clip_loader import ClipLoader
from m2v_lib.training.engine.averaging import WeightAverage
from m2v_lib.training.engine.distributed import SINGLE
from m2v_lib.training.engine.loop import Trainer
from m2v_lib.training.engine.saved_state import state_of_run
from m2v_lib.training.finetune import Finetune
from m2v_lib.training.pretrain import Pretrain

Make = Callable[..., Experiment]
CPU = torch.device("cpu")
#: Half a unit of bfloat16's last digit, relative, with some room.
ROUNDING = 2**-8


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_norms_take_their_statistics_in_float32() -> None:
    """Of features far from 0, whose spread bfloat16 sums would lose."""
    model = build_model(Experiment.preset("smoke").model, seed=0).train()
    norms = [m for m in model.modules() if isinstance(m, nn.LayerNorm | nn.BatchNorm1d)]
    assert {isinstance(norm, nn.LayerNorm) for norm in norms} == {True, False}
    for norm in norms:
        n = norm.weight.numel()
        x = (30 + drawn(64, n)).bfloat16()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            seen = norm(x).double()
        wide = norm.double()(x.double())
        assert (seen - wide).abs().max() < 2 * ROUNDING * wide.abs().max()


def test_losses_are_computed_in_float32() -> None:
    """A pose that is a few millimetres off, of metres."""
    target = drawn(2, 9, 17, 3)
    prediction = target + 1e-3 * drawn(2, 9, 17, 3).roll(1, 0)
    with torch.autocast("cpu", torch.bfloat16):
        loss, parts = pose_loss(prediction, target, 0.5, 2.0)
    exact, exact_parts = pose_loss(prediction.double(), target.double(), 0.5, 2.0)
    for value, expected in ((loss, exact), *zip(parts.values(), exact_parts.values(), strict=True)):
        assert value.dtype == torch.float32
        assert value.double() == pytest.approx(float(expected), rel=1e-3)


def test_an_average_moves_by_less_than_bfloat16_tells_apart() -> None:
    weight = nn.Parameter(torch.ones(64))
    average = WeightAverage({"weight": weight})
    with torch.no_grad():
        weight.copy_(1 + 0.01 * drawn(64))
    exact, share = torch.ones(64, dtype=torch.float64), 1e-3
    for _ in range(500):
        average.update(torch.tensor(share))
        exact += share * (weight.detach().double() - exact)
    torch.testing.assert_close(average.weights["weight"].double(), exact, rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("kind", [Pretrain, Finetune])
def test_what_a_run_in_bfloat16_keeps_is_float32(
    kind: type[Pretrain] | type[Finetune], tiny_store: Store, tiny_experiment: Make, tmp_path: Path
) -> None:
    settings = {"run.precision": "bf16", "optim.algorithm": "muon", "optim.ema": 0.9}
    exp = tiny_experiment("paper", {**settings, "model.dim": 16})
    data, _ = kind.open_data(exp)
    trainer = Trainer(kind.build(exp, tmp_path, data, CPU, SINGLE, ClipLoader()), tmp_path / "run")
    trainer.start()
    for _ in range(2):
        trainer.one_step()
    tensors, _ = state_of_run(trainer)
    kinds = {name: t.dtype for name, t in tensors.items() if t.is_floating_point()}
    assert set(kinds.values()) == {torch.float32}
    assert {name.split(".")[0] for name in kinds} == {"module", "sums", "average", "optim"}
