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
    evaluate.add_argument("run", type=Path, help="run folder, or its weights.safetensors")
    evaluate.add_argument("--data", help="store to evaluate on (default: the run's own)")
    evaluate.add_argument("--split", choices=("test", "val"), default="test")
    evaluate.add_argument("--device", default="cpu")
    evaluate.add_argument(
        "--skeleton",
        help="of a network for any skeleton: the joints to evaluate (default: its own)",
    )
    evaluate.add_argument(
        "--frames",
        type=int,
        help="of a network for any length: frames it sees at once (default: its own); ends of videos "
        "are padded",
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
    evaluate.set_defaults(command=_evaluate)


def _evaluate(args: argparse.Namespace) -> int:
    import torch

    folder = args.run if args.run.is_dir() else args.run.parent
    if folder.name.startswith("action-"):
        return _evaluate_action(args)
    if args.lift:
        return lifting.evaluate(args)
    if args.cameras == "grid":
        return _evaluate_grid(args)

    from m2v_lib.data.store import open_store
    from m2v_lib.evaluation.protocols import evaluate_lifting
    from m2v_lib.training.checkpoint import load_checkpoint
    from m2v_lib.training.clip_loader import ClipLoader, check_skeleton

    device = torch.device(args.device)
    model, exp = load_checkpoint(args.run, device=args.device)
    exp = _as_asked(exp, args)
    store = open_store(exp.data.name)
    choice = check_skeleton(exp, store)[0]
    clips = choice.clips(ClipLoader().evaluation(exp, store, args.split, device))
    print(json.dumps(evaluate_lifting(model, clips, flip_test=exp.finetune.flip_test), indent=1))

    return 0


def _as_asked(exp: Experiment, args: argparse.Namespace) -> Experiment:
    """The run's experiment with the data, joints and frames that are to be evaluated."""
    changes: dict[str, Any] = {"data.name": args.data or exp.data.name}
    if args.skeleton:
        if getattr(exp.model, "joint_embedding", "order") != "name":
            raise ConfigError(
                f"--skeleton needs a network for any skeleton (model.joint_embedding=name), {args.run} "
                f"is bound to {exp.model.skeleton}"
            )
        changes |= {"data.skeletons": args.skeleton, "model.skeleton": args.skeleton}

    if args.frames is not None:
        changes |= {
            "model.n_frames": args.frames,
            "data.test_stride": args.frames,
            "data.lengths": "",
            "data.short_videos": "pad",
        }
    return exp.override(changes)


def _evaluate_grid(args: argparse.Namespace) -> int:
    from m2v_lib.evaluation.camera_grid import evaluate_run

    found = evaluate_run(args.run, args.data, split=args.split, device=args.device)
    print(json.dumps(found, indent=1))
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
