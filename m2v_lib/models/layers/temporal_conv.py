"""Unpadded temporal convolutions: one set of weights, run over a whole video or over one window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from torch import Tensor, nn

from m2v_lib.errors import InputError
from m2v_lib.models.layers.convolution import convolve
from m2v_lib.models.layers.exact import full_precision

# B batch, C channels, T frames; block 0 is the first convolution, 1, 2, ... the residual ones


@dataclass(frozen=True)
class WindowPlan:
    """Which frames every block sees and keeps, for odd filter widths (w0, w1, ...).

    Dilated, a block looks w0 * ... * w(i-1) frames apart and gives a pose for every frame that
    has a full window. Strided, it gives every w-th frame: for exactly one window that is the
    same number at a fraction of the products. Causal nets let the newest frame pass in place of
    the centre one; the convolutions stay.
    """

    widths: tuple[int, ...]
    causal: bool = False

    @property
    def receptive_field(self) -> int:
        return math.prod(self.widths)

    @property
    def n_blocks(self) -> int:
        """Residual blocks."""
        return len(self.widths) - 1

    def dilation(self, block: int) -> int:
        return math.prod(self.widths[:block])

    def half_width(self, block: int) -> int:
        """Frames that a dilated block loses at each end."""
        return (self.widths[block] - 1) * self.dilation(block) // 2

    def convolve(self, conv: nn.Conv1d, x_BCT: Tensor, block: int, strided: bool) -> Tensor:
        """The block's convolution in either form; `conv` only lends its weights."""
        step = self.widths[block] if strided else self.dilation(block)
        form = {"stride": step} if strided else {"dilation": step}
        with full_precision(x_BCT) if block == 0 else nullcontext():  # reads coordinates
            return convolve(x_BCT, conv.weight, conv.bias, **form)

    def kept(self, x_BCT: Tensor, block: int, strided: bool) -> Tensor:
        """The frames of a block's input that its output is added to."""
        if strided:
            half = self.widths[block] // 2
            return x_BCT[:, :, (2 * half if self.causal else half) :: self.widths[block]]
        return self.with_full_window(x_BCT, self.half_width(block))

    def with_full_window(self, x_BCT: Tensor, half: int) -> Tensor:
        """Frames (last axis) with a window of 2 half + 1 around them or, causal, before them."""
        n_frames = x_BCT.shape[-1]
        return x_BCT[..., 2 * half :] if self.causal else x_BCT[..., half : n_frames - half]

    def output_frames(self, target_BTJ3: Tensor) -> Tensor:
        """Of a window's 3D, the frames that come out."""
        half = (self.receptive_field - 1) // 2
        return self.with_full_window(target_BTJ3.movedim(1, -1), half).movedim(-1, 1)

    def check_length(self, n_frames: int, *, exactly: bool) -> None:
        """Raises InputError for less than one window or, if `exactly`, anything else."""
        if n_frames == self.receptive_field or (n_frames > self.receptive_field and not exactly):
            return
        wanted = f"{'' if exactly else 'at least '}{self.receptive_field} frames"
        raise InputError(f"filters of widths {self.widths} take {wanted}, got {n_frames}")


def window_plan(filter_widths: str, n_frames: int, causal: bool) -> WindowPlan:
    """Widths such as "3,5,3", whose product is `n_frames`; an empty text stands for threes.

    Raises InputError for other products and for even widths.
    """
    n_threes = round(math.log(n_frames, 3))
    text = filter_widths or ",".join("3" * n_threes)

    try:
        widths = tuple(int(width) for width in text.split(","))
    except ValueError:
        raise InputError(f"filter widths must be numbers such as 3,5,3; got {text!r}") from None

    if math.prod(widths) != n_frames or any(width < 1 or width % 2 == 0 for width in widths):
        raise InputError(f"filter widths {text} must be odd with product n_frames={n_frames}")

    return WindowPlan(widths, causal)


def written(widths: Sequence[int]) -> str:
    """Widths as a setting holds them; threes are the default and need no text."""
    return "" if set(widths) == {3} else ",".join(map(str, widths))
