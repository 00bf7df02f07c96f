"""The command line `m2v`. Each command is a thin call of the library; `m2v COMMAND --help` says
what it takes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from m2v_lib.config import PRESETS, RECIPES, ConfigError, Experiment
from m2v_lib.lift import command as lifting
from m2v_lib.runs.records import RESUME_EXIT_CODE, StoppedEarly

Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. A mistake of the user prints one sentence and returns 2; a failed
    notebook returns 1; training that stopped at a checkpoint returns RESUME_EXIT_CODE (75): the
    same command goes on.
    """
    args = parser().parse_args(argv)
    command: Command = args.command
    try:
        return command(args)
    except (
        ValueError,
        OSError,
    ) as error:  # ConfigError, DataError and CheckpointError are ValueErrors
        print(f"m2v: {error}", file=sys.stderr)
        return 2
    except StoppedEarly as stopped:
        print(f"m2v: {stopped}", file=sys.stderr)
        return RESUME_EXIT_CODE


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="m2v", description="Motion2vec: prepare data, train, evaluate, report."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    data = commands.add_parser(
        "data", help="prepare data sets, list what is prepared"
    ).add_subparsers(required=True)
    prepare = data.add_parser("prepare", help="make a store from a data set's published files")
    prepare.add_argument(
        "name",
        help="kind of data (synthetic, mocap, h36m, mpi_inf_3dhp, ntu60, keypoints) or a name of your own",
    )
    prepare.add_argument(
        "--source",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="its files or folders; their layout is "
        "found by content (default: the known names under $M2V_DATA)",
    )
    prepare.add_argument("--name", dest="store_name", help="name of the store, if not NAME")
    prepare.add_argument(
        "--test-subjects", nargs="+", metavar="SUBJECT", help="who tests, in motion capture"
    )
    prepare.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the kind of data, such as scale=released",
    )
    prepare.set_defaults(command=_data_prepare)
    export = data.add_parser(
        "export", help="write a store in the layout its data set is published in"
    )
    export.add_argument("store", help="name of a prepared store")
    export.add_argument(
        "--as", dest="form", required=True, help="h36m-sh, h36m-npz, h36m-clips, 3dhp or ntu60"
    )
    export.add_argument("-o", dest="out", type=Path, required=True, metavar="FOLDER")
    export.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    export.set_defaults(command=_data_export)
    data.add_parser("list", help="prepared stores").set_defaults(command=_data_list)

    for name, text, command in (
        ("pretrain", "stage 1: masked prediction of the teacher's representations", _pretrain),
        ("finetune", "stage 2: lift 2D to 3D, then evaluate", _finetune),
        ("action", "action recognition: train the classifier, then evaluate", _action),
    ):
        stage = commands.add_parser(name, help=text)
        _add_experiment(stage)
        stage.add_argument(
            "--keep-record", action="store_true", help="copy the run's record to reports/records"
        )
        stage.set_defaults(command=command)

    evaluate = commands.add_parser(
        "evaluate", help="errors of a trained model on a prepared data set"
    )
    evaluate.add_argument("run", type=Path, help="run folder, or its weights.safetensors")
    evaluate.add_argument("--data", help="store to evaluate on (default: the run's own)")
    evaluate.add_argument("--split", choices=("test", "val"), default="test")
    evaluate.add_argument("--device", default="cpu")
    evaluate.add_argument(
        "--cameras",
        choices=("own", "grid"),
        default="own",
        help="grid: instead, by a fixed grid of cameras that no training saw (motion capture)",
    )
    evaluate.add_argument(
        "--lift",
        type=Path,
        metavar="FILE",
        help="instead: to a JSON file, how far off `m2v lift` "
        "is at any rate and length of motion capture, a fifth of the joints missing",
    )
    evaluate.set_defaults(command=_evaluate)

    notebook = commands.add_parser(
        "notebook", help="run one notebook with parameters, through papermill"
    )
    notebook.add_argument("notebook", type=Path)
    notebook.add_argument("out", type=Path)
    notebook.add_argument("-p", dest="parameters", action="append", default=[], metavar="KEY=VALUE")
    notebook.set_defaults(command=_notebook)

    queue = commands.add_parser(
        "queue", help="the real runs wanted on motion capture: list them, or run what is left"
    )
    queue.add_argument(
        "--preset", choices=PRESETS, default="base", help="default: base; small has a step budget"
    )
    queue.add_argument("--data", default="mocap", help="prepared data set; default: mocap")
    queue.add_argument("--device", default="cpu")
    queue.add_argument(
        "--run", action="store_true", help="run them one after another, most wanted first"
    )
    queue.add_argument(
        "--max-minutes",
        type=float,
        default=0.0,
        metavar="M",
        help="stop at a checkpoint after M min",
    )
    queue.add_argument(
        "--compile",
        action="store_true",
        help="with torch.compile: faster steps after a minute's start",
    )
    queue.set_defaults(command=_queue)

    lifting.add_options(
        commands.add_parser("lift", help="3D motion from 2D keypoints of any detector")
    )
    lifting.add_export_options(
        commands.add_parser("export", help="a trained model as ONNX, or as the package's own")
    )

    bench = commands.add_parser(
        "bench", help="time, memory and speed-up of a step, both paths side by side"
    )
    bench.add_argument(
        "--config", type=Path, help="YAML file of settings; the options below change it"
    )
    bench.add_argument("--preset", choices=PRESETS, help="default: smoke")
    bench.add_argument("--recipe", choices=RECIPES, help="default: paper")
    bench.add_argument("--device", help="cpu (default), cuda, cuda:1 ...")
    bench.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads of each variant; default: torch's choice",
    )
    bench.add_argument(
        "--variants",
        nargs="+",
        default=(),
        metavar="V",
        help="reference fast fast-compiled fast-bf16 "
        "fast-bf16-compiled; default: all, of a large model on a CPU the first three",
    )
    bench.add_argument(
        "--tasks",
        nargs="+",
        default=(),
        metavar="TASK",
        help="train pretrain inference; default: all",
    )
    bench.add_argument(
        "--batch",
        type=int,
        nargs="+",
        default=(),
        metavar="B",
        help="sizes at which all variants are "
        "compared; default: the preset's, on a GPU also 32, of a large model on a CPU 1",
    )
    bench.add_argument(
        "--max-batch",
        type=int,
        metavar="B",
        help="largest of the sizes 1, 2, 4 ... that the eager "
        "variants go through; default: 32 on a CPU, 4096 on a GPU; 0 for none",
    )
    bench.add_argument(
        "--max-memory", type=float, metavar="GIB", help="a step's most; default: 4 on a CPU"
    )
    bench.add_argument(
        "--max-seconds",
        type=float,
        metavar="S",
        help="a step's most; default: 2 on a CPU, 10 on a GPU",
    )
    bench.add_argument(
        "--rounds",
        type=int,
        metavar="N",
        help="repetitions of each variant; default: 7, fewer if slow",
    )
    bench.add_argument(
        "--scaling",
        action="store_true",
        help="instead: cost against frames, blocks, features, batch",
    )
    bench.add_argument(
        "--quick", action="store_true", help="seconds; shows that all works, the times mean nothing"
    )
    bench.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="default: reports/records; of a quick run the runs",
    )
    bench.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    bench.set_defaults(command=_bench, data=None, seed=None, devices=None, max_minutes=None)

    report = commands.add_parser("report", help="build the book from what has run")
    report.add_argument("--suite", help="DATA-PRESET-RECIPE of the suite to show")
    report.set_defaults(command=_report)
    return top


