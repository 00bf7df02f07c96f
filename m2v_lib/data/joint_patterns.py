"""Which joints of a store, and how many frames, a model sees: one choice for all steps, or one drawn
for each (`data.skeletons`, `data.lengths`).
"""
# B batch, T frames, J joints of a choice, S joints of the store

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from m2v_lib.config import ConfigError, DataConfig
from m2v_lib.config.fields import ModelSettings
from m2v_lib.data.clips import Clips
from m2v_lib.skeletons import VOCABULARY, Skeleton, SkeletonError, choose, skeleton_of
from m2v_lib.skeletons.vocabulary import ROOTS

#: In a list of skeletons, a choice of joints drawn anew at every step.
RANDOM = "random"
#: Joints that a random choice always has: without a trunk there is no telling how a body stands.
ALWAYS = ("root", "right hip", "left hip")
#: How likely a random choice has any other joint, both sides alike.
SHARE_KEPT = 0.5


@dataclass(frozen=True)
class Choice:
    """A skeleton as joints of a store: `columns` (J,) are their numbers there."""

    skeleton: Skeleton
    columns: tuple[int, ...]

    def of(self, pose_BTSC: Tensor) -> Tensor:
        """Its joints (B,T,J,C) of the store's."""
        return pose_BTSC[..., _on_device(self.columns, pose_BTSC.device), :]

    def relative(self, label_BTSC: Tensor) -> Tensor:
        """As `of`, relative to its own root."""
        label = self.of(label_BTSC)
        root = self.skeleton.root
        return label - label[..., root : root + 1, :]

    def clips(self, clips: Clips) -> Clips:
        """The same clips with its joints alone."""
        if self.columns == tuple(range(len(clips.skeleton))):
            return clips
        root = self.columns[self.skeleton.root]
        truth = clips.truth_nJ3 - clips.truth_nJ3[:, root : root + 1]
        return replace(
            clips,
            input_nJ3=self.of(clips.input_nJ3),
            label_nJ3=self.relative(clips.label_nJ3),
            truth_nJ3=truth[:, list(self.columns)],
            skeleton=self.skeleton,
        )


