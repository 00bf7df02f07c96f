"""Bones as directions and lengths, and what Anatomy3D learns of them."""

from __future__ import annotations

from torch import Tensor

from m2v_lib.models.layers.constants import Places

# B batch, T frames, V frames out, R frames to read lengths from, J joints, S bones, P pairs
# D directions: 3 S numbers, bone by bone

#: (end, start) of each bone in the order of the files; its vector, end minus start, points away
#: from the trunk's middle but for (8, 11) and (8, 14), from the shoulders to the thorax.
BONES = (
    *((16, 15), (15, 14), (13, 12), (12, 11), (10, 9), (9, 8), (8, 7), (8, 11)),
    *((8, 14), (7, 0), (3, 2), (2, 1), (6, 5), (5, 4), (1, 0), (4, 0)),
)
END, START = Places([end for end, _ in BONES]), Places([start for _, start in BONES])

#: Pairs of joints (from, to) that no bone joins, a joint with itself too: 137.
PAIRS = [
    (i, j) for i in range(17) for j in range(i, 17) if (i, j) not in BONES and (j, i) not in BONES
]
FROM, TO = Places([i for i, _ in PAIRS]), Places([j for _, j in PAIRS])


def bone_loss(
    outputs: dict[str, Tensor],
    target_BTJ3: Tensor,
    centre_B1J3: Tensor,
    rand_BRJ3: Tensor,
    aug_BRJ3: Tensor | None = None,
    *,
    r: int,
    w_length: float,
    w_direction: float,
    w_shift: float,
) -> dict[str, Tensor]:
    """Weighted terms whose sum is the loss of `Anatomy3D.training_outputs`.

    Takes the window's 3D, its frame that comes out, and the 3D of the frames that lengths are
    read from, of which the `r`-th counts as a pose. `rand_BRJ3` is the true 3D as the paper
    says; the released code lengthens it in place: give `aug_BRJ3` twice for that reading.
    """
    parts = {
        "pose": distance(outputs["pose"], centre_B1J3),
        "rand_pose": distance(outputs["rand_pose"][:, r], rand_BRJ3[:, r]),
    }
    length_BS = bone_vectors(target_BTJ3).norm(dim=-1).mean(dim=1)
    parts["length"] = w_length * (outputs["length"] - length_BS).square().mean()

    if aug_BRJ3 is not None:
        length_BS = bone_vectors(aug_BRJ3[:, 0]).norm(dim=-1)
        parts["aug_pose"] = distance(outputs["aug_pose"][:, r], aug_BRJ3[:, r])
        parts["length_aug"] = w_length * (outputs["length_aug"] - length_BS).square().mean()

    direction_BD1 = unit(bone_vectors(centre_B1J3).flatten(2).transpose(1, 2))
    shift_B1P3 = TO.of(centre_B1J3, 2) - FROM.of(centre_B1J3, 2)

    for net, share in {"2": 1.0, "1": 0.5}.items():
        error_BD1 = outputs[f"direction_{net}"] - direction_BD1
        squared = error_BD1.unflatten(1, (-1, 3)).square().sum(dim=2).mean()
        parts[f"direction_{net}"] = share * w_direction * squared
        parts[f"shift_{net}"] = share * w_shift * distance(outputs[f"shift_{net}"], shift_B1P3)

    return parts


def bone_vectors(pose_BTJ3: Tensor) -> Tensor:
    """(B, T, S, 3), or without an axis of frames."""
    return END.of(pose_BTJ3, -2) - START.of(pose_BTJ3, -2)


def unit(direction_BDV: Tensor) -> Tensor:
    """Each bone's three numbers divided by their length."""
    bones_BS3V = direction_BDV.unflatten(1, (-1, 3))
    return (bones_BS3V / bones_BS3V.norm(dim=2, keepdim=True)).flatten(1, 2)


def pooled(lengths_BRS: Tensor, logits_BRS: Tensor) -> Tensor:
    """The frames' lengths, weighed by a softmax over frames, bone by bone: (B, S)."""
    return (logits_BRS.softmax(dim=1) * lengths_BRS).sum(dim=1)


def distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).norm(dim=-1).mean()
