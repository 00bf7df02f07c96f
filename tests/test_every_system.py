"""Every system goes through every command, at a size that takes seconds for all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from m2v_lib.bench import Options
from m2v_lib.bench.counts import count_flops
from m2v_lib.bench.worker import Bench
from m2v_lib.cli import main
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.config.models import DUAL_STREAM, sizes
from m2v_lib.evaluation.protocols import predict
from m2v_lib.lift.stream import stream_lines
from m2v_lib.lift.windows import SingleFrameLifter, load_lifter
from m2v_lib.models.base import Lifter, count_parameters
from m2v_lib.models.complexity import count, count_parts
from m2v_lib.models.losses import lifting_loss
from m2v_lib.models.registry import build_model, model_class, model_names, pretraining_class
from m2v_lib.runs.records import StoppedEarly
from m2v_lib.training.action import train_action
from m2v_lib.training.checkpoint import load_checkpoint
from m2v_lib.training.engine.loop import Trainer
from m2v_lib.training.finetune import finetune
from m2v_lib.training.pretrain import pretrain

T = 9
SYSTEMS = model_names()
OTHERS = [name for name in SYSTEMS if name != DUAL_STREAM]
ENCODERS = [name for name in OTHERS if model_class(name).has_encoder]
TINY = {
    "data.name": "tiny",
    "data.train_stride": 4,
    "data.test_stride": T,
    "model.n_frames": T,
    "finetune.batch_size": 6,
    "run.threads": 1,
    "run.max_steps": 4,
    "run.log_every": 2,
    "run.checkpoint_every": 2,
    "run.eval_every": 4,
}

every_system = pytest.mark.parametrize("name", SYSTEMS)


def experiment(name: str, recipe: str = "paper", **changes: Any) -> Experiment:
    chosen = {} if name == DUAL_STREAM else {"model.name": name}
    extra = {key.replace("__", "."): value for key, value in changes.items()}
    return Experiment.preset("smoke", recipe).override({**chosen, **TINY, **extra})


def clips(n: int = 4, channels: int = 3) -> Tensor:
    return torch.randn(n, T, 17, channels, generator=torch.Generator().manual_seed(n))


@pytest.fixture(scope="module")
def home(
    tmp_path_factory: pytest.TempPathFactory, write_tiny_store: Callable[..., Path]
) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("every")
    write_tiny_store(folder / "stores")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("M2V_STORE", str(folder / "stores"))
        patch.setenv("M2V_RUNS", str(folder / "runs"))
        yield folder


@pytest.fixture(scope="module")
def trained(home: Path) -> Callable[[str], Path]:
    """Folder of the system's run by the common recipe, made once."""
    return lambda name: finetune(experiment(name), home / "runs")


@pytest.mark.parametrize("size", sizes())
@pytest.mark.parametrize("preset", ["smoke", "base"])
def test_a_named_size_can_be_built_under_every_preset(size: str, preset: str) -> None:
    exp = Experiment.preset(preset).override({"model.name": size})
    with torch.device("meta"):
        assert build_model(exp.model).settings == exp.model
    assert re.fullmatch("[a-z0-9_-]+", size)


@every_system
@pytest.mark.parametrize("loss", ["pose", "own"])
def test_steps_lower_the_loss(name: str, loss: str) -> None:
    if name == DUAL_STREAM and loss == "own":
        pytest.skip("its own loss is the common one")
    exp = experiment(name, finetune__loss=loss)
    model = build_model(exp.model, seed=0).train()
    x, y = clips(), 0.3 * clips(4, 3).roll(1, 0)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)

    values = []
    for _ in range(8):
        torch.manual_seed(0)  # equal noise and dropout in all steps
        value, parts = lifting_loss(model, model, x, y, exp.finetune)
        optimiser.zero_grad()
        value.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
        optimiser.step()
        values.append(float(value.detach()))
    assert parts and values[-1] < values[0]


