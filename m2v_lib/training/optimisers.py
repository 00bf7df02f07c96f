"""Optimisers: AdamW for everything, or Muon for the matrices inside blocks (and the kernels of
convolutions, a row an output channel) and AdamW for the rest.

A learning rate may be a tensor that the loop fills before each step: no step then waits for the
device, and a captured step reads the new rate at each replay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from m2v_lib.config import OptimConfig

# K matrices of one shape, R rows, C columns

Rate = float | Tensor

#: A matrix has at least so many rows and columns; a map to fewer (a score of two streams) is the
#: rest's.
MIN_MATRIX_SIDE = 8
#: A packed projection, which all systems call so, is three matrices: queries, keys and values.
PACKED, PACKED_NAME = 3, "qkv.weight"
#: Coefficients of the quintic iteration that brings singular values near 1 (Jordan et al.,
#: 2024).
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5


def make_optimisers(
    named: Mapping[str, nn.Parameter],
    cfg: OptimConfig,
    rate: Rate | None = None,
    matrix_rate: Rate | None = None,
) -> list[torch.optim.Optimizer]:
    """The optimisers that together move the parameters, each at its rate; without one at the
    configured rate.
    """
    if not cfg.algorithm.startswith("muon"):
        return [make_optimiser(list(named.values()), cfg, rate)]

    matrix_rate = rate if matrix_rate is None else matrix_rate
    if matrix_rate is None:
        matrix_rate = cfg.matrix_lr or cfg.lr
    kernels = cfg.algorithm == "muon-kernels"
    of_muon = {n for n, p in named.items() if is_block_matrix(n, p) and (kernels or p.ndim == 2)}
    matrices = [p for name, p in named.items() if name in of_muon]
    packed = [named[name] for name in of_muon if name.endswith(PACKED_NAME)]
    rest = [p for name, p in named.items() if name not in of_muon]
    made: list[torch.optim.Optimizer] = []
    if matrices:
        made.append(Muon(matrices, matrix_rate, cfg.weight_decay, packed=packed))
    if rest:
        made.append(make_optimiser(rest, cfg, rate))

    return made


def make_optimiser(
    parameters: list[nn.Parameter], cfg: OptimConfig, rate: Rate | None = None
) -> torch.optim.Optimizer:
    """AdamW (audit D1), or Adam that never forgets a large gradient, as released on MPI-INF-3DHP
    (audit D8).
    """
    settings: dict[str, Any] = {
        "lr": cfg.lr if rate is None else rate,
        "weight_decay": cfg.weight_decay,
        "fused": True,
    }
    if all(p.device.type == "cuda" for p in parameters):
        settings["capturable"] = True
    if cfg.algorithm == "adam-amsgrad":
        return torch.optim.Adam(parameters, amsgrad=True, **settings)

    return torch.optim.AdamW(parameters, **settings)


def is_block_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a parameter is a matrix inside a numbered block (``layers.0.mlp.fc1.weight``), or a
    kernel (O, C, ...) that is one with a row for each output channel.

    A head that is a numbered list counts as a block: PoseFormer's, PoseFormerV2's and PAA's
    (``head.1.weight``), and the map to bone lengths of Anatomy3D.
    """
    inside_block = any(word.isdigit() for word in name.split("."))
    if not inside_block or parameter.ndim < 2:
        return False
    return min(len(parameter), parameter[0].numel()) >= MIN_MATRIX_SIDE


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal before they are added (Jordan et al., 2024).

    Nesterov momentum 0.95, weight decay apart from the gradient, and an update times 0.2
    sqrt(max(R, C)), which gives it the size of AdamW's. All matrices of one shape go through the
    iteration together, in single precision; of the `packed` ones each third by itself.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: Rate,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        packed: Iterable[nn.Parameter] = (),
    ) -> None:
        self.packed = {id(p) for p in packed}
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if moved:
                self.move(moved, group["lr"], group["weight_decay"], group["momentum"])

    def move(
        self, parameters: list[nn.Parameter], lr: Rate, weight_decay: float, momentum: float
    ) -> None:
        for p in parameters:
            if not self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)

        gradients: list[Any] = [p.grad.flatten(1) for p in parameters if p.grad is not None]
        velocities = [self.state[p]["momentum_buffer"].view(len(p), -1) for p in parameters]

        torch._foreach_lerp_(velocities, gradients, 1 - momentum)
        directions = list(torch._foreach_lerp(gradients, velocities, momentum))
        updates = orthogonal_updates(directions, [id(p) in self.packed for p in parameters])

        weights = [p.data.view(len(p), -1) for p in parameters]
        rate = lr if isinstance(lr, Tensor) else torch.tensor(lr, dtype=torch.float64)
        step, keep = (-rate).to(updates[0]), (1 - rate * weight_decay).to(updates[0])
        torch._foreach_mul_(weights, keep)
        torch._foreach_mul_(updates, step)
        torch._foreach_add_(weights, updates)


def orthogonal_updates(matrices: list[Tensor], packed: list[bool]) -> list[Tensor]:
    """Each matrix (R, C) made orthogonal, times 0.2 sqrt(max(R, C)); a packed projection as
    the three that it is.
    """
    pieces = [
        list(m.chunk(PACKED, -2)) if several else [m]
        for m, several in zip(matrices, packed, strict=True)
    ]
    flat = iter(orthogonal_by_shape([piece for parts in pieces for piece in parts]))
    return [
        torch.cat([next(flat) for _ in parts], -2) if len(parts) > 1 else next(flat)
        for parts in pieces
    ]


def orthogonal_by_shape(matrices: list[Tensor]) -> list[Tensor]:
    """`newton_schulz` of each matrix, scaled; those of one shape, or of its transpose, in one
    batch.
    """
    tall = [m.shape[-2] > m.shape[-1] for m in matrices]
    lying = [m.mT if stands else m for m, stands in zip(matrices, tall, strict=True)]

    done: dict[int, Tensor] = {}
    for shape in dict.fromkeys(m.shape for m in lying):
        numbers = [i for i, m in enumerate(lying) if m.shape == shape]
        batch_KRC = torch.stack([lying[i] for i in numbers])
        moved_KRC = newton_schulz(batch_KRC) * (0.2 * max(shape) ** 0.5)
        done |= dict(zip(numbers, moved_KRC.unbind(), strict=True))

    return [done[i].mT if stands else done[i] for i, stands in enumerate(tall)]


def newton_schulz(batch_KRC: Tensor, eps: float = 1e-7) -> Tensor:
    """Matrices (K, R, C), R <= C, with the same singular vectors and singular values near 1."""
    a, b, c = NEWTON_SCHULZ
    x = batch_KRC.float()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.to(batch_KRC.dtype)
