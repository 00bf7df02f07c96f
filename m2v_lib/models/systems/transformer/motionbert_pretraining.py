"""MotionBERT's pre-training: 3D motion from 2D motion that was made noisy and full of gaps.

Published on motion capture (AMASS, Human3.6M) whose own x, y are the input, and later on videos of
which 2D alone is known. Here the training subjects' 3D and its true projection stand for the
former, and the latter are left out. So this pre-training reads the same labels that fine-tuning
reads; what it adds is corrupted input, not people who are seen nowhere else.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from m2v_lib.config.fields import ConfigError
from m2v_lib.models.pretraining import Pretraining, share_of
from m2v_lib.models.systems.transformer.motionbert import MotionBERT, Settings

# B batch, T frames, J joints, K key frames

# The noise, in half image widths. A file of the authors' has a mean, spread and weight for each
# joint; here all joints have the middle of the published ranges and no mean.
N_KEY_FRAMES = 27
STD = 0.0065  # theirs: 0.0034 to 0.0095
GAUSSIAN_SHARE = 0.85  # theirs: 0.70 to 0.999
UNIFORM_RANGE = 0.06
WHITE_STD = 0.002

# Confidence of a joint that is off by a distance: a / (distance + a) + b distance + noise.
CONFIDENCE_A = 0.028
CONFIDENCE_B = 1.1
CONFIDENCE_MEAN = -0.0045857
CONFIDENCE_STD = 0.1431057


class CorruptedLifting(Pretraining):
    """Lift what noise and masks have left of a motion, by the lifter's own loss."""

    learns_from_labels = True

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        for name in ("hidden_frames", "hidden_joints"):
            if not 0 <= getattr(settings, name) < 1:
                share = getattr(settings, name)
                raise ConfigError(f"model.{name} must lie in 0..1, less than 1, got {share:g}")
        self.settings = settings
        self.lifter = MotionBERT(settings)

    def kept(self) -> nn.Module:
        return self.lifter

    def draw(
        self,
        shape_BTJ: tuple[int, int, int],
        generator: torch.Generator,
        own: slice = slice(None),
        present_BT: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """What is added to x, y (`offset`, B T J 2), to the confidence (`doubt`, B T J), and what
        is `hidden` (B T J): joints by themselves, and frames of the whole batch.
        """
        settings, (B, T, _) = self.settings, shape_BTJ
        device = generator.device
        white_TJ2 = WHITE_STD * torch.randn(*shape_BTJ[1:], 2, generator=generator, device=device)
        offset_BTJ2 = smooth_noise(shape_BTJ, generator) + white_TJ2

        doubt_BTJ = torch.randn(shape_BTJ, generator=generator, device=device)
        doubt_BTJ = CONFIDENCE_MEAN + CONFIDENCE_STD * doubt_BTJ

        joints_BTJ = torch.rand(shape_BTJ, generator=generator, device=device)
        frames_T = torch.rand(T, generator=generator, device=device)
        hidden_BTJ = joints_BTJ < settings.hidden_joints
        hidden_BTJ |= (frames_T < settings.hidden_frames)[:, None]

        drawn = {"offset": offset_BTJ2, "doubt": doubt_BTJ, "hidden": hidden_BTJ}
        share = share_of(B, own, device)
        return {name: tensor[own] for name, tensor in drawn.items()} | {"share": share}

    def forward(self, x_BTJ3: Tensor, drawn: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """MPJPE + 0.5 N-MPJPE + 20 velocity of the 3D `y` of the batch."""
        loss, parts = self.lifter.loss(corrupted(x_BTJ3, drawn), drawn["y"])
        return drawn["share"] * loss, parts


def corrupted(x_BTJ3: Tensor, drawn: dict[str, Tensor]) -> Tensor:
    """True x, y as a detector might give them, with a confidence; zeros where hidden."""
    distance_BTJ = drawn["offset"].norm(dim=-1)
    confidence_BTJ = CONFIDENCE_A / (distance_BTJ + CONFIDENCE_A) + CONFIDENCE_B * distance_BTJ
    confidence_BTJ = (confidence_BTJ + drawn["doubt"]).clamp(0, 1)

    noisy = torch.cat([x_BTJ3[..., :2] + drawn["offset"], confidence_BTJ[..., None]], dim=-1)
    return noisy.masked_fill(drawn["hidden"][..., None], 0.0)


def smooth_noise(shape_BTJ: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Offsets (B, T, J, 2) that change slowly: drawn at key frames, in between on straight lines.

    A joint's offset is Gaussian at most key frames and uniform, so larger, at the others.
    """
    (B, T, J), device = shape_BTJ, generator.device
    shape_BKJ2 = (B, N_KEY_FRAMES, J, 2)
    gaussian = STD * torch.randn(shape_BKJ2, generator=generator, device=device)
    uniform = UNIFORM_RANGE * (torch.rand(shape_BKJ2, generator=generator, device=device) - 0.5)
    chosen = torch.rand(*shape_BKJ2[:3], 1, generator=generator, device=device)

    keys_BKJ2 = torch.where(chosen < GAUSSIAN_SHARE, gaussian, uniform)
    return over_time(keys_BKJ2, T)


def over_time(keys_BKJ2: Tensor, n_frames: int) -> Tensor:
    """Straight lines between key frames, the first and the last being those of the clip."""
    keys_BCK = keys_BKJ2.flatten(2).transpose(1, 2)
    lines_BCT = interpolate(keys_BCK, size=n_frames, mode="linear", align_corners=True)
    return lines_BCT.transpose(1, 2).unflatten(2, keys_BKJ2.shape[2:])


PRETRAINING = CorruptedLifting
