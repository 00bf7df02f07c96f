"""Muon against torch's own and against a singular value decomposition; which optimiser moves
which parameter.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from m2v_lib.config import Experiment, OptimConfig
from m2v_lib.config.models import entries
from m2v_lib.models.registry import build_model
from m2v_lib.training.optimisers import (
    Muon,
    is_block_matrix,
    make_optimisers,
    newton_schulz,
    orthogonal_updates,
)

MUON = OptimConfig(algorithm="muon", lr=0.02)
SHAPES = ((16, 16), (32, 16), (16, 32), (16, 16))


def matrices(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def give_gradients(parameters: list[nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in parameters:
        p.grad = torch.randn(p.shape, generator=generator)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon of its own")
@pytest.mark.parametrize("in_bfloat16", [True, False])
def test_the_numbers_of_torchs_own(in_bfloat16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs iterates in bfloat16; made to iterate in float32, it agrees to rounding."""
    if not in_bfloat16:
        monkeypatch.setattr(Tensor, "bfloat16", lambda self: self.clone())
    ours = matrices()
    theirs = copy.deepcopy(ours)
    lr = 0.02 if in_bfloat16 else 0.05
    mine = Muon(ours, lr, weight_decay=0.1)
    torchs = torch.optim.Muon(
        theirs, lr=lr, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(4):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        mine.step()
        torchs.step()
    rtol, atol = (0.0, 0.02) if in_bfloat16 else (1e-4, 1e-5)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=rtol, atol=atol)