def _add_experiment(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config", type=Path, help="YAML file of settings; the options below change it"
    )
    command.add_argument("--preset", choices=PRESETS, help="default: smoke")
    command.add_argument("--recipe", choices=RECIPES, help="default: paper")
    command.add_argument("--data", help="prepared data set; default: synthetic")
    command.add_argument("--seed", type=int)
    command.add_argument("--device", help="cpu (default), cuda, cuda:1 ...")
    command.add_argument(
        "--devices", type=int, metavar="N", help="train one run in N processes, one a device"
    )
    command.add_argument(
        "--max-minutes",
        type=float,
        metavar="M",
        help=f"stop at a checkpoint after M minutes with exit code {RESUME_EXIT_CODE}",
    )
    command.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")


def experiment_of(args: argparse.Namespace) -> Experiment:
    """The experiment that the options describe. Raises ConfigError."""
    if args.config:
        if args.preset or args.recipe:
            raise ConfigError(
                "--config names its own preset and recipe; leave out --preset and --recipe"
            )
        exp = Experiment.from_yaml(args.config)
    else:
        exp = Experiment.preset(args.preset or "smoke", recipe=args.recipe or "paper")
    changes = dict(_pair(text) for text in args.settings)
    given = {
        "data.name": args.data,
        "run.seed": args.seed,
        "run.device": args.device,
        "run.devices": args.devices,
        "run.max_minutes": args.max_minutes,
    }
    changes |= {key: value for key, value in given.items() if value is not None}
    return exp.override(changes)


