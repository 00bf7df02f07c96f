"""A tiny store of people that move smoothly, and the smallest experiment that trains on it. No
torch here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m2v_lib.config import Experiment
from m2v_lib.data.store import ARRAYS, Meta, Split, Store, Video, open_store, write_store
from m2v_lib.skeletons.h36m import BONES, N_JOINTS

#: (source, subject, action, frames, width, height); several are shorter than the 9 frames of a
#: clip.
TRAIN = (
    ("walk.a", "S1", "walk", 40, 1000, 1002),
    ("sit.a", "S1", "sit", 31, 1000, 1000),
    ("short", "S2", "walk", 6, 1000, 1002),
    ("val.walk", "S5", "walk", 24, 1000, 1000),
    ("val.sit", "S5", "sit", 20, 1000, 1002),
    ("walk.b", "S2", "walk", 22, 1000, 1000),
)
TEST = (
    ("test.walk", "S9", "walk", 30, 1000, 1002),
    ("test.short", "S9", "sit", 5, 1000, 1000),
    ("test.blocked", "S9", "sit", 27, 1000, 1000),
    ("test.sit", "S11", "sit", 20, 1000, 1000),
    ("test.greet", "S11", "greet", 11, 1000, 1002),
    ("test.tail", "S11", "greet", 4, 1000, 1002),
)


def people(videos: Sequence[tuple[str, str, str, int, int, int]], seed: int = 0) -> Split:
    """Bones of constant length (100-400 mm) that swing smoothly, seen from about 4 m, with a
    noisy detector.
    """
    rng = np.random.default_rng(seed)
    length = rng.uniform(100, 400, len(BONES))
    rest = rng.normal(size=(len(BONES), 3))
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    entries, start = [], 0
    for source, subject, action, n, width, height in videos:
        t = np.arange(n)[:, None, None]
        direction = rest + 0.6 * np.sin(
            t * rng.uniform(0.05, 0.3, (len(BONES), 3)) + rng.uniform(0, 6, rest.shape)
        )
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        mm = np.zeros((n, N_JOINTS, 3))
        for i, (parent, child) in enumerate(BONES):
            mm[:, child] = mm[:, parent] + length[i] * direction[:, i]
        factor = 4.0 + 0.3 * np.sin(np.arange(n) * 0.1 + len(parts))
        label = mm / factor[:, None, None]
        label[..., :2] += (500, 480) + 20 * np.sin(t * 0.05)
        parts.append((label, factor))
        entries.append(Video(source, subject, action, "cam", start, n, width, height))
        start += n
    label, factor = (
        np.concatenate(arrays).astype(np.float32) for arrays in zip(*parts, strict=True)
    )
    seen = label[..., :2] + rng.normal(0, 3, label[..., :2].shape)
    return Split(
        joint_2d=seen.astype(np.float32),
        confidence=rng.uniform(0.5, 1, seen.shape[:2]).astype(np.float32),
        label_px=label,
        truth_mm=label * factor[:, None, None],
        factor=factor,
        videos=tuple(entries),
    )


@pytest.fixture
def make_people() -> Callable[..., Split]:
    return people


@pytest.fixture(scope="session")
def write_tiny_store() -> Callable[..., Path]:
    """`write_tiny_store(root, seed)` writes the store `tiny` under `root`."""

    def write(root: Path, seed: int = 0) -> Path:
        meta = Meta(
            name="tiny",
            fps=50.0,
            protocol="by subject",
            source="made by the tests",
            val_subjects=("S5",),
            blocked_sources=("test.blocked",),
            detector={"kind": "gaussian"},
        )
        return write_store(root, meta, people(TRAIN, seed=seed), people(TEST, seed=seed + 1))

    return write


@pytest.fixture
def tiny_store(
    write_tiny_store: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Store:
    """The store `tiny` under $M2V_STORE, with $M2V_RUNS beside it."""
    monkeypatch.setenv("M2V_STORE", str(tmp_path / "stores"))
    monkeypatch.setenv("M2V_RUNS", str(tmp_path / "runs"))
    write_tiny_store(tmp_path / "stores")
    return open_store("tiny")


@pytest.fixture(scope="session")
def as_3dhp() -> Callable[..., Store]:
    """`as_3dhp(store, valid)`: the same motion under MPI-INF-3DHP's protocol, with these test
    frames valid (all).
    """

    def change(store: Store, valid: Sequence[int] | None = None) -> Store:
        meta = replace(
            store.meta,
            name="as-3dhp",
            protocol="in the layout of MPI-INF-3DHP",
            detector={"model": "ground truth"},
            blocked_sources=(),
        )
        test = store.split("test")
        mask = None if valid is None else np.isin(np.arange(test.n_frames), valid)
        write_store(store.path.parent, meta, store.split("train"), replace(test, valid=mask))
        return open_store(meta.name, store.path.parent)

    return change


@pytest.fixture(scope="session")
def tiny_experiment() -> Callable[..., Experiment]:
    """`tiny_experiment(recipe, {key: value})`: clips of 9 frames, two blocks of width 8, a dozen
    steps.
    """

    def make(recipe: str = "paper", changes: dict[str, Any] | None = None) -> Experiment:
        tiny: dict[str, Any] = {
            "data.name": "tiny",
            "data.train_stride": 4,
            "data.test_stride": 9,
            "model.n_layers": 2,
            "model.dim": 8,
            "model.n_frames": 9,
            "model.n_heads": 2,
            "model.mlp_ratio": 2,
            "model.dim_rep": 8,
            "pretrain.batch_size": 4,
            "pretrain.n_masks": 2,
            "finetune.batch_size": 8,
            "run.threads": 1,
            "run.max_steps": 12,
            "run.log_every": 2,
            "run.checkpoint_every": 5,
        }
        return Experiment.preset("smoke", recipe).override({**tiny, **(changes or {})})

    return make


@pytest.fixture(scope="session")
def write_acted_store() -> Callable[..., Path]:
    """`write_acted_store(root)` writes the store `acted`: two actions that differ in shape, two
    cameras, two splits.
    """

    def acts(seed: int) -> Split:
        subjects = ("S1", "S2", "S3", "S9")  # people of one build who move differently
        kinds = [
            (s, a, f"cam{c}") for s in subjects for a in ("big", "other", "small") for c in (1, 2)
        ]
        split = people(
            [
                (f"{s}.{a}.{c}", s, a, 14 + 3 * (i % 6), 1000, 900)
                for i, (s, a, c) in enumerate(kinds)
            ],
            seed,
        )
        for video in split.videos:
            rows = slice(video.start, video.start + video.n_frames)
            centre = split.joint_2d[rows].mean(1, keepdims=True)
            flat = np.array([1.0, 0.2 if video.action == "small" else 1.0], np.float32)
            split.joint_2d[rows] = centre + flat * (split.joint_2d[rows] - centre)
        cameras = [camera for _, _, camera in kinds]
        return replace(
            split,
            videos=tuple(replace(v, camera=c) for v, c in zip(split.videos, cameras, strict=True)),
        )

    def part(split: Split, subjects: Sequence[str]) -> Split:
        videos = [video for video in split.videos if video.subject in subjects]
        first, last = videos[0].start, videos[-1].start + videos[-1].n_frames
        arrays = {key: getattr(split, key)[first:last] for key in ARRAYS}
        return Split(**arrays, videos=tuple(replace(v, start=v.start - first) for v in videos))

    def write(root: Path, seed: int = 0) -> Path:
        meta = Meta(name="acted", fps=50.0, protocol="by subject", source="made by the tests")
        split = acts(seed)
        return write_store(root, meta, part(split, ("S1", "S2", "S3")), part(split, ("S9",)))

    return write
