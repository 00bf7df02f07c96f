"""D3DP (Shan et al., ICCV 2023): poses by diffusion, from noise to 3D with MixSTE as the
denoiser.

Written from a description of the published system (MIT).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from m2v_lib.config.fields import ConfigError, ModelSettings, setting
from m2v_lib.models.base import Lifter
from m2v_lib.models.layers.constants import Constant, Places
from m2v_lib.models.layers.exact import full_precision
from m2v_lib.models.layers.state_dicts import n_numbered, weights_in
from m2v_lib.models.systems.transformer import mixste
from m2v_lib.skeletons.h36m import FLIP_ORDER, N_JOINTS, ROOT

# B batch, H hypotheses, T frames, J joints, C features, K sampling steps

N_TIMES = 1000  # steps of the noise schedule
CLAMP = 1.1  # largest coordinate of a noisy pose or of an estimate
MIRRORED = Places(FLIP_ORDER)


@dataclass(frozen=True)
class Settings(ModelSettings):
    name: str = setting("d3dp", "which model: a file of m2v_lib/models")
    n_frames: int = setting(243, "frames the model reads at once; every one of them gets its pose")
    dim: int = setting(512, "features of a token (a joint in a frame)", least=4)
    n_layers: int = setting(8, "pairs of a block over joints and a block over frames")
    n_heads: int = setting(8, "attention heads of a block")
    mlp_ratio: int = setting(2, "width of a block's hidden layer, in multiples of dim")
    drop_path: float = setting(
        0.1, "share of residual branches left out in training, last layer", below=1
    )
    n_hypotheses: int = setting(1, "noises that sampling starts from; the result is their mean")
    n_steps: int = setting(1, "steps from noise to pose, each of two passes of the network")
    noise_seed: int = setting(0, "seed of sampling's noise; equal seeds give equal poses", least=0)

    preset_sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {"n_layers": 1, "dim": 16, "n_heads": 4},
        "small": {"n_layers": 2, "dim": 88, "n_heads": 4},
        "compact": {"n_layers": 2, "dim": 88, "n_heads": 4},
    }


class D3DP(Lifter):
    """A denoiser and its noise schedule; `forward` samples, the same each time.

    The authors choose their epoch with one hypothesis and one step, as the defaults have it, and
    report 20 and 10 (size "243-20x10"). Each step averages over the pose and its mirror image,
    so mirroring the test clips once more doubles the cost for nothing.
    """

    output = "all"
    reads_confidence = False
    n_joints_required = N_JOINTS
    fixed_length = True
    draws_in_loss = True
    draws_in_forward = True
    published_sizes = {
        "243": {},
        "243-5x5": {"n_hypotheses": 5, "n_steps": 5},
        "243-20x10": {"n_hypotheses": 20, "n_steps": 10},
    }
    own_recipe = {
        "data.train_stride": 243,
        "data.validation": False,
        "optim.algorithm": "adamw",
        "optim.lr": 6e-5,
        "optim.weight_decay": 0.1,
        "optim.schedule": "decay",
        "optim.lr_decay": 0.993,
        "finetune.epochs": 400,
        "finetune.batch_size": 4,
        "finetune.flip_test": False,
        "finetune.select": "best-on-test",
    }

    settings: Settings
    alphas_cumprod: Tensor
    sqrt_alphas_cumprod: Tensor
    sqrt_one_minus_alphas_cumprod: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if settings.dim % 2:
            raise ConfigError(f"model.dim must be even for d3dp, got {settings.dim}")
        self.pose_estimator = Denoiser(settings)
        #: By number of frames, the noise of `forward` (S, H, T, J, 3).
        self.noise: dict[int, Constant] = {}
        for name, values in noise_schedule().items():
            self.register_buffer(name, values)

    def forward(self, x_BTJC: Tensor) -> Tensor:
        """The mean of the hypotheses after the last step, from the same noise at every call."""
        n_frames = x_BTJC.shape[1]
        if n_frames not in self.noise:
            generator = torch.Generator().manual_seed(self.settings.noise_seed)
            drawn_SHTJ3 = torch.stack(self.drawn(n_frames, generator))
            self.noise[n_frames] = Constant(lambda: drawn_SHTJ3)

        noise_SHTJ3 = self.noise[n_frames].like(x_BTJC)
        return self.sample(x_BTJC, list(noise_SHTJ3))[:, -1].mean(dim=1)

    def drawn(self, n_frames: int, generator: torch.Generator) -> list[Tensor]:
        """Noise (H, T, J, 3) for each step, from a generator of the CPU."""
        shape = (self.settings.n_hypotheses, n_frames, N_JOINTS, 3)
        n_steps = self.settings.n_steps
        return [torch.randn(shape, generator=generator, device="cpu") for _ in range(n_steps)]

    def sample(self, x_BTJC: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """Estimates of the pose (B, K, H, T, J, 3) at each step (DDIM with eta 1).

        The `noise` of a step (H, T, J, 3) is the same for all clips of a batch, so a clip's poses
        depend neither on the device nor on its neighbours.
        """
        x_BTJ2 = self.check_input(x_BTJC)
        fresh = (n.to(x_BTJ2).expand(len(x_BTJ2), *n.shape) for n in noise)

        y_BHTJ3, estimates = next(fresh), []
        for t, following in sampling_times(self.settings.n_steps):
            estimate_BHTJ3 = self.estimate(x_BTJ2, y_BHTJ3, t)
            estimates.append(estimate_BHTJ3)
            if following >= 0:
                y_BHTJ3 = self.stepped(y_BHTJ3, estimate_BHTJ3, t, following, next(fresh))

        poses_BKHTJ3 = torch.stack(estimates, dim=1)
        poses_BKHTJ3[..., ROOT, :].zero_()

        return poses_BKHTJ3

    def estimate(self, x_BTJ2: Tensor, y_BHTJ3: Tensor, t: int) -> Tensor:
        """The pose behind noisy y at time t: the mean over the clip and its mirror image."""
        t_B = torch.full((len(x_BTJ2),), t, device=x_BTJ2.device)
        y = y_BHTJ3.clamp(-CLAMP, CLAMP)

        seen = self.pose_estimator.denoise(x_BTJ2, y, t_B)
        mirrored_too = self.pose_estimator.denoise(mirrored(x_BTJ2), mirrored(y), t_B)
        return ((seen + mirrored(mirrored_too)) / 2).clamp(-CLAMP, CLAMP)

    def stepped(
        self, y_BHTJ3: Tensor, estimate_BHTJ3: Tensor, t: int, following: int, noise_BHTJ3: Tensor
    ) -> Tensor:
        """Noisy poses at the following time, from those at t and the estimate made of them."""
        a, b = self.alphas_cumprod[t], self.alphas_cumprod[following]
        sigma = ((1 - a / b) * (1 - b) / (1 - a)).sqrt()

        # Of y itself: only the network saw it clamped.
        epsilon_BHTJ3 = (y_BHTJ3 / a.sqrt() - estimate_BHTJ3) / (1 / a - 1).sqrt()
        onward = (1 - b - sigma**2).sqrt() * epsilon_BHTJ3
        return b.sqrt() * estimate_BHTJ3 + onward + sigma * noise_BHTJ3

    def loss(self, x_BTJC: Tensor, target_BTJ3: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Half the square of the mean joint distance, of targets noised to a random time each.

        Half the square, because the authors multiply the gradient by the loss's value.
        """
        x_BTJ2 = self.check_input(x_BTJC)
        t_B = torch.randint(N_TIMES, (len(x_BTJ2),), device=x_BTJ2.device)
        signal = self.sqrt_alphas_cumprod[t_B].to(target_BTJ3.dtype).view(-1, 1, 1, 1)
        spread = self.sqrt_one_minus_alphas_cumprod[t_B].to(target_BTJ3.dtype).view(-1, 1, 1, 1)

        y_BTJ3 = signal * target_BTJ3 + spread * torch.randn_like(target_BTJ3)
        y_B1TJ3 = y_BTJ3.clamp(-CLAMP, CLAMP).unsqueeze(1)
        prediction_BTJ3 = self.pose_estimator.denoise(x_BTJ2, y_B1TJ3, t_B).squeeze(1)

        distance = (prediction_BTJ3 - target_BTJ3).norm(dim=-1).mean()
        return distance.square() / 2, {"mpjpe": distance.detach()}

    @classmethod
    def read_authors_file(cls, content: Any, **settings: Any) -> tuple[Settings, dict[str, Tensor]]:
        weights = weights_in(content, "model_pos", "pose_estimator.Temporal_pos_embed")
        dim = len(weights["pose_estimator.Spatial_norm.weight"])
        hidden = len(weights["pose_estimator.STEblocks.0.mlp.fc1.bias"])

        sizes = {
            "n_frames": weights["pose_estimator.Temporal_pos_embed"].shape[1],
            "dim": dim,
            "n_layers": n_numbered(weights, "pose_estimator.STEblocks."),
            "mlp_ratio": hidden // dim,
        }
        return Settings(**{**sizes, **settings}), weights


