"""PAA against published counts, reference vectors and hand-made cases."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fakes.reference_vectors import (
    Summary,
    assert_ignores_confidence,
    assert_learns,
    assert_reads_back,
    assert_summary,
    filled,
    n_macs,
    n_parameters,
    numbers,
)

from m2v_lib.models.layers.part_attention import (
    PARTS,
    DictionaryAttention,
    join_parts,
    split_parts,
    wrapped_mask,
)
from m2v_lib.models.systems.transformer.paa import PAA, Settings

TINY: dict[str, Any] = {"n_frames": 27, "dim": 8, "n_poses": 300}


@pytest.mark.parametrize(("bias", "count"), [("table", 6_210_717), ("full", 6_226_077)])
def test_published_parameters(bias: str, count: int) -> None:
    for n_frames in (81, 243):
        assert n_parameters(PAA, bias=bias, n_frames=n_frames) == count


@pytest.mark.parametrize(("n_frames", "macs"), [(81, 839_087_808), (243, 1_439_125_440)])
def test_published_macs(n_frames: int, macs: int) -> None:
    with torch.device("meta"):
        model = PAA(Settings(n_frames=n_frames))
        one, two = (n_macs(model, torch.zeros(B, n_frames, 17, 2)) for B in (1, 2))
    assert one == macs
    assert 2 * one - two == 513_376_256  # the dictionary, embedded once a call


@pytest.mark.parametrize(
    ("n_frames", "bias", "expected"),
    [
        (
            81,
            "table",
            (7.046539191236e-02, 8.170906635265e-01, -1.244287320437e00, 1.164679368218e00),
        ),
        (
            81,
            "full",
            (7.289960491584e-02, 8.208010168826e-01, -1.263932077626e00, 1.165023457795e00),
        ),
        (
            243,
            "table",
            (-1.086090821907e-01, 8.418523622308e-01, -1.286788418532e00, 7.644142693264e-01),
        ),
        (
            243,
            "full",
            (-1.112498494728e-01, 8.452380792854e-01, -1.275460641048e00, 7.607246459563e-01),
        ),
    ],
)
def test_reference_vectors(n_frames: int, bias: str, expected: Summary) -> None:
    model = filled(PAA(Settings(n_frames=n_frames, bias=bias)))
    with torch.no_grad():
        pose_B1J3 = model(numbers((2, n_frames, 17, 2), 7))
    assert pose_B1J3.shape == (2, 1, 17, 3)
    assert_summary(pose_B1J3, expected)


def test_parts_are_split_and_joined() -> None:
    x_BFD = torch.arange(17.0).repeat_interleave(2).expand(1, 3, 34)
    parts = split_parts(x_BFD)
    assert [part[0, 0, ::2].tolist() for part in parts] == [list(part) for part in PARTS]
    assert (join_parts(parts) == x_BFD).all()


def test_frames_that_wrap_round_see_only_each_other() -> None:
    mask_NWW = wrapped_mask(torch.zeros(2, 18, 4), 3)
    assert mask_NWW.shape == (4, 9, 9)
    assert (mask_NWW[[0, 2]] == 0).all()
    seen = mask_NWW[3] == 0
    assert seen[:6, :6].all() and seen[6:, 6:].all() and seen.sum() == 36 + 9


def test_attention_to_the_dictionary_by_hand() -> None:
    attention = filled(DictionaryAttention(4, n_heads=2))
    y_BFD, poses_SD = numbers((1, 3, 4), 7), numbers((5, 4), 8)
    found_BFD, attended_S = attention(y_BFD, poses_SD)

    u, k, w = (
        attention.trans_dims(y_BFD[0]),
        attention.linear_0(poses_SD),
        attention.linear_1(poses_SD),
    )
    mixed, seen = [], []
    for head in (slice(0, 4), slice(4, 8)):
        scores = (u[:, head] @ k[:, head].T).exp()
        over_frames = scores / scores.sum(0)
        weights = over_frames / (over_frames.sum(1, keepdim=True) + 1e-7)
        mixed.append(weights @ w[:, head])
        seen.append(weights.mean(0))

    torch.testing.assert_close(
        found_BFD[0], attention.proj(torch.cat(mixed, 1)), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(attended_S, (seen[0] + seen[1]).detach() / 2, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dictionary", ["learned", "poses"])
def test_a_step_and_confidence(dictionary: str) -> None:
    model = PAA(Settings(**TINY, dictionary=dictionary))
    assert_learns(model, torch.randn(4, 27, 17, 3), torch.randn(4, 27, 17, 3))
    assert_ignores_confidence(model, torch.randn(2, 27, 17, 2))


def test_the_least_attended_poses_are_renewed_in_training_alone() -> None:
    model = filled(PAA(Settings(**TINY, dictionary="poses")))
    before = model.seed.clone()
    x_BTJ2, target_BTJ3 = numbers((5, 27, 17, 2), 3), numbers((5, 27, 17, 3), 4)
    attended_S = model.lift(x_BTJ2)[1]

    model.loss(x_BTJ2, target_BTJ3)
    assert (model.seed == before).all()

    model.train()
    model.loss(x_BTJ2, target_BTJ3)[0].backward()
    least = attended_S.argsort()[:3]
    assert (model.seed[least] == target_BTJ3[:3, 13]).all()
    others = [s for s in range(300) if s not in least]
    assert (model.seed[others] == before[others]).all()
    assert model.seed.grad is None


def test_renewing_does_not_change_the_step() -> None:
    gradients = []
    for dictionary in ("learned", "poses"):
        model = filled(PAA(Settings(**TINY, dictionary=dictionary))).train()
        model.loss(numbers((5, 27, 17, 2), 3), numbers((5, 27, 17, 3), 4))[0].backward()
        gradients.append(model.seed_embed.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", ["full", "table"])
def test_authors_file(bias: str) -> None:
    model = filled(PAA(Settings(**TINY, bias=bias, dictionary="poses")))
    weights = model.state_dict()
    assert_reads_back(model, {"model_pos": weights}, numbers((2, 27, 17, 2), 7), n_frames=27)

    with pytest.raises(ValueError, match="dictionary"):
        PAA.read_authors_file({"model_pos": {k: v for k, v in weights.items() if k != "seed"}})


def test_given_poses_are_the_dictionary() -> None:
    model = PAA(Settings(**TINY, dictionary="poses"))
    poses_SJ3 = torch.randn(300, 17, 3)
    model.set_dictionary(poses_SJ3)
    assert (model.seed == poses_SJ3).all() and not model.seed.requires_grad


def test_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="not 30"):
        PAA(Settings(n_frames=30))
    assert PAA(Settings(**{**TINY, "n_frames": 9}))(torch.zeros(1, 9, 17, 2)).shape == (1, 1, 17, 3)