def _pair(text: str) -> tuple[str, Any]:
    """`key=value`, the value read as JSON, else as YAML: 3, 1e-3, true, text, {"a": 1}, {a: 1}."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"expected KEY=VALUE, got {text!r}")
    with contextlib.suppress(json.JSONDecodeError):  # YAML 1.1 takes 1e-3 for text
        return key, json.loads(value)
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{key}: {value!r} is not a value ({str(error).splitlines()[0]})"
        ) from error


def _data_prepare(args: argparse.Namespace) -> int:
    from m2v_lib.data import prepare
    from m2v_lib.data.sources.readers import READERS

    options = {"test_subjects": args.test_subjects, **dict(_pair(text) for text in args.settings)}
    kind = args.name if args.name in READERS else None
    print(prepare(args.store_name or args.name, kind=kind, source=args.source, **options))
    return 0


def _data_export(args: argparse.Namespace) -> int:
    from m2v_lib.data.export import export_store

    for path in export_store(
        args.store, args.form, args.out, **dict(_pair(text) for text in args.settings)
    ):
        print(path)
    return 0


def _data_list(args: argparse.Namespace) -> int:
    from m2v_lib.data.store import default_root, list_stores
    from m2v_lib.data.store.action_store import list_action_stores

    found: list[tuple[Any, str]] = [
        (store.meta, f"{store.meta.fps:g} fps") for store in list_stores()
    ]
    found += [(store.meta, "actions") for store in list_action_stores()]
    for meta, what in found:
        print(f"{meta.name:16} {meta.protocol:24} {what}  {meta.fingerprint[:12]}")
    if not found:
        print(f"no store under {default_root()}; make one with `m2v data prepare synthetic`")
    return 0


def _pretrain(args: argparse.Namespace) -> int:
    from m2v_lib.training.pretrain import pretrain

    return _trained(args, pretrain(experiment_of(args)))


def _finetune(args: argparse.Namespace) -> int:
    from m2v_lib.training.finetune import finetune

    folder = finetune(experiment_of(args))
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    test = result["test"]
    percent = f", PCK {test['pck']:.1f} %, AUC {test['auc']:.1f} %" if "pck" in test else ""
    return _trained(
        args,
        folder,
        f"test MPJPE {test['mpjpe']:.1f} mm, P-MPJPE {test['p_mpjpe']:.1f} mm{percent}",
    )


def _action(args: argparse.Namespace) -> int:
    from m2v_lib.training.action import train_action

    folder = train_action(experiment_of(args))
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    test, floor = result["test"], result["baselines"]["majority"]
    protocol = {"xsub": "X-Sub", "xview": "X-View"}[result["data"]["split"]]
    said = f"{protocol} top-1 {test['top1']:.1f} %, top-5 {test['top5']:.1f} %"
    return _trained(args, folder, f"{said}; always {floor['class']} would be {floor['top1']:.1f} %")


def _trained(args: argparse.Namespace, folder: Path, *said: str) -> int:
    from m2v_lib.runs.records import keep_record
    from m2v_lib.training.distributed import should_report

    if not should_report():
        return 0
    print(*said, folder, sep="\n")
    if args.keep_record:
        print(keep_record(folder, Path("reports/records")))
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    import torch

    folder = args.run if args.run.is_dir() else args.run.parent
    if folder.name.startswith("action-"):
        return _evaluate_action(args)
    if args.lift:
        return lifting.evaluate(args)
    if args.cameras == "grid":
        from m2v_lib.evaluation.camera_grid import evaluate_run

        found = evaluate_run(args.run, args.data, split=args.split, device=args.device)
        print(json.dumps(found, indent=1))
        return 0
    from m2v_lib.data.clips import evaluation_clips
    from m2v_lib.data.store import open_store
    from m2v_lib.evaluation.protocols import evaluate_lifting
    from m2v_lib.training.checkpoint import load_checkpoint

    device = torch.device(args.device)
    model, exp = load_checkpoint(args.run, device=args.device)
    clips = evaluation_clips(
        open_store(args.data or exp.data.name),
        args.split,
        exp.model.n_frames,
        exp.data.test_stride,
        input_2d=exp.data.input_2d,
        device=device,
    )
    print(json.dumps(evaluate_lifting(model, clips, flip_test=exp.finetune.flip_test), indent=1))
    return 0


def _evaluate_action(args: argparse.Namespace) -> int:
    from m2v_lib.data.action_clips import make_samples
    from m2v_lib.data.actions import open_actions
    from m2v_lib.evaluation.protocols import evaluate_action
    from m2v_lib.training.action import load_action

    if args.split == "val":
        raise ConfigError(
            f"{args.run}: action recognition has no validation people; leave out --split"
        )
    model, exp = load_action(args.run, device=args.device)
    samples = make_samples(
        open_actions(args.data or exp.data.name).data,
        exp.action.split,
        n_frames=exp.model.n_frames,
        n_persons=exp.action.n_persons,
        confidence=exp.action.confidence,
        device=args.device,
    )
    print(json.dumps(evaluate_action(model, samples["test"])))
    return 0


def _notebook(args: argparse.Namespace) -> int:
    from m2v_lib.experiments.run_notebook import run_notebook

    return run_notebook(args.notebook, args.out, dict(_pair(text) for text in args.parameters))


def _queue(args: argparse.Namespace) -> int:
    from m2v_lib.data.store import open_store
    from m2v_lib.experiments.queue import items
    from m2v_lib.experiments.queue.run import Queue, listing, run_queue
    from m2v_lib.runs.records import find_records, project_root, runs_root

    kept = project_root() / "reports" / "records"
    queue = Queue(items(args.preset, args.data), runs_root(), kept)
    if args.run:
        open_store(args.data)  # one sentence now and not one a run
        settings = {"run.device": args.device, **({"run.compile": True} if args.compile else {})}
        return run_queue(queue, settings, max_minutes=args.max_minutes)
    print(listing(queue, find_records(runs_root(), kept), args.device.partition(":")[0]))
    return 0


def _bench(args: argparse.Namespace) -> int:
    from m2v_lib.bench import Options, bench

    exp = experiment_of(args)
    if args.threads is not None:
        exp = exp.override({"run.threads": args.threads})
    options = Options(
        variants=args.variants,
        tasks=args.tasks,
        batches=args.batch,
        max_batch=args.max_batch,
        max_memory=args.max_memory,
        max_seconds=args.max_seconds,
        rounds=args.rounds,
        scaling=args.scaling,
        quick=args.quick,
    )
    folder = bench(exp, options, out=args.out, say=partial(print, flush=True))
    print((folder / "bench.md").read_text(encoding="utf-8"))
    print(folder)
    return 0


def _report(args: argparse.Namespace) -> int:
    from m2v_lib.report import build

    print(build(suite=args.suite) if args.suite else build())
    return 0


if __name__ == "__main__":
    sys.exit(main())
