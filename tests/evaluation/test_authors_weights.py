"""A checkpoint in its authors' layout, random inside, from file and data set to the number."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes.h36m import CPN, WORLD, Files

from m2v_lib.cli import main
from m2v_lib.data.sources.h36m import prepare_h36m
from m2v_lib.data.store import Store, open_store
from m2v_lib.models.authors_files import load_baseline
from m2v_lib.models.base import Lifter
from m2v_lib.models.registry import model_class

MIRROR = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]
TINY: dict[str, dict[str, Any]] = {
    "mixste": {"n_frames": 9, "dim": 16, "n_layers": 1, "n_heads": 2},
    "videopose3d": {"filter_widths": "3,3", "n_frames": 9, "dim": 8},
    "stcformer": {"n_frames": 9, "dim": 16, "n_layers": 1, "n_heads": 2},
    "motionbert": {"n_frames": 9, "dim": 16, "dim_rep": 16, "n_layers": 1, "n_heads": 2},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores `h36m` (camera space) and `toy` (2.5D), 24 frames a video."""
    folder = tmp_path_factory.mktemp("stores")
    files = Files(folder)
    prepare_h36m(folder / "stores", "h36m", [files.folder / WORLD, files.folder / CPN])
    return folder / "stores"


def checkpoint(name: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    made_by = model_class(name)
    torch.manual_seed(3)
    model = made_by(made_by.Settings(**TINY[name]))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)  # frames must matter
    weights = {f"module.{k}": v for k, v in model.state_dict().items()}
    path = folder / f"{name}.bin"
    torch.save(weights if name == "stcformer" else {"model_pos": weights}, path)
    return path, {k: v for k, v in TINY[name].items() if k == "n_heads"}


def by_hand(model: Lifter, store: Store, step: int, root_zero: bool, centre: bool) -> float:
    """The mean of actions of every frame's error, a window a time."""
    split = store.split("test")
    errors: dict[str, list[float]] = defaultdict(list)
    for video in split.videos:
        here = slice(video.start, video.start + video.n_frames)
        pixels, truth = split.joint_2d[here], split.truth_mm[here]
        size = np.array([1, video.height / video.width], np.float32)
        seen = pixels / (video.width / 2) - size
        seen = np.concatenate([seen, np.ones_like(seen[..., :1])], -1).astype(np.float32)
        n, last = model.settings.n_frames, video.n_frames - 1

        around = step * (np.arange(n) - n // 2)
        whole = [np.minimum(np.arange(f, f + n), last) for f in range(0, last + 1, n)]
        about_each = [np.clip(f + around, 0, last) for f in range(last + 1)]
        for window in about_each if centre else whole:
            pose = predicted(model, seen[window])
            if root_zero:
                pose[:, 0] = 0
            shown = window[n // 2 : n // 2 + 1] if centre else window
            wanted = truth[shown] - truth[shown, :1]
            error = np.linalg.norm(pose - wanted, axis=-1).mean(-1)
            first = [i for i, f in enumerate(shown) if f not in shown[:i]]
            errors[video.action] += list(error[first])

    return float(np.mean([np.mean(e) for e in errors.values()]))


def predicted(model: Lifter, window_TJ3: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(window_TJ3)[None]
    turned = x[:, :, MIRROR] * torch.tensor([-1.0, 1, 1])
    with torch.no_grad():
        straight, mirrored = model(x), model(turned)[:, :, MIRROR] * torch.tensor([-1.0, 1, 1])
    return 1000 * (0.5 * (straight + mirrored))[0].numpy()


@pytest.mark.parametrize(
    ("name", "step", "root_zero", "centre"),
    [("mixste", 1, False, False), ("stcformer", 3, True, True), ("videopose3d", 1, False, True)],
)
def test_from_file_to_number(
    name: str,
    step: int,
    root_zero: bool,
    centre: bool,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("M2V_STORE", str(root))
    path, settings = checkpoint(name, tmp_path)
    said = [f"--set=model.{key}={value}" for key, value in settings.items()]
    if name == "stcformer":
        said.append("--set=model.n_frames=9")
        settings = settings | {"n_frames": 9}

    assert main(["evaluate", "--weights", str(path), "--model", name, *said]) == 0

    found = json.loads(capsys.readouterr().out)
    store = open_store("h36m", root)
    assert found["n_frames"] == store.split("test").n_frames, "every frame once"
    assert (found["unit"], found["data"]) == ("metres", "h36m")
    model = load_baseline(name, path, **settings)
    expected = by_hand(model, store, step, root_zero, centre)
    assert found["mpjpe"] == pytest.approx(expected, rel=1e-5)


def test_units_and_labels_must_fit(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("M2V_STORE", str(root))

    def evaluate(name: str, data: str) -> tuple[int, str]:
        path, settings = checkpoint(name, tmp_path)
        said = [f"--set=model.{key}={value}" for key, value in settings.items()]
        code = main(["evaluate", "--weights", str(path), "--model", name, "--data", data, *said])
        return code, capsys.readouterr().err

    assert evaluate("motionbert", "toy")[0] == 0
    code, words = evaluate("motionbert", "h36m")
    assert code == 2 and "labels are in camera space; the weights of motionbert give image" in words
    code, words = evaluate("mixste", "toy")
    assert code == 2 and "labels are 2.5D, in pixels; the weights of mixste give metres" in words


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["evaluate"], "a run must be given, or --weights FILE with --model NAME"),
        (["evaluate", "here", "--model", "mixste"], "a run must be given"),
        (["evaluate", "--weights", "a.bin"], "--weights must come with --model NAME"),
        (["evaluate", "here", "--weights", "a.bin", "--model", "mixste"], "without a run"),
    ],
)
def test_a_run_or_weights(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert sentence in capsys.readouterr().err
