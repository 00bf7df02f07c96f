"""`m2v lift INPUT -o OUT` and what else is about a model that lifts: `m2v export`, `m2v evaluate
--lift`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from m2v_lib.config import ConfigError
from m2v_lib.data.checks import DataError, printable
from m2v_lib.data.limits import MAX_MESSAGE, MAX_TIMELINE_FRAMES
from m2v_lib.lift import UP_IS_OPEN, WRITERS, ending_of, writer_of
from m2v_lib.lift.motion import SMOOTH_HZ

if TYPE_CHECKING:
    from m2v_lib.lift.people import Motion


#: these begin with the recording's first frame, whenever somebody is first seen
FROM_FIRST_FRAME: Final = (".bvh", ".trc", ".glb", ".coco.json", ".mp4", ".gif", ".html")
#: options that a stream cannot obey
ONLY_OF_FILES: Final = ("joints", "detector", "start", "end")
#: how other programs take a file whose format does not say it, by ending and upward axis
IMPORT_HINTS: Final = {
    (".bvh", "y"): "lengths are mm; into Blender with scale 0.001, -Z forward, Y up",
    (".bvh", "z"): "lengths are mm; into Blender with scale 0.001, Y forward, Z up",
}


def add_options(command: argparse.ArgumentParser) -> None:
    """INPUT, -o and what the files may not say."""
    command.add_argument(
        "input",
        metavar="INPUT",
        help="keypoints: a file of any detector, a folder with one a frame; "
        "a video; or - for a stream, lines from stdin to lines on stdout",
    )
    command.add_argument(
        "-o",
        dest="out",
        type=Path,
        nargs="+",
        default=[],
        metavar="OUT",
        help=f"files to write, by their ending: {', '.join(WRITERS)}",
    )
    command.add_argument(
        "--model", type=Path, metavar="RUN", help="run folder (default: the model of the package)"
    )
    command.add_argument("--size", metavar="WxH", help="size of the image, such as 1280x720")
    command.add_argument("--fps", type=float, help="frames a second of the recording")
    command.add_argument("--layout", help="which keypoints these are, such as coco17")
    command.add_argument(
        "--joints",
        help="of a network for any skeleton: the joints to write, a known skeleton, a YAML file or all "
        "(default: those of the layout); what was not seen is predicted and marked",
    )
    command.add_argument(
        "--focal", type=float, metavar="PX", help="focal length (default: 1.145 x the longer side)"
    )
    command.add_argument(
        "--fov", type=float, metavar="DEGREES", help="or, in its place, the view across the width"
    )
    command.add_argument(
        "--distortion",
        metavar="K1,K2,P1,P2,K3",
        help="the lens's, in OpenCV's order, with --focal or --fov (default: none)",
    )
    command.add_argument(
        "--stature", type=float, metavar="M", help="how tall the people are (default: 1.70)"
    )
    command.add_argument(
        "--smooth",
        type=smoothing,
        default=SMOOTH_HZ,
        metavar="HZ|off",
        help=f"frequency of which smoothing leaves half (default: {SMOOTH_HZ:g}); off: motion as "
        "the network gives it, with constant bones",
    )
    command.add_argument(
        "--latency", type=int, metavar="N", help="of a stream, in frames (default: 0.26 s)"
    )
    command.add_argument("--device", default="cpu")
    add_video_options(command)
    command.add_argument(
        "--up",
        choices=("y", "z"),
        default="y",
        help=f"the upward axis of {' and '.join(UP_IS_OPEN)}; the other formats say their own",
    )
    command.set_defaults(command=run)


def smoothing(text: str) -> float | None:
    """The value of --smooth: Hz, or None for off."""
    return None if text == "off" else float(text)


def add_video_options(command: argparse.ArgumentParser) -> None:
    """What is of videos alone."""
    group = command.add_argument_group("a video")
    group.add_argument(
        "--detector",
        metavar="NAME",
        help="mediapipe (default), rtmlib, ultralytics, or a command that writes a file or folder of "
        "keypoints, such as 'openpose --video {video} --write_json {out}'",
    )
    group.add_argument("--start", type=float, metavar="SECONDS", help="where to begin")
    group.add_argument("--end", type=float, metavar="SECONDS", help="where to end")


def run(args: argparse.Namespace) -> int:
    """Lift, write, and say in a line a person what came out."""
    from m2v_lib.data.sources.unlabelled import parse_size
    from m2v_lib.lift import lift, save
    from m2v_lib.lift.lens import parse_distortion
    from m2v_lib.lift.report import filled_in

    if args.input == "-":
        return _stream(args)
    if not args.out:
        raise DataError(f"{args.input}: no file to write, name one with -o")
    if args.latency is not None:
        raise DataError("--latency is of a stream (m2v lift -), of a file it must be left out")

    check_outputs(args.input, args.out)
    motion = lift(
        args.input,
        model=args.model,
        size=parse_size(args.size),
        fps=args.fps,
        layout=args.layout,
        focal=args.focal,
        fov=args.fov,
        distortion=parse_distortion(args.distortion) if args.distortion else (),
        stature=args.stature,
        joints=args.joints,
        smooth=args.smooth,
        device=args.device,
        detector=args.detector,
        start=args.start,
        end=args.end,
    )
    for out in args.out:
        check_timeline(out, motion)

    for note in (*motion.notes, *motion.warnings):
        print(f"m2v: {printable(note, MAX_MESSAGE)}", file=sys.stderr)

    for label, text in motion.report.items():
        print(f"{label}: {printable(text, MAX_MESSAGE)}")

    for person in motion.people:
        last = person.start + person.n_frames - 1
        print(
            f"person {person.name}: frames {person.start} to {last}, "
            f"{filled_in(person, motion.absent).mean():.0%} of joints filled in"
        )

    for out in args.out:
        print(*save(motion, out, up=args.up), sep="\n")
        if hint := IMPORT_HINTS.get((ending_of(out), args.up)):
            print(f"m2v: {out}: {hint}", file=sys.stderr)

    return 0


def check_outputs(source: str, outs: Sequence[Path]) -> None:
    """Say before the work what would fail after it, and never write over the input."""
    from m2v_lib.lift.output.film import check_packages, write_film

    read = Path(source).resolve()
    for out in outs:
        if writer_of(out) is write_film:
            check_packages(out)
        if out.is_dir():
            raise DataError(f"{out}: is a folder, expected the name of a file to write")
        if out.resolve() == read or read in out.resolve().parents:
            raise DataError(f"{out}: would overwrite or lie in the input, name another file")

    if len({out.resolve() for out in outs}) < len(outs):
        raise DataError(f"-o must name each file once, got {', '.join(map(str, outs))}"[:300])


def check_timeline(out: Path, motion: Motion) -> None:
    """Refuse, before any file is written, one that would count millions of empty frames."""
    last = max([motion.n_frames, *(p.start + p.n_frames for p in motion.people)])
    if ending_of(out) in FROM_FIRST_FRAME and last > MAX_TIMELINE_FRAMES:
        raise DataError(
            f"{out}: must have at most {MAX_TIMELINE_FRAMES} frames, the recording counts to {last}"
        )


def refuse_for_stream(args: argparse.Namespace) -> None:
    """Raise DataError for options that a stream would not obey."""
    given = [name for name in ONLY_OF_FILES if getattr(args, name) is not None]
    given += ["smooth"] if args.smooth not in (None, SMOOTH_HZ) else []
    given += ["up"] if args.up != "y" else []
    if given:
        names = " and ".join(f"--{name}" for name in given)
        raise DataError(f"{names} must be left out of a stream (m2v lift -), it is for files")


def _stream(args: argparse.Namespace) -> int:
    """Lines from stdin to lines on stdout, each as soon as it is known."""
    from m2v_lib.data.sources.unlabelled import parse_size
    from m2v_lib.lift import check_lens
    from m2v_lib.lift.camera import STATURE, assumed_camera, focal_of_view
    from m2v_lib.lift.stream import stream_lines
    from m2v_lib.lift.windows import load_lifter

    size = parse_size(args.size)
    if size is None or args.fps is None or args.out:
        raise DataError(
            "a stream needs --size 1280x720 and --fps 25, and writes to stdout, not to -o"
        )

    refuse_for_stream(args)
    if args.distortion:
        raise DataError("a stream takes keypoints without distortion, --distortion is for files")
    check_lens(args.focal, args.fov, ())
    focal = args.focal if args.fov is None else focal_of_view(args.fov, size[0])
    lifter, camera = load_lifter(args.model, args.device), assumed_camera(*size, focal)
    for line in stream_lines(
        sys.stdin,
        lifter,
        camera,
        args.fps,
        layout=args.layout,
        latency=args.latency,
        stature=STATURE if args.stature is None else args.stature,
        note=lambda text: print(f"m2v: {text}", file=sys.stderr),
    ):
        print(line, flush=True)

    return 0


def add_export_options(command: argparse.ArgumentParser) -> None:
    """RUN and what to make of it."""
    command.add_argument(
        "run",
        type=Path,
        nargs="?",
        help="run folder, or its weights (default: the package's model)",
    )
    command.add_argument(
        "--onnx", type=Path, metavar="FILE", help="encoder and pose head as ONNX, any batch size"
    )
    command.add_argument(
        "--weights", action="store_true", help="make the run the model that comes with the package"
    )
    command.set_defaults(command=export)


def export(args: argparse.Namespace) -> int:
    """Write what is asked for and say where."""
    from m2v_lib import weights

    if not args.weights and not args.onnx:
        raise ConfigError("nothing to write; name a file (--onnx FILE)")

    if args.weights:
        if args.run is None:
            raise ConfigError(
                "--weights needs a run: m2v export reports/runs/finetune-mocap-... --weights"
            )
        print(*weights.put(args.run), sep="\n")

    if args.onnx:
        from m2v_lib.export.onnx import export_onnx

        off = export_onnx(args.run or weights.own_weights(), args.onnx)
        print(f"{args.onnx}: under onnxruntime at most {off:.1g} from torch")

    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Errors of lifting at any rate and length, to the file `args.lift`."""
    from m2v_lib.data.store import open_store
    from m2v_lib.lift.accuracy import accuracy
    from m2v_lib.runs.records import write_json

    write_json(
        args.lift,
        accuracy(args.run, open_store(args.data or "mocap"), say=partial(print, flush=True)),
    )
    print(args.lift)

    return 0


def evaluate_motion(args: argparse.Namespace) -> int:
    """What the treatment of motion is worth, to the file `args.motion`."""
    from m2v_lib.data.store import open_store
    from m2v_lib.lift.motion.measure import measure
    from m2v_lib.runs.records import write_json

    say = partial(print, flush=True)
    write_json(args.motion, measure(args.run, open_store(args.data or "mocap"), say=say))
    print(args.motion)

    return 0