def test_the_iteration_brings_singular_values_near_one_and_keeps_the_vectors() -> None:
    x = torch.randn(3, 8, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = newton_schulz(x).double()
    values = torch.linalg.svdvals(y)
    assert values.min() > 0.6 and values.max() < 1.3
    u, _, vh = torch.linalg.svd(x, full_matrices=False)
    along = u.mT @ y @ vh.mT
    off_diagonal = along - torch.diag_embed(along.diagonal(dim1=1, dim2=2))
    assert off_diagonal.abs().max() < 1e-4


def test_a_packed_projection_is_three_matrices() -> None:
    packed = torch.randn(24, 8, generator=torch.Generator().manual_seed(2))
    (whole,) = orthogonal_updates([packed], [True])
    parts = orthogonal_updates(list(packed.chunk(3)), [False] * 3)
    torch.testing.assert_close(whole, torch.cat(parts), rtol=1e-5, atol=1e-6)
    (tall,) = orthogonal_updates([packed], [False])
    torch.testing.assert_close(tall, newton_schulz(packed.T[None])[0].T * 0.2 * 24**0.5)


@pytest.mark.parametrize("algorithm", ["muon", "muon-kernels"])
def test_an_mlp_three_times_as_wide_is_one_matrix(algorithm: str) -> None:
    """Its first map has the shape of a packed projection, and only the name tells them apart."""
    gradient = torch.randn(24, 8, generator=torch.Generator().manual_seed(4))
    moved = {}
    for name in ("mlp.fc1", "mixer.qkv"):
        weight = nn.Parameter(torch.zeros(24, 8))
        weight.grad = gradient.clone()
        cfg = OptimConfig(algorithm=algorithm, lr=1.0, weight_decay=0.0)
        (muon,) = make_optimisers({f"layers.0.{name}.weight": weight}, cfg)
        muon.step()
        moved[name] = weight.detach() / (0.2 * (24 if name == "mlp.fc1" else 8) ** 0.5)

    def singular_values(matrix: Tensor) -> Tensor:
        return torch.linalg.svdvals(matrix)

    assert singular_values(moved["mlp.fc1"]).min() > 0.6
    assert singular_values(moved["mlp.fc1"]).max() < 1.3
    for third in moved["mixer.qkv"].chunk(3):
        assert singular_values(third).min() > 0.6 and singular_values(third).max() < 1.3


@pytest.mark.parametrize("system", sorted(entries()))
def test_packed_projections_of_every_system_are_known_by_name(system: str) -> None:
    """At the sizes of `compact` a matrix three times as tall as wide is one, and no other is."""
    exp = Experiment.preset("compact").override({"model.name": system})
    named = dict(build_model(exp.model, seed=0).named_parameters())
    optimisers = make_optimisers(named, MUON)
    assert sorted(id(p) for o in optimisers for p in o.param_groups[0]["params"]) == sorted(
        id(p) for p in named.values()
    ), "each parameter is moved by one optimiser"

    packed = set().union(*(o.packed for o in optimisers if isinstance(o, Muon)))
    inside = {name: p for name, p in named.items() if is_block_matrix(name, p) and p.ndim == 2}
    thirds = {id(p) for p in inside.values() if len(p) == 3 * p.shape[1]}
    assert packed == thirds


def test_a_rate_in_a_tensor_is_read_at_each_step() -> None:
    by_number, by_tensor = matrices(), matrices()
    rate = torch.tensor(0.0, dtype=torch.float64)
    numbered, held = Muon(by_number, 0.0), Muon(by_tensor, rate)
    for step, value in enumerate((0.1, 0.01, 0.03)):
        give_gradients(by_number, step)
        give_gradients(by_tensor, step)
        numbered.param_groups[0]["lr"] = value
        rate.fill_(value)
        numbered.step()
        held.step()
    assert all(torch.equal(p, q) for p, q in zip(by_number, by_tensor, strict=True))


def test_matrices_of_blocks_go_to_muon_and_the_rest_to_adamw() -> None:
    exp = Experiment.preset("smoke").override({"model.temporal_pos": True})
    named = dict(build_model(exp.model, seed=0).named_parameters())
    muon, adamw = make_optimisers(named, MUON)
    assert isinstance(muon, Muon) and isinstance(adamw, torch.optim.AdamW)
    names = {id(p): name for name, p in named.items()}
    by_muon = {names[id(p)] for p in muon.param_groups[0]["params"]}
    by_adamw = {names[id(p)] for p in adamw.param_groups[0]["params"]}
    assert by_muon | by_adamw == set(named) and not by_muon & by_adamw
    ends = {name.split(".", 2)[2] for name in by_muon if name.startswith("layers.0.att_spatial")}
    assert ends == {
        f"att_spatial.{n}.weight" for n in ("mixer.qkv", "mixer.proj", "mlp.fc1", "mlp.fc2")
    }
    assert {"joints_embed.weight", "pos_embed", "head.weight", "rep_logit.fc.weight"} <= by_adamw
    assert "layers.0.fusion.weight" in by_adamw, "a map to two scores is no matrix"


@pytest.mark.parametrize("algorithm", ["adamw", "adam-amsgrad"])
def test_other_algorithms_move_everything(algorithm: str) -> None:
    named = dict(build_model(Experiment.preset("smoke").model, seed=0).named_parameters())
    (only,) = make_optimisers(named, OptimConfig(algorithm=algorithm))
    assert len(only.param_groups[0]["params"]) == len(named)


def test_the_matrices_may_have_a_rate_of_their_own() -> None:
    named = {
        "layers.0.weight": nn.Parameter(torch.zeros(8, 8)),
        "bias": nn.Parameter(torch.zeros(8)),
    }
    rates = [
        o.param_groups[0]["lr"]
        for o in make_optimisers(named, OptimConfig(algorithm="muon", matrix_lr=0.5))
    ]
    assert rates == [0.5, 5e-4]
    assert is_block_matrix("student.layers.0.weight", torch.zeros(8, 8))
    assert not is_block_matrix("layers.weight", torch.zeros(8, 8))


def test_kernels_move_as_the_matrices_of_their_output_channels() -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(12, 5, 3))
    matrix = nn.Parameter(kernel.detach().flatten(1).clone())
    other = nn.Parameter(kernel.detach().clone())
    cfg, muon = OptimConfig(algorithm="muon-kernels"), OptimConfig(algorithm="muon")
    optimisers = [
        *make_optimisers({"layers.0.weight": kernel}, cfg),
        *make_optimisers({"layers.0.weight": matrix}, muon),
    ]
    for _ in range(3):
        kernel.grad = torch.randn(12, 5, 3)
        matrix.grad = kernel.grad.flatten(1)
        for optimiser in optimisers:
            optimiser.step()
    torch.testing.assert_close(kernel.flatten(1), matrix, rtol=0, atol=0)

    (by_adamw,) = make_optimisers({"layers.0.weight": other}, muon)
    assert not isinstance(by_adamw, Muon), "kernels are AdamW's unless they are asked for"
    few_channels = {"layers.0.weight": nn.Parameter(torch.zeros(3, 17, 17))}
    assert not any(isinstance(o, Muon) for o in make_optimisers(few_channels, cfg))
