"""What a device can do at best, measured: products of large matrices, a copy of large memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from m2v_lib.models.dual_stream.cpu import dense


def ceilings(device: torch.device, *, quick: bool = False) -> dict[str, Any]:
    """TFLOP/s of a square matrix product in fp32 (as torch is set) and bf16, GB/s of a copy
    (bytes read and written).

    Each is the best of the calls within about a second, on a CPU by the faster of torch's
    libraries; quick: too small to mean anything.
    """
    big = device.type == "cuda"
    n = 128 if quick else 8192 if big else 1536
    n_copied = (1 << 22 if quick else 1 << 30 if big else 1 << 28) // 4
    best = partial(best_of, device=device, at_least=0.01 if quick else 1.0)

    rates: dict[str, Any] = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        products = (partial(torch.mm, a, b, out=torch.empty_like(a)), partial(dense, a, b))
        rates[f"{name}_tflops"] = 2e-12 * n**3 / min(best(product) for product in products)

    source, target = (torch.zeros(n_copied, device=device) for _ in range(2))
    rates["copy_gb_per_s"] = 2e-9 * source.nbytes / best(lambda: target.copy_(source))

    return {**rates, "product_size": n, "fp32_products": torch.get_float32_matmul_precision()}


def best_of(call: Callable[[], object], device: torch.device, at_least: float) -> float:
    """The shortest of the calls made in `at_least` seconds, and of five, but the first."""
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < 6 or time.perf_counter() - began < at_least:
        taken.append(seconds_of(call, device))
    return min(taken[1:])


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """How long one call takes until the device has done all of it."""
    wait(device)
    began = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - began


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