class Denoiser(mixste.MixSTE):
    """MixSTE on 2D and noisy 3D joined; an embedding of the time is added to all tokens alike."""

    def __init__(self, settings: Settings) -> None:
        dim = settings.dim
        network = mixste.Settings(
            n_frames=settings.n_frames,
            dim=dim,
            n_layers=settings.n_layers,
            n_heads=settings.n_heads,
            mlp_ratio=settings.mlp_ratio,
            drop_path=settings.drop_path,
        )
        super().__init__(network, n_inputs=5)
        self.time_mlp = nn.Sequential(
            TimeEmbedding(dim), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)
        )

    def denoise(self, x_BTJ2: Tensor, y_BHTJ3: Tensor, t_B: Tensor) -> Tensor:
        """Poses (B, H, T, J, 3) behind noisy ones at times t, one a clip."""
        B, H = y_BHTJ3.shape[:2]
        x_BHTJ2 = x_BTJ2.unsqueeze(1).expand(-1, H, -1, -1, -1)
        joined_GTJ5 = torch.cat([x_BHTJ2, y_BHTJ3], dim=-1).flatten(0, 1)  # G: clips, hypotheses

        with full_precision(x_BTJ2):
            time_BC = self.time_mlp(t_B.to(self.Spatial_pos_embed.dtype))

        time_G11C = time_BC.repeat_interleave(H, dim=0).view(B * H, 1, 1, -1)
        tokens_GTJC = self.Spatial_patch_to_embedding(joined_GTJ5) + self.Spatial_pos_embed
        return self.head(self.mix(tokens_GTJC + time_G11C)).unflatten(0, (B, H))


