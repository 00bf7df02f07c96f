"""The command line `m2v`. Each command is a thin call of the library; `m2v COMMAND --help` says
what it takes.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from typing import Final

from m2v_lib import __version__
from m2v_lib.cli import (
    bench,
    chapters,
    data,
    evaluate,
    queue,
    report,
    rerun,
    rows,
    runs,
    table,
    train,
)
from m2v_lib.cli.examples import add_examples
from m2v_lib.data.checks import printable
from m2v_lib.errors import InputError, report_missing_package, report_unexpected
from m2v_lib.lift import command as lifting
from m2v_lib.runs.records import RESUME_EXIT_CODE, StoppedEarly

Command = Callable[[argparse.Namespace], int]

#: What a shell shows for a command that SIGPIPE ended.
BROKEN_PIPE_EXIT_CODE: Final = 141
#: A value that is no option although it begins with a minus.
NEGATIVE: Final = re.compile(r"-\.?\d")
#: Characters of an error's sentence on the terminal.
MAX_SENTENCE: Final = 800


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. A mistake of the user prints one sentence and returns 2; a failed
    notebook returns 1; training that stopped at a checkpoint returns RESUME_EXIT_CODE (75): the
    same command goes on.
    """
    _print_any_character()
    args = parser().parse_args(joined_values(sys.argv[1:] if argv is None else argv))
    command: Command = args.command

    try:
        return command(args)
    except BrokenPipeError:  # who reads has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE_EXIT_CODE
    except (InputError, OSError) as error:
        print(f"m2v: {printable(_sentence(error), MAX_SENTENCE)}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        return report_missing_package(error)
    except StoppedEarly as stopped:
        print(f"m2v: {stopped}", file=sys.stderr)
        return RESUME_EXIT_CODE
    except KeyboardInterrupt:  # a sentence in place of a traceback; a shell's loop ends too
        print("m2v: interrupted", file=sys.stderr)
        return _end_by(signal.SIGINT)
    except Exception as error:
        return report_unexpected(error)


def joined_values(argv: Sequence[str]) -> list[str]:
    """Options with a value that begins with a minus as one word, as argparse wants them:
    `--distortion -0.1,0,0,0` as `--distortion=-0.1,0,0,0`.
    """
    joined = list[str]()
    for word in argv:
        before = joined[-1] if joined else ""
        if NEGATIVE.match(word) and before.startswith("--") and "=" not in before:
            joined[-1] = f"{before}={word}"
        else:
            joined.append(word)
    return joined


def _end_by(number: signal.Signals) -> int:
    """End as a process does that knows nothing of the signal; the exit code where none can."""
    if os.name == "posix":
        sys.stdout.flush()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return 128 + number


def _sentence(error: Exception) -> str:
    """Of the system's errors, file and reason without their number."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _print_any_character() -> None:
    """A terminal without a character (Windows) shows another in its place."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="m2v", description="Motion2vec: prepare data, train, evaluate, lift, report."
    )
    top.add_argument("--version", action="version", version=f"m2v {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    data.add(commands)
    train.add(commands)
    rows.add(commands)
    runs.add(commands)
    table.add(commands)
    chapters.add(commands)
    evaluate.add(commands)
    rerun.add(commands)
    queue.add(commands)
    report.add(commands)
    lifting.add_options(
        commands.add_parser("lift", help="3D motion from 2D keypoints of any detector")
    )
    lifting.add_export_options(
        commands.add_parser(
            "export", help="export to ONNX, or install as the model that comes with the package"
        )
    )
    bench.add(commands)
    add_examples(top)

    return top
