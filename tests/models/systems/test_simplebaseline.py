"""SimpleBaseline against the published counts, the reference vector and hand-made cases."""

from __future__ import annotations

import torch
from fakes.reference_vectors import (
    assert_ignores_confidence,
    assert_learns,
    assert_reads_back,
    assert_summary,
    filled,
    n_macs,
    n_parameters,
    numbers,
)

from m2v_lib.models.systems.convolution.simplebaseline import (
    Settings,
    SimpleBaseline,
    unit_statistics,
)
from m2v_lib.skeletons.h36m import JOINTS

TINY = {"dim": 16, "joint_set": "published"}


def published(**settings: object) -> SimpleBaseline:
    """Filled weights; statistics that leave values as they are."""
    model = filled(SimpleBaseline(Settings(joint_set="published", **settings)))  # type: ignore[arg-type]
    model.load_state_dict(unit_statistics(32, 48), strict=False)
    return model


def with_joints(x_BTI2: torch.Tensor) -> torch.Tensor:
    """The 16 published input joints among all 17."""
    x_BTJ2 = torch.zeros(*x_BTI2.shape[:2], 17, 2, dtype=x_BTI2.dtype)
    x_BTJ2[:, :, [name != "nose" for name in JOINTS]] = x_BTI2
    return x_BTJ2


def test_published_counts() -> None:
    assert n_parameters(SimpleBaseline, joint_set="published") == 4_291_632
    with torch.device("meta"):
        model = SimpleBaseline(Settings(joint_set="published"))
        assert n_macs(model.eval(), torch.zeros(1, 1, 17, 2)) == 4_276_224


def test_reference_vector() -> None:
    x_BTJ2 = with_joints(numbers((4, 32), 7).reshape(2, 2, 16, 2))
    with torch.no_grad():
        z_scores = published().z_scores(x_BTJ2)
    assert_summary(
        z_scores, (2.303592524790e-02, 5.456885298781e-01, -9.930976466315e-02, -9.633475276203e-02)
    )


def test_frames_are_lifted_by_themselves_and_the_root_is_zero() -> None:
    model = published(dim=16)
    x_BTJ2 = numbers((2, 5, 17, 2), 3)

    pose_BTJ3 = model(x_BTJ2)

    assert pose_BTJ3.shape == (2, 5, 17, 3)
    assert (pose_BTJ3[:, :, 0] == 0).all() and (pose_BTJ3[:, :, 1:] != 0).any(dim=-1).all()
    torch.testing.assert_close(model(x_BTJ2[1:, 3:4]), pose_BTJ3[1:, 3:4], rtol=0, atol=1e-14)


def test_fitted_statistics_are_those_of_the_frames() -> None:
    model = filled(SimpleBaseline(Settings(dim=16)))
    x_NJ2, pose_NJ3 = 5 * numbers((40, 17, 2), 1) + 2, numbers((40, 17, 3), 2) - 3
    pose_NJ3[:, 0] = 0

    model.fit_statistics(x_NJ2, pose_NJ3)

    z_ND = (x_NJ2.flatten(1) - model.input_mean) / model.input_std
    torch.testing.assert_close(z_ND.mean(0), torch.zeros(34).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(z_ND.square().mean(0), torch.ones(34).double(), rtol=0, atol=1e-12)
    assert (model.output_std[:3] == 1).all() and (model.output_mean[:3] == 0).all()

    plain = SimpleBaseline(Settings(dim=16)).double().eval()
    plain.load_state_dict({**model.state_dict(), **unit_statistics(34, 51)})
    by_hand = plain(z_ND.reshape(40, 1, 17, 2)).flatten(2) * model.output_std + model.output_mean
    torch.testing.assert_close(model(x_NJ2[:, None]).flatten(2), by_hand, rtol=0, atol=1e-12)


def test_authors_file() -> None:
    model = published(dim=16)
    weights = {
        k: v for k, v in model.state_dict().items() if not k.endswith(("put_mean", "put_std"))
    }
    content = {
        "epoch": 1,
        "lr": 1e-3,
        "step": 10,
        "err": 40.0,
        "state_dict": weights,
        "optimizer": {},
    }
    assert_reads_back(model, content, numbers((2, 3, 17, 2), 7))


def test_a_step_and_confidence() -> None:
    model = SimpleBaseline(Settings(**TINY))  # type: ignore[arg-type]
    assert_learns(model, torch.randn(4, 2, 17, 3), torch.randn(4, 2, 17, 3))
    assert_ignores_confidence(model, torch.randn(2, 3, 17, 2))


def test_loss_is_the_squared_error_of_z_scores() -> None:
    model = published(dim=16)
    x_BTJ2, target_BTJ3 = numbers((2, 3, 17, 2), 3), numbers((2, 3, 17, 3), 4)
    before = model.loss(x_BTJ2, target_BTJ3)[0]

    model.output_std.fill_(10.0)
    by_hand = ((model(x_BTJ2) - target_BTJ3)[:, :, 1:] / 10).square().mean()

    torch.testing.assert_close(model.loss(x_BTJ2, target_BTJ3)[0], by_hand)
    assert not torch.isclose(before, by_hand)
