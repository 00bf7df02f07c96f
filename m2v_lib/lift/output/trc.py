"""The markers of OpenSim and of most motion-capture programs: a .trc file a person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from m2v_lib.lift.output.files import write_lines
from m2v_lib.lift.output.rig import AXES, in_file
from m2v_lib.lift.people import Lifted, Motion, by_person


def write_trc(path: Path, motion: Motion, up: str = "y") -> list[Path]:
    """Joints as markers, one file a person from the recording's first frame on: mm, in the
    motion's world, which stands on the floor (y = 0; with `up` z: z = 0).
    """
    targets = []
    for target, pieces in by_person(path, motion):
        write_lines(target, _trc_lines(target.name, pieces, motion, up))
        targets.append(target)
    return targets


def _trc_lines(name: str, pieces: list[Lifted], motion: Motion, up: str) -> Iterator[str]:
    """The lines of one person's file; frames in which they are not seen have empty cells."""
    kept = [j for j in range(len(motion.skeleton)) if j not in motion.absent]
    markers = [in_file(motion.skeleton.joints[joint]) for joint in kept]
    n_frames, rate = pieces[-1].start + pieces[-1].n_frames, f"{motion.fps:g}"

    yield f"PathFileType\t4\t(X/Y/Z)\t{name}"
    yield (
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\t"
        "OrigNumFrames"
    )
    yield f"{rate}\t{rate}\t{n_frames}\t{len(kept)}\tmm\t{rate}\t1\t{n_frames}"
    yield "Frame#\tTime\t" + "\t\t\t".join(markers) + "\t\t"
    yield "\t\t" + "\t".join(f"X{k}\tY{k}\tZ{k}" for k in range(1, len(kept) + 1))
    yield ""

    nobody = [""] * (3 * len(kept))
    waiting = list(pieces)
    for frame in range(n_frames):
        while waiting[0].start + waiting[0].n_frames <= frame:
            waiting.pop(0)

        piece, t = waiting[0], frame - waiting[0].start
        cells = nobody
        if t >= 0:
            joints = motion.world.to_world((piece.pose_mm[t] + piece.root_mm[t])[kept])
            cells = [f"{value:.3f}" for value in (joints @ AXES[up].T).ravel()]
        yield "\t".join([str(frame + 1), f"{frame / motion.fps:.6f}", *cells])
