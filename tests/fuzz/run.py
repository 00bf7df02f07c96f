"""Seeded mutations of small valid files, given to the reader of each: whatever is in the file, it is
read or refused in one short sentence, within a limit of time and memory.

    python -m tests.fuzz.run --seconds 3600 [--target npz] [--seed 1]

Inputs that end otherwise are saved under `--finds` (default: `fuzz-finds`), to become cases.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from m2v_lib.data.checks import DataError

from .targets import Target, make_targets

SECONDS_PER_INPUT: Final = 5
MAX_ADDRESS_BYTES: Final = 6 << 30
#: values that are limits of something
INTERESTING: Final = (b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\xff" * 8, b"0", b"-1", b"1e308")
WORDS: Final = (
    *(b"null", b"NaN", b"-0", b"1e999", b"[]", b"{}", b'""', b"[[", b"]]", b"\n", b",", b";"),
    *(b"9" * 30, b"x" * 200, b"\x1b[2J", b"true", b"'", b"(", b"0 0 0", b"end", b":root"),
)


class TooSlow(Exception):
    """An input took longer than SECONDS_PER_INPUT."""


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A few changes of a file: bits, bytes, pieces moved, repeated, cut, or put in."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(8)
        length = rng.choice((1, 2, 4, 8, 64))
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif kind == 1 and out:
            out[at % len(out)] = rng.randrange(256)
        elif kind == 2:
            del out[at : at + length]
        elif kind == 3:
            out[at:at] = out[at : at + length] * rng.choice((1, 2, 50))
        elif kind == 4:
            piece = rng.choice((*INTERESTING, *WORDS))
            out[at : at + rng.choice((0, len(piece)))] = piece
        elif kind == 5:
            other = rng.randrange(len(out) + 1)
            out[at : at + length] = out[other : other + length]
        elif kind == 6:
            del out[at:]
        else:
            out[at : at + 4] = rng.randrange(1 << 32).to_bytes(4, "little")
    return bytes(out)


def fault_of(read: Callable[[], object]) -> str | None:
    """What is wrong with the way a reader ended; None where nothing is."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS_PER_INPUT)
    try:
        read()
    except DataError as error:
        text = str(error)
        return None if len(text) <= 400 and text.isprintable() else f"a message of {len(text)}"
    except TooSlow:
        return f"over {SECONDS_PER_INPUT} s"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def fuzz(target: Target, seconds: float, seed: int, folder: Path, finds: Path) -> tuple[int, int]:
    """Numbers of inputs and of finds of one target in so many seconds of processor time."""
    rng, tried, found = random.Random(f"{target.name} {seed}"), 0, 0
    samples, path = list(target.samples), folder / target.file_name
    until = time.process_time() + seconds
    while time.process_time() < until:
        data = mutate(rng.choice(samples), rng)
        path.write_bytes(data)
        fault = fault_of(lambda: target.read(path))
        tried += 1
        if fault:
            found += 1
            finds.mkdir(parents=True, exist_ok=True)
            (finds / f"{target.name}-{seed}-{tried}{path.suffix}").write_bytes(data)
            print(f"{target.name}, input {tried} of seed {seed}: {fault}", flush=True)
    return tried, found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--seconds", type=float, default=60, help="of processor time, all targets together"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", nargs="+", default=[])
    parser.add_argument("--finds", type=Path, default=Path("fuzz-finds"))
    args = parser.parse_args(argv)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_BYTES, MAX_ADDRESS_BYTES))
    signal.signal(signal.SIGALRM, _too_slow)
    n_found = 0
    with tempfile.TemporaryDirectory() as name:
        targets = [t for t in make_targets(Path(name)) if not args.target or t.name in args.target]
        for target in targets:
            seconds = args.seconds / len(targets)
            tried, found = fuzz(target, seconds, args.seed, Path(name), args.finds)
            print(f"{target.name}: {tried} inputs, {found} finds", flush=True)
            n_found += found
    return 1 if n_found else 0


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow


if __name__ == "__main__":
    sys.exit(main())
