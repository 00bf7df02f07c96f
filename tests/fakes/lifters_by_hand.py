"""What tests of several lifters share: a transformer block in numpy, weights, files, counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import erf, softmax
from torch import Tensor, nn

from fakes.reference_vectors import n_macs
from m2v_lib.models.base import Lifter, count_parameters

# B batch, T frames, J joints, G groups, N tokens, C features


class ByHand:
    """Layers in numpy by name from a state dict; no code shared with the package."""

    def __init__(self, model: nn.Module, n_heads: int) -> None:
        self.p = {name: value.numpy() for name, value in model.state_dict().items()}
        self.n_heads = n_heads

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.p[f"{name}.weight"].T + self.p.get(f"{name}.bias", 0.0)

    def layer_norm(self, x: np.ndarray, name: str, eps: float = 1e-6) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        unit = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
        return unit * self.p[f"{name}.weight"] + self.p[f"{name}.bias"]

    def attention(self, x_GNC: np.ndarray, name: str) -> np.ndarray:
        """One head after the other."""
        C = x_GNC.shape[-1]
        E = C // self.n_heads
        q, k, v = np.split(self.linear(x_GNC, f"{name}.qkv"), 3, axis=-1)
        mixed = np.empty_like(x_GNC)
        for own in (slice(h * E, (h + 1) * E) for h in range(self.n_heads)):
            scores = np.einsum("gnc,gmc->gnm", q[..., own], k[..., own]) / np.sqrt(E)
            mixed[..., own] = softmax(scores, axis=-1) @ v[..., own]
        return self.linear(mixed, f"{name}.proj")

    def mlp(self, x: np.ndarray, name: str) -> np.ndarray:
        return self.linear(gelu(self.linear(x, f"{name}.fc1")), f"{name}.fc2")

    def block(self, x_GNC: np.ndarray, name: str) -> np.ndarray:
        x = x_GNC + self.attention(self.layer_norm(x_GNC, f"{name}.norm1"), f"{name}.attn")
        return x + self.mlp(self.layer_norm(x, f"{name}.norm2"), f"{name}.mlp")


def gelu(x: np.ndarray) -> np.ndarray:
    return x / 2 * (1 + erf(x / np.sqrt(2)))


def tracks(x_BTJC: np.ndarray) -> np.ndarray:
    """(B, T, J, C) -> (B*J, T, C)."""
    return x_BTJC.swapaxes(1, 2).reshape(-1, x_BTJC.shape[1], x_BTJC.shape[3])


def untracked(x_GTC: np.ndarray, n_joints: int = 17) -> np.ndarray:
    """Inverse of `tracks`."""
    return x_GTC.reshape(-1, n_joints, *x_GTC.shape[1:]).swapaxes(1, 2)


def shaken(model: Lifter, seed: int = 0) -> Lifter:
    """Every parameter and buffer away from its special start, in float64 and evaluation mode."""
    model = model.double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
                value.copy_(noise.abs() + 0.5 if name.endswith("running_var") else 0.4 * noise)
    return model


def clip(n_frames: int, n_channels: int = 3, batch: int = 2, seed: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, n_frames, 17, n_channels)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def counts(model_class: type[Lifter], settings: Any) -> tuple[int, int, int]:
    """Parameters, multiply-accumulates of a forward pass, tensors of the state dict (on meta)."""
    n_channels = 3 if model_class.reads_confidence else 2
    with torch.device("meta"):
        model = model_class(settings).eval()
        x = torch.zeros(1, settings.n_frames, 17, n_channels)
    return count_parameters(model), n_macs(model, x), len(model.state_dict())


def write_authors_file(path: Path, model: Lifter, key: str | None, prefix: str = "module.") -> Path:
    """A file in the layout that most authors share: weights, optimiser, a numpy random state."""
    weights = {f"{prefix}{name}": tensor for name, tensor in model.state_dict().items()}
    if key is None:
        torch.save(weights, path)
        return path
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    content = {
        "epoch": 7,
        "lr": 4e-5,
        "optimizer": optimizer.state_dict(),
        key: weights,
        "random_state": np.random.RandomState(1234),
        "min_loss": np.float64(41.5),
    }
    torch.save(content, path)
    return path
