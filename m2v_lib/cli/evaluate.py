"""`m2v evaluate`: errors of a trained model on a prepared data set."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.lift import command as lifting


def add(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate", help="errors of a trained model on a prepared data set"
    )
    evaluate.add_argument(
        "run", type=Path, nargs="?", help="run folder, or its weights.safetensors"
    )
    evaluate.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="instead of a run: a checkpoint of a comparison system's authors, with --model",
    )
    evaluate.add_argument("--model", metavar="NAME", help="of --weights: which system's it is")
    evaluate.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of --weights: what the file does not tell, such as model.n_heads=8",
    )
    evaluate.add_argument("--data", help="store to evaluate on (default: the run's own)")
    evaluate.add_argument("--split", choices=("test", "val"), default="test")
    evaluate.add_argument("--device", default="cpu")
    evaluate.add_argument(
        "--skeleton",
        nargs="+",
        help="of a network for any skeleton: the joints to evaluate (default: its own)",
    )
    evaluate.add_argument(
        "--frames",
        nargs="+",
        type=int,
        help="of a network for any length: how many frames it sees at once (default: its own); ends "
        "of videos are padded",
    )
    evaluate.add_argument(
        "--given",
        help="with --skeleton: the joints that the network is given, a known skeleton; the others are "
        "hidden from it",
    )
    evaluate.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="with --skeleton or --frames: add the errors to the record in this folder; with "
        "--cameras grid: write them there, grid.json",
    )
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
    evaluate.add_argument(
        "--motion",
        type=Path,
        metavar="FILE",
        help="instead: to a JSON file, what bones of constant length, smoothing, standing feet and "
        "a found floor are worth on motion capture (3 minutes)",
    )
    evaluate.set_defaults(command=_evaluate)


def _evaluate(args: argparse.Namespace) -> int:
    from m2v_lib.models.device import usable_device
    from m2v_lib.training.checkpoint import load_checkpoint

    usable_device(args.device)
    if args.weights:
        return _evaluate_weights(args)
    if args.run is None or args.model or args.settings:
        raise ConfigError("m2v evaluate: a run must be given, or --weights FILE with --model NAME")

    folder = args.run if args.run.is_dir() else args.run.parent
    if folder.name.startswith("action-"):
        return _evaluate_action(args)
    if args.lift:
        return lifting.evaluate(args)
    if args.motion:
        return lifting.evaluate_motion(args)
    if args.cameras == "grid":
        return _evaluate_grid(args)

    if args.skeleton or args.frames:
        return _evaluate_each(args)

    model, exp = load_checkpoint(args.run, device=args.device)
    exp = exp.override({"data.name": args.data or exp.data.name})
    print(json.dumps(_errors(model, exp, args), indent=1))

    return 0


def _evaluate_weights(args: argparse.Namespace) -> int:
    """A checkpoint of a system's authors, by their unit and metric frame."""
    from m2v_lib.cli.options import pair
    from m2v_lib.data.store import open_store
    from m2v_lib.evaluation.authors_weights import evaluate_authors_weights
    from m2v_lib.models.authors_files import load_baseline

    if args.run is not None or not args.model:
        raise ConfigError("--weights must come with --model NAME and without a run")

    settings = dict(pair(text) for text in args.settings)
    model = load_baseline(
        args.model,
        args.weights,
        **{key.removeprefix("model."): value for key, value in settings.items()},
    )
    store = open_store(args.data or "h36m")
    found = evaluate_authors_weights(model, store, args.split, device=args.device)
    head = {"model": args.model, "data": store.meta.name, "protocol": store.meta.protocol}
    head |= {"unit": model.output_unit, "root": model.root_in_figure}
    print(json.dumps(head | found, indent=1))

    return 0


def _errors(model: Any, exp: Experiment, args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from m2v_lib.data.store import open_store
    from m2v_lib.evaluation.protocols import evaluate_lifting
    from m2v_lib.skeletons import skeleton_of
    from m2v_lib.training.clip_loader import ClipLoader, check_skeleton

    store = open_store(exp.data.name)
    choice = check_skeleton(exp, store)[0]
    given = skeleton_of(args.given) if args.given else choice.skeleton
    clips = choice.clips(ClipLoader().evaluation(exp, store, args.split, torch.device(args.device)))
    hidden = [w not in given.vocabulary for w in choice.skeleton.vocabulary]
    clips.input_nJ3[:, torch.tensor(hidden)] = 0.0
    found = evaluate_lifting(model, clips, flip_test=exp.finetune.flip_test)
    if not any(hidden):
        return found

    errors = zip(choice.skeleton.joints, found["per_joint"], hidden, strict=True)
    return found | {"hidden": {joint: error for joint, error, unseen in errors if unseen}}


def _evaluate_each(args: argparse.Namespace) -> int:
    """Each skeleton with each number of frames."""
    from m2v_lib.runs.records import load_record
    from m2v_lib.training.checkpoint import load_checkpoint

    model, exp = load_checkpoint(args.run, device=args.device)
    if args.skeleton and getattr(exp.model, "joint_embedding", "order") != "name":
        raise ConfigError(
            f"--skeleton needs a network for any skeleton (model.joint_embedding=name), {args.run} is "
            f"bound to {exp.model.skeleton}"
        )
    if args.keep:
        load_record(args.keep)

    for skeleton in args.skeleton or [exp.model.skeleton]:
        for frames in args.frames or [exp.model.n_frames]:
            asked = exp.override(_as_asked(exp, args, skeleton, frames))
            head = {"skeleton": skeleton, "frames": frames, "data": asked.data.name}
            head |= {"split": args.split, "given": args.given or ""}
            found = {**head, **_errors(model, asked, args)}
            shown = (*head, "mpjpe", "hidden")
            print(json.dumps({k: v for k, v in found.items() if k in shown}), flush=True)
            if args.keep:
                _keep(args.keep, head, found | {"device": args.device})

    return 0


def _keep(record: Path, head: dict[str, Any], found: dict[str, Any]) -> None:
    """Add errors to those that the record has, in place of older ones of the same question."""
    from m2v_lib.results.any_skeleton import EVALUATIONS
    from m2v_lib.runs.records import commit, write_json

    file = record / EVALUATIONS
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    others = [line for line in kept if any(line.get(k) != v for k, v in head.items())]
    line = {k: v for k, v in found.items() if not k.startswith("per_")}
    write_json(file, [*others, {**line, "commit": commit()}])


def _as_asked(
    exp: Experiment, args: argparse.Namespace, skeleton: str, frames: int
) -> dict[str, Any]:
    """What changes in the run's experiment for these joints and frames."""
    changes = {
        "data.name": args.data or exp.data.name,
        "model.skeleton": skeleton,
        "model.n_frames": frames,
        "data.test_stride": frames,
        "data.lengths": "",
        "data.short_videos": "pad",
    }
    return {**changes, "data.skeletons": skeleton} if args.skeleton else changes


def _evaluate_grid(args: argparse.Namespace) -> int:
    from m2v_lib.evaluation.camera_grid import evaluate_run
    from m2v_lib.runs.records import commit, load_record, write_json
    from m2v_lib.weights import GRID, name_of

    if args.keep:
        load_record(args.keep)

    found = evaluate_run(args.run, args.data, split=args.split, device=args.device)
    found = {"model": name_of(args.run), **found, "device": args.device, "commit": commit()}
    print(json.dumps(found, indent=1))
    if args.keep:
        write_json(args.keep / GRID, found)
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
