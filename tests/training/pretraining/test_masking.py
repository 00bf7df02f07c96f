"""Masks: exact counts for the paper's rule; for the released one, the frequencies of a rule
written with loops.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from m2v_lib.config import Experiment
from m2v_lib.training.pretraining.masking import draw_masks, joint_span_masks, token_masks


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("mask_prob", [0.1, 0.5, 0.6, 0.7, 0.8, 0.95])
@pytest.mark.parametrize("shape", [(6, 243, 17), (3, 9, 17), (2, 5, 3)])
def test_token_masks_hide_exactly_the_asked_share_of_every_view(
    shape: tuple[int, int, int], mask_prob: float
) -> None:
    mask = token_masks(shape, mask_prob, generator())
    assert mask.shape == shape and mask.dtype == torch.bool
    assert (mask.sum((1, 2)) == round(mask_prob * shape[1] * shape[2])).all()


def test_token_masks_are_uniform_and_differ_between_views() -> None:
    mask = token_masks((4000, 3, 5), 0.6, generator())
    share = mask.float().mean(0)
    assert (share - 0.6).abs().max() < 5 * (0.6 * 0.4 / 4000) ** 0.5
    assert len({tuple(row.flatten().tolist()) for row in mask[:50]}) > 45  # of 5005 masks


def spans_by_loops(n_frames: int, mask_prob: float, rng: np.random.Generator) -> np.ndarray:
    """Audit E5 for one clip: spans of 5 joints from starts 0..11, every frame thinned to the
    clip's smallest count.
    """
    hidden = []
    for _ in range(n_frames):
        n_spans = int(mask_prob * 17 / 5 + rng.random())
        starts = rng.choice(12, n_spans, replace=False)
        hidden.append(sorted({start + offset for start in starts for offset in range(5)}))
    fewest = min(len(joints) for joints in hidden)
    mask = np.zeros((n_frames, 17), bool)
    for frame, joints in enumerate(hidden):
        mask[frame, rng.choice(joints, fewest, replace=False)] = True
    return mask


@pytest.mark.parametrize("mask_prob", [0.6, 0.7, 0.8])
def test_released_masks_are_6_of_17_whatever_p_is(mask_prob: float) -> None:
    mask = joint_span_masks((24, 243, 17), mask_prob, generator(1))
    assert (mask.sum(-1) == 6).all()
    assert not mask[..., 16].any()
    share = mask.float().mean((0, 1))
    assert share[0].item() == pytest.approx(0.11, abs=0.025) and share[15].item() == pytest.approx(
        0.11, abs=0.025
    )
    assert share[5:11].min() > 0.45 and share[5:11].max() < 0.56


@pytest.mark.parametrize("mask_prob", [0.6, 0.8])
def test_released_masks_have_the_frequencies_of_the_loops(mask_prob: float) -> None:
    rng = np.random.default_rng(0)
    expected = np.mean([spans_by_loops(243, mask_prob, rng) for _ in range(8)], axis=(0, 1))
    ours = joint_span_masks((24, 243, 17), mask_prob, generator(2)).float().mean((0, 1)).numpy()
    np.testing.assert_allclose(ours, expected, atol=0.045)  # 5 deviations of 1944 frames


def test_a_short_clip_has_one_count_a_clip_and_contiguous_pairs() -> None:
    """One frame has nothing to be thinned to: its mask is a union of whole spans."""
    mask = joint_span_masks((500, 1, 17), 0.6, generator(3))[:, 0]
    for row in mask:
        runs = "".join("x" if hidden else "." for hidden in row.tolist()).replace(".", " ").split()
        assert all(len(run) >= 5 for run in runs)
    counts = joint_span_masks((50, 4, 17), 0.6, generator(3)).sum(-1)
    assert (counts == counts[:, :1]).all() and len(counts.unique()) > 2


@pytest.mark.parametrize("recipe", ["paper", "released"])
def test_the_same_generator_state_gives_the_same_mask(recipe: str) -> None:
    cfg = Experiment.preset("base", recipe).pretrain

    def draw(seed: int) -> Tensor:
        return draw_masks(cfg, (2, 27, 17), generator(seed))

    assert (draw(4) == draw(4)).all() and (draw(4) != draw(5)).any()
    running = generator(4)
    first, second = (draw_masks(cfg, (2, 27, 17), running) for _ in range(2))
    assert (first == draw(4)).all() and (first != second).any()


def test_the_recipe_chooses_the_rule() -> None:
    shape = (3, 27, 17)
    paper = draw_masks(Experiment.preset("base", "paper").pretrain, shape, generator())
    released = draw_masks(Experiment.preset("base", "released").pretrain, shape, generator())
    assert (paper.sum((1, 2)) == round(0.7 * 27 * 17)).all() and len(paper.sum(-1).unique()) > 1
    assert not released[..., 16].any()


def test_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    token_masks((2, 9, 17), 0.7, generator())
    joint_span_masks((2, 9, 17), 0.7, generator())
    assert (torch.get_rng_state() == before).all()


def test_the_number_of_spans_is_rounded_up_as_often_as_it_lies_above() -> None:
    """A single frame at P = 0.45: floor(1.53 + u) is 1 span in 47 of 100, else 2, which cover 6 to
    10 joints.
    """
    n = 4000
    counts = joint_span_masks((n, 1, 17), 0.45, generator(7)).sum((1, 2))
    assert set(counts.tolist()) == {5, 6, 7, 8, 9, 10}
    assert (counts == 5).float().mean().item() == pytest.approx(0.47, abs=4 * 0.5 / n**0.5)
    assert (joint_span_masks((n, 1, 17), 0.29, generator(8)).sum((1, 2)) <= 5).all()
