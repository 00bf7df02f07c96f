"""A toy rig of motion capture in its two files."""

from __future__ import annotations

from pathlib import Path

CHAIN = (
    "root lowerback upperback thorax lowerneck upperneck head",
    "thorax lclavicle lhumerus lradius lwrist lhand lfingers",
    "thorax rclavicle rhumerus rradius rwrist rhand rfingers",
    "lwrist lthumb",
    "rwrist rthumb",
    "root lhipjoint lfemur ltibia lfoot ltoes",
    "root rhipjoint rfemur rtibia rfoot rtoes",
)


def write_rig(folder: Path, n_frames: int = 4, turn: int = 90, bend: int = 30) -> tuple[Path, Path]:
    """A toy ASF/AMC pair: every bone 10 units along +x; the left humerus bends about its own z,
    framed 90 deg about x.

    A frame turns the root by ``turn`` and bends the humerus by ``bend`` degrees.
    """
    links = [(w[i], w[i + 1]) for w in map(str.split, CHAIN) for i in range(len(w) - 1)]
    bones = [
        f"begin\n id {i}\n name {child}\n direction 1 0 0\n length 10\n"
        f"axis {90 if child == 'lhumerus' else 0} 0 0 XYZ\n"
        + ("dof rz\n limits (-180 180)\n" if child in ("lhumerus", "lowerback") else "")
        + "end"
        for i, (_, child) in enumerate(links)
    ]
    head = (
        ":version 1.10\n:units\n mass 1.0\n length 0.5\n angle deg\n:root\n order TX TY TZ RX RY "
        "RZ\n:bonedata\n"
    )
    tree = (
        "\n:hierarchy\nbegin\n"
        + "\n".join(f"{parent} {child}" for parent, child in links)
        + "\nend\n"
    )
    (folder / "77.asf").write_text("# toy\n" + head + "\n".join(bones) + tree)
    frames = [
        f"{t + 1}\nroot 1 2 3 0 0 {turn * t}\nlowerback 0\nlhumerus {bend * t}"
        for t in range(n_frames)
    ]
    (folder / "77_01.amc").write_text(
        "#!toy\n:FULLY-SPECIFIED\n:DEGREES\n" + "\n".join(frames) + "\n"
    )
    return folder / "77.asf", folder / "77_01.amc"