class TimeEmbedding(nn.Module):
    """Sines and then cosines of t at dim / 2 frequencies from 1 down to 1/10000."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.n_frequencies = dim // 2

    def forward(self, t_B: Tensor) -> Tensor:
        k_N = torch.arange(self.n_frequencies, device=t_B.device, dtype=t_B.dtype)
        frequencies_N = torch.exp(-math.log(10_000) / (self.n_frequencies - 1) * k_N)

        angles_BN = t_B.unsqueeze(1) * frequencies_N
        return torch.cat([angles_BN.sin(), angles_BN.cos()], dim=-1)


def noise_schedule() -> dict[str, Tensor]:
    """The cosine schedule (Nichol and Dhariwal 2021) as the authors' files hold it, in float64.

    Only three of the twelve are read; the others are there so that a file matches in full.
    """
    u = torch.arange(N_TIMES + 1, dtype=torch.float64) / N_TIMES
    share = ((u + 0.008) / 1.008 * math.pi / 2).cos() ** 2
    betas = (1 - share[1:] / share[:-1]).clamp(0, 0.999)
    a = (1 - betas).cumprod(0)
    before = torch.cat([torch.ones_like(a[:1]), a[:-1]])

    variance = betas * (1 - before) / (1 - a)
    return {
        "betas": betas,
        "alphas_cumprod": a,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": a.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - a).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - a).log(),
        "sqrt_recip_alphas_cumprod": (1 / a).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / a - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - a),
        "posterior_mean_coef2": (1 - before) * (1 - betas).sqrt() / (1 - a),
    }


def sampling_times(n_steps: int) -> list[tuple[int, int]]:
    """(time, following time) of each step, from the last time down to -1, which is the pose."""
    times = [int(t) for t in torch.linspace(-1, N_TIMES - 1, n_steps + 1, device="cpu").tolist()]
    falling = times[::-1]
    return list(zip(falling[:-1], falling[1:], strict=True))


def mirrored(pose: Tensor) -> Tensor:
    """A pose (..., J, 2 or 3) with left and right swapped."""
    swapped = MIRRORED.of(pose, -2)
    return torch.cat([-swapped[..., :1], swapped[..., 1:]], dim=-1)


D3DP.Settings = Settings
MODEL = D3DP