@every_system
def test_coordinates_go_in_and_come_out_in_full_precision(name: str) -> None:
    """What bfloat16 would round off the input changes the output, which is no bfloat16 either."""
    model = build_model(experiment(name).model, seed=0).eval()
    drawn = torch.rand(1, T, 17, 3, generator=torch.Generator().manual_seed(0))
    x = (0.5 + 0.5 * drawn).bfloat16().float()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        at, beside = model(x), model(x + 2**-11)
    assert at.dtype == torch.float32
    assert not torch.equal(at, at.bfloat16().float())
    assert not torch.equal(at, beside)


@every_system
def test_a_run_is_trained_tested_and_evaluated_again(
    name: str, home: Path, trained: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained(name)
    result = json.loads((folder / "result.json").read_text())
    assert np.isfinite(result["test"]["mpjpe"])

    capsys.readouterr()
    assert main(["evaluate", str(folder)]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["mpjpe"] == pytest.approx(result["test"]["mpjpe"], rel=1e-5)
    assert again["n_frames"] == result["test"]["n_frames"]


@pytest.mark.parametrize("name", [name for name in OTHERS if model_class(name).own_recipe])
def test_its_own_recipe_resumes_where_it_stopped(
    name: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"optim__warmup_steps": 0, "data__train_stride": 4, "data__test_stride": T}
    exp = experiment(name, "own", **small)
    optimiser = {k: v for k, v in model_class(name).own_recipe.items() if k.startswith("optim.")}
    assert exp.finetune.loss == "own" and exp.flat().items() >= optimiser.items()

    whole = finetune(exp, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "must_stop", lambda trainer, stop: trainer.step == 2)
        with pytest.raises(StoppedEarly):
            finetune(exp, tmp_path / "parts")
    parts = finetune(exp, tmp_path / "parts")

    expected = load_checkpoint(whole)[0].state_dict()
    for key, value in load_checkpoint(parts)[0].state_dict().items():
        assert torch.equal(value, expected[key]), key


@pytest.mark.parametrize("name", [name for name in OTHERS if model_class(name).own_recipe])
def test_its_own_recipe_tests_every_frame_and_says_its_schedule(name: str) -> None:
    whole, small = (
        Experiment.preset(preset, "own").override({"model.name": name})
        for preset in ("base", "small")
    )
    every = 1 if model_class(name).output_frame(whole.model) is not None else whole.model.n_frames
    assert whole.data.test_stride <= every
    assert small.optim.schedule == whole.optim.schedule

    step = {"pstmo": 2, "stcformer": 3}.get(name, 1)
    assert (whole.data.frame_step, small.data.frame_step) == (step, 1)  # small: the preset's window


@every_system
def test_it_lifts_a_motion_of_any_length(name: str, trained: Callable[[str], Path]) -> None:
    lifter = load_lifter(trained(name))
    rng = np.random.default_rng(0)
    seen = np.concatenate([rng.uniform(0, 500, (T + 5, 17, 2)), np.ones((T + 5, 17, 1))], -1)
    pose = lifter(seen)
    assert pose.shape == (T + 5, 17, 3) and np.isfinite(pose).all()
    assert lifter(seen[:2]).shape == (2, 17, 3)

    part = lifter.part_and_spread(lambda a, b: seen[a:b], len(seen), 4, 7)[..., :3]
    if name != "anatomy3d":  # its bone lengths are those of the frames it is given
        np.testing.assert_allclose(part, pose[4:7], atol=1e-3)


def test_a_centre_frame_is_that_of_the_window_about_it(trained: Callable[[str], Path]) -> None:
    lifter = load_lifter(trained("videopose3d"))
    assert isinstance(lifter, SingleFrameLifter)
    seen = np.concatenate([np.random.default_rng(1).normal(0, 90, (T + 2, 17, 2))], -1)
    seen = np.concatenate([seen, np.ones((T + 2, 17, 1))], -1)
    pose = lifter(seen)

    np.testing.assert_allclose(pose[5], lifter.windows(seen[None, 1 : T + 1])[0, 0], atol=1e-3)
    first = seen[[0, 0, 0, 0, 0, 1, 2, 3, 4]]
    np.testing.assert_allclose(pose[0], lifter.windows(first[None])[0, 0], atol=1e-3)
    with pytest.raises(ConfigError, match="a stream needs a model that gives all frames"):
        next(stream_lines([], lifter, None, 25.0))  # type: ignore[arg-type]


def test_a_causal_network_lifts_the_newest_frame_of_its_window(home: Path, tmp_path: Path) -> None:
    causal = experiment("videopose3d", model__causal=True, run__max_steps=1)
    lifter = load_lifter(finetune(causal, tmp_path))
    xy = np.random.default_rng(1).normal(0, 90, (T, 17, 2))
    seen = np.concatenate([xy, np.ones((T, 17, 1))], axis=-1)
    np.testing.assert_allclose(lifter(seen)[-1], lifter.windows(seen[None])[0, 0], atol=1e-3)


@every_system
def test_the_counter_sees_all_of_it(name: str) -> None:
    settings = experiment(name).model
    counted, parts = count(settings), count_parts(settings)
    model = build_model(settings, path="reference").eval()
    assert counted.parameters == count_parameters(model)
    assert counted.macs == sum(p.macs for p in parts) and min(p.macs for p in parts) >= 0
    assert all(0 <= p.linear_macs <= p.macs for p in parts)
    with torch.no_grad():
        assert counted.n_frames == model(clips()).shape[1]


@every_system
def test_a_step_can_be_timed(name: str) -> None:
    exp = experiment(name)
    worker = Bench()
    for task in Options(quick=True).sizes_for(exp):
        worker.build(exp.to_dict(), task)
        assert worker.maker is not None and worker.maker(2)().isfinite()
        assert count_flops(exp, task) > 0


def test_what_a_system_has_not_is_not_timed() -> None:
    exp = experiment("mixste")
    Options(tasks=("train", "inference")).check_for(exp)
    for options, what in (
        (Options(tasks=("pretrain",)), "pretrain"),
        (Options(scaling=True), "--"),
        (Options(variants=("fast", "reference")), "reference"),
    ):
        with pytest.raises(ConfigError, match=f"{what}.* of model.name=dual_stream alone, got mix"):
            options.check_for(exp)

    for options in (Options(), Options(quick=True)):
        chosen = options.variants_for(exp)
        assert "fast" in chosen and "reference" not in chosen  # nothing to be faster than
        assert "reference" in options.variants_for(experiment(DUAL_STREAM))


@pytest.mark.parametrize("name", [name for name in OTHERS if not pretraining_class(name)])
def test_what_was_published_without_pre_training_has_none(name: str, home: Path) -> None:
    reason = f"model.name={name} was not; those with one are dual_stream, motionbert, pstmo$"
    with pytest.raises(ConfigError, match=f"^pre-training needs .*{reason}"):
        pretrain(experiment(name), home / "runs")
    with pytest.raises(ConfigError, match=f"^finetune.init=pretrained needs .*{reason}"):
        finetune(experiment(name, finetune__init="pretrained"), home / "runs")


@pytest.mark.parametrize("name", OTHERS)
def test_only_the_dual_stream_can_be_frozen(name: str, home: Path) -> None:
    with pytest.raises(ConfigError, match=f"finetune.freeze=encoder needs .*got {name}$"):
        finetune(experiment(name, finetune__freeze="encoder"), home / "runs")


@pytest.mark.parametrize("name", OTHERS)
def test_actions_are_recognised_by_what_has_an_encoder(
    name: str,
    tmp_path: Path,
    write_acted_store: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exp = experiment(name, data__name="acted", data__validation=False, action__hidden=8)
    if name not in ENCODERS:
        with pytest.raises(ConfigError, match="action recognition needs a model with an encoder"):
            train_action(exp, tmp_path / "runs")
        return

    monkeypatch.setenv("M2V_STORE", str(tmp_path / "stores"))
    write_acted_store(tmp_path / "stores")
    folder = train_action(exp, tmp_path / "runs")
    capsys.readouterr()
    assert main(["evaluate", str(folder)]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["top1"] == json.loads((folder / "result.json").read_text())["test"]["top1"]


@pytest.mark.parametrize("name", ENCODERS)
def test_a_pose_is_read_off_the_representation(name: str) -> None:
    model = build_model(experiment(name).model, seed=0).eval()
    with torch.no_grad():
        rep = model.encode(clips())
        torch.testing.assert_close(model.decode(rep), model(clips()))
    assert rep.shape == (4, T, 17, model.dim_rep)


def test_statistics_and_dictionary_come_from_the_training_frames(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[Tensor, Tensor]] = []
    monkeypatch.setattr(Lifter, "prepare", lambda model, x, pose: taken.append((x, pose)))
    finetune(experiment("videopose3d", run__max_steps=1), tmp_path)
    x_NJ3, pose_NJ3 = taken[0]
    assert x_NJ3.shape == pose_NJ3.shape == (len(x_NJ3), 17, 3)
    monkeypatch.undo()

    floor = build_model(experiment("simplebaseline").model, seed=0)
    floor.prepare(x_NJ3, pose_NJ3)
    z = (pose_NJ3.flatten(1) - floor.output_mean) / floor.output_std
    torch.testing.assert_close(z.mean(0), torch.zeros(51), atol=1e-3, rtol=0)
    torch.testing.assert_close(z[:, 3:].std(0), torch.ones(48), atol=0.02, rtol=0)

    poses = build_model(experiment("paa", model__dictionary="poses").model, seed=0)
    poses.prepare(x_NJ3, pose_NJ3)
    seed_SJ3: Any = poses.seed
    assert torch.equal(seed_SJ3[0], pose_NJ3[0]) and torch.equal(seed_SJ3[-1], pose_NJ3[-1])


@pytest.mark.parametrize("name", ["videopose3d", "stcformer", "poseformerv2"])
def test_onnx_holds_what_torch_computes(
    name: str, home: Path, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    """The others were tried by hand as well: all but D3DP export, some for half a minute."""
    for module in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason=f"no {module} here")
    runtime: Any = pytest.importorskip("onnxruntime")
    out = tmp_path / "x.onnx"
    assert main(["export", str(trained(name)), "--onnx", str(out)]) == 0

    session = runtime.InferenceSession(str(out))
    x = clips(3)
    model = load_checkpoint(trained(name))[0]
    with torch.no_grad():
        expected = model(x).numpy()
    np.testing.assert_allclose(
        session.run(["pose"], {"keypoints": x.numpy()})[0], expected, atol=1e-4
    )
    frames = "1: the centre frame" if expected.shape[1] == 1 else "frames"
    said = session.get_modelmeta().custom_metadata_map["pose"]
    assert said.startswith(f"(batch, {frames}, joints, 3)")


def test_onnx_refuses_noise(trained: Callable[[str], Path], tmp_path: Path) -> None:
    for module in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(module, reason=f"no {module} here")
    assert main(["export", str(trained("d3dp")), "--onnx", str(tmp_path / "x.onnx")]) != 0
    assert not list(tmp_path.iterdir())


def test_predictions_of_a_centre_frame_are_mirrored_too() -> None:
    model = build_model(experiment("poseformer").model, seed=0).eval()
    x = clips(2)
    pose = predict(model, x, flip_test=True)
    assert pose.shape == (2, 1, 17, 3) and not pose[:, :, 0].any()
    assert not torch.equal(pose, predict(model, x, flip_test=False))
