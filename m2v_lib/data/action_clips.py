"""From action data to batches: normalised frames on the device, and which of them make a sample
(spec section 7).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from m2v_lib.data.augment import crop_scale, random_move
from m2v_lib.data.clips import resample
from m2v_lib.data.store.action_store import ActionData

# S samples, B batch, M people, T frames, J joints, n rows (a person in a frame)

#: the square around the people is this much larger than they are: drawn for training, fixed for
#: testing
TRAIN_RATIO, TEST_RATIO = (1.0, 3.0), 2.0


@dataclass(frozen=True)
class Samples:
    """Samples that train, or that test, resident on one device.

    frames_nJ3 (x, y, confidence): x and y in units of half the image's longer side, centred on
    its upper left square; the last row is zero and stands for a person who is not there.
    index_SMT: which rows make a sample.
    """

    frames_nJ3: Tensor
    index_SMT: Tensor
    label_S: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.label_S)

    def batch(self, chosen_B: Tensor) -> tuple[Tensor, Tensor]:
        """Samples (B, M, T, J, 3) and their labels (B,), gathered on the device."""
        return self.frames_nJ3[self.index_SMT[chosen_B]], self.label_S[chosen_B]


def make_samples(
    data: ActionData,
    protocol: str,
    *,
    n_frames: int,
    n_persons: int,
    confidence: str = "remapped",
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> dict[str, Samples]:
    """The samples that "train" and that "test" under a protocol, over one copy of the frames.

    Training samples are resampled to `n_frames` at random (by `seed`, once), test samples
    evenly. Raises DataError.
    """
    chosen = {part: data.part(protocol, part) for part in ("train", "test")}
    frames = torch.from_numpy(_normalised(data, confidence)).to(device)
    label = torch.from_numpy(np.asarray(data.label)).to(device)

    samples = {}
    for part, numbers in chosen.items():
        rng = np.random.default_rng(seed) if part == "train" else None
        index = torch.from_numpy(_index(data, numbers, n_frames, n_persons, rng)).to(device)
        samples[part] = Samples(
            frames, index, label[torch.from_numpy(numbers).to(device)], data.classes
        )

    return samples


def for_training(x_BMTJ3: Tensor, generator: torch.Generator) -> Tensor:
    """A batch as training sees it: moved, then put into a square of random size."""
    moved = random_move(x_BMTJ3, generator)
    low, high = TRAIN_RATIO
    ratio = low + (high - low) * torch.rand(
        len(moved), generator=generator, device=generator.device
    )
    return crop_scale(moved, ratio.to(moved.device))


def for_testing(x_BMTJ3: Tensor) -> Tensor:
    """A batch as testing sees it: put into a square twice as large as the people."""
    return crop_scale(x_BMTJ3, x_BMTJ3.new_full((len(x_BMTJ3),), TEST_RATIO))


def frames_of(length: int, n_frames: int, rng: np.random.Generator | None) -> np.ndarray:
    """Which `n_frames` of `length` frames stand for a sample (T,), in order: evenly spaced, or
    with `rng` jittered.

    Jittered means: each frame is drawn from its own stretch, or, of a sample that is too short,
    from the two nearest.
    """
    even = np.linspace(0, length, n_frames, endpoint=False)
    if rng is None:
        return even.astype(np.int64)
    if length < n_frames:
        return resample(length, n_frames, rng)
    return (even + rng.random(n_frames) * length / n_frames).astype(np.int64).clip(0, length - 1)


def _normalised(data: ActionData, confidence: str) -> np.ndarray:
    """All rows (n+1, J, 3) and the zero row: xy / max(w, h) * 2 - 1 (spec section 7), and the
    third channel.
    """
    frames = np.zeros((len(data.joint_2d) + 1, *data.joint_2d.shape[1:-1], 3), np.float32)
    longer = np.repeat(np.maximum(data.width, data.height), data.n_frames * data.n_persons).astype(
        np.float32
    )
    np.multiply(data.joint_2d, (2 / longer)[:, None, None], out=frames[:-1, :, :2])
    frames[:-1, :, :2] -= 1
    frames[:-1, :, 2] = data.confidence if confidence == "remapped" else data.coco_score
    return frames


def _index(
    data: ActionData,
    numbers: np.ndarray,
    n_frames: int,
    n_persons: int,
    rng: np.random.Generator | None,
) -> np.ndarray:
    index = np.full((len(numbers), n_persons, n_frames), len(data.joint_2d), np.int64)
    for row, i in zip(index, numbers, strict=True):
        frames = data.starts[i] + frames_of(int(data.n_frames[i]), n_frames, rng)
        for person in range(min(n_persons, int(data.n_persons[i]))):
            row[person] = frames + person * data.n_frames[i]
    return index