@lru_cache(256)
def _on_device(columns: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.as_tensor(columns, device=device)


def choice_from(store: Skeleton, skeleton: Skeleton, where: str) -> Choice:
    """The skeleton's joints among those of the store: the same list, or by their words in the
    vocabulary. Raises ConfigError that begins with `where` and names the first joint missing.
    """
    if skeleton.joints == store.joints:
        return Choice(skeleton, tuple(range(len(store))))

    position = {word: number for number, word in enumerate(store.vocabulary)}
    for number, joint in enumerate(store.joints):
        if joint not in VOCABULARY.joints:  # a name that means no other point of the body
            position.setdefault(joint, number)

    missing = [w for w in skeleton.vocabulary if w not in position]
    if missing:
        raise ConfigError(
            f"{where}: {skeleton.name} has {missing[0]}, which is not among the {len(store)} joints "
            f"of the store ({store.name}); a store of motion capture that has it: m2v data prepare "
            "mocap --set joints=vocabulary --name mocap_vocabulary"
        )
    return Choice(skeleton, tuple(position[word] for word in skeleton.vocabulary))


def named_choices(data: DataConfig, model: ModelSettings, store: Skeleton) -> tuple[Choice, ...]:
    """The choices that have a name, `model.skeleton` where `data.skeletons` is empty. Raises
    ConfigError.
    """
    if not data.skeletons:
        return (choice_from(store, model.joints, f"model.skeleton={model.skeleton}"),)

    found = []
    for name in listed(data.skeletons, "data.skeletons"):
        if name != RANDOM:
            try:
                skeleton = skeleton_of(name)
            except SkeletonError as error:
                raise ConfigError(f"data.skeletons: {error}") from error
            found.append(choice_from(store, skeleton, "data.skeletons"))

    if not found:
        raise ConfigError("data.skeletons must name a skeleton beside random, to be evaluated on")
    return tuple(found)


def listed(text: str, key: str) -> list[str]:
    """The names of a list separated by commas. Raises ConfigError."""
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ConfigError(f"{key} must be names separated by commas, got {text[:80]!r}")
    return names


def lengths_of(data: DataConfig, n_frames: int) -> tuple[int, ...]:
    """Numbers of frames that a step may see. Raises ConfigError."""
    if not data.lengths:
        return (n_frames,)
    texts = listed(data.lengths, "data.lengths")
    lengths = tuple(int(text) for text in texts if text.isdigit() and len(text) < 6)
    if len(lengths) != len(texts) or not all(1 <= length <= n_frames for length in lengths):
        raise ConfigError(
            f"data.lengths must be whole numbers of 1 to model.n_frames={n_frames} separated by "
            f"commas, got {data.lengths[:80]!r}"
        )
    return lengths


def random_choice(store: Skeleton, generator: torch.Generator) -> Choice:
    """The joints of `ALWAYS` and about half of the others, a joint with its twin on the other side.

    Joints come in the store's order.
    """
    words = store.vocabulary
    kept = torch.rand(len(words), generator=generator, device=generator.device) < SHARE_KEPT
    chosen = set(ALWAYS) & set(words)

    for number, keep in enumerate(kept.tolist()):
        twin = store.flip_order[number]
        if keep and twin >= number:
            chosen |= {words[number], words[twin]}

    if not chosen & set(ROOTS):
        chosen |= {next(word for word in (*ROOTS, *words) if word in words)}
    order = [word for word in words if word in chosen]
    return choice_from(store, choose(order, RANDOM), RANDOM)


@dataclass(frozen=True)
class JointPatterns:
    """What the steps of a run see: one of `draws` and of `lengths` each, all equally likely.

    A batch of T frames is cut into as many pieces of the drawn length as it holds, so that steps
    cost alike whatever the length.
    """

    draws: tuple[Callable[[torch.Generator], Choice], ...]
    lengths: tuple[int, ...]

    def draw(self, generator: torch.Generator) -> tuple[Choice, int]:
        """Joints and frames of a step."""
        which = torch.randint(
            len(self.draws) * len(self.lengths), (), generator=generator, device=generator.device
        )
        number, length = divmod(int(which), len(self.lengths))
        return self.draws[number](generator), self.lengths[length]


def patterns_of(
    data: DataConfig, model: ModelSettings, store: Skeleton, *, by_views: bool = False
) -> JointPatterns | None:
    """What steps draw; None where all see the same and the clips can be made so beforehand, which
    random cameras (`by_views`) cannot. Raises ConfigError.
    """
    named = named_choices(data, model, store)
    lengths = lengths_of(data, model.n_frames)
    random = RANDOM in listed(data.skeletons, "data.skeletons") if data.skeletons else False

    same = len(named) == 1 and not random and lengths == (model.n_frames,)
    if same and not (by_views and named[0].skeleton.joints != store.joints):
        return None

    def always(choice: Choice) -> Callable[[torch.Generator], Choice]:
        return lambda _: choice

    draws = [always(choice) for choice in named]
    if random:
        draws.append(lambda generator: random_choice(store, generator))
    return JointPatterns(tuple(draws), lengths)


def hide_joints(x_BTJ3: Tensor, share: float, root: int, generator: torch.Generator) -> Tensor:
    """The input with a share of its joints, drawn for each clip, set to 0 in all frames, their
    confidence too; never the root.
    """
    B, _, J, _ = x_BTJ3.shape
    hidden_BJ = torch.rand(B, J, generator=generator, device=generator.device) < share
    hidden_BJ[:, root].fill_(False)
    return x_BTJ3.masked_fill(hidden_BJ.to(x_BTJ3.device)[:, None, :, None], 0.0)


def pieces(pose_BTJC: Tensor, length: int) -> Tensor:
    """Clips cut into pieces (B * (T // length), length, J, C); frames that fill none are dropped."""
    n_pieces = pose_BTJC.shape[1] // length
    cut = pose_BTJC[:, : n_pieces * length]
    return cut.reshape(-1, length, *pose_BTJC.shape[2:])
