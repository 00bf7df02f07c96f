"""Data, lifting and the project: the 2.5D camera, the store, windows, a run's life, a number's."""

from __future__ import annotations

from m2v_lib.notebook.colours import BLUE, GREEN, GREY, INK, ORANGE, PINK, SKY, tint
from m2v_lib.notebook.drawings.network import skeleton
from m2v_lib.notebook.drawings.svg import Drawing


def camera() -> Drawing:
    d = Drawing(
        720,
        290,
        "2.5D: x and y are the pixels of the image, depth is in the same scale at the root",
    )
    d.dot(60, 140, 7)
    d.text(60, 165, "camera", size=11)
    d.line([(230, 50), (230, 230)], BLUE, 3)
    d.text(230, 248, "image (px)", size=11, colour=BLUE)
    skeleton(d, 540, 140, 58)
    for y in (48, 242):
        d.line([(60, 140), (540, y)], GREY, 1, dash="4 4")
    d.line([(60, 140), (540, 140)], GREY, 1, dash="4 4")
    skeleton(d, 230, 140, 20)
    d.line([(60, 262), (230, 262)], arrow=True)
    d.text(145, 275, "focal length f", size=11)
    d.line([(60, 30), (540, 30)], arrow=True)
    d.text(310, 18, "depth of the root Z", size=11)
    d.text(660, 110, "mm a pixel\n= Z / f", size=13, bold=True)
    d.text(660, 170, "x, y: px\nz: mm · f / Z", size=12)
    return d


def store() -> Drawing:
    d = Drawing(
        760, 210, "Every data set becomes one store; nothing after it asks which one it was"
    )
    for number, name in enumerate(
        ("Human3.6M pickle", "3DHP archives", "motion capture", "any detector")
    ):
        d.box(15, 15 + 47 * number, 140, 36, name, GREY, size=12)
        d.line([(155, 33 + 47 * number), (225, 104)], arrow=True)
    d.box(225, 72, 120, 64, "m2v data\nprepare", ORANGE)
    d.arrow(345, 104, 385, 104)
    d.box(
        385,
        50,
        170,
        108,
        "store\ntrain, test: arrays\nmeta: unit, rate,\nskeleton, fingerprint",
        BLUE,
        size=12,
    )
    d.arrow(555, 104, 595, 104)
    d.box(595, 22, 145, 44, "clips by index", GREEN, size=12)
    d.box(595, 82, 145, 44, "mirroring, noise", GREEN, size=12)
    d.box(595, 142, 145, 44, "batch (B,T,J,3)", GREEN, size=12)
    d.arrow(667, 66, 667, 82)
    d.arrow(667, 126, 667, 142)
    return d


def windows() -> Drawing:
    d = Drawing(
        720,
        250,
        "Lifting a long motion: overlapping windows, each blended by a triangle of weights",
    )
    d.line([(40, 60), (680, 60)], GREY, 8)
    d.text(360, 34, "the motion, any number of frames", size=12)
    for number in range(4):
        x, colour = 40 + 128 * number, (BLUE, ORANGE, GREEN, PINK)[number]
        d.rect(x, 74 + 14 * (number % 2), 256, 13, tint(colour), colour, radius=2)
        d.line([(x, 205), (x + 128, 125), (x + 256, 205)], colour, 2)
    d.line([(40, 205), (680, 205)])
    d.text(
        360,
        230,
        "a frame's pose: weighted mean of the windows that hold it; windows move by half their length",
        size=12,
    )
    d.text(360, 112, "weight of each window", size=11)
    return d


def life_of_a_run() -> Drawing:
    d = Drawing(760, 240, "A run's life: settings name it, a killed one goes on, its record stays")
    boxes = (
        (15, "settings\n→ digest", GREY),
        (155, "run folder\n(one process)", BLUE),
        (300, "training\nsteps", BLUE),
        (440, "test on\nunseen people", GREEN),
        (590, "record:\nconfig, metrics,\nresult, env", ORANGE),
    )
    for x, name, colour in boxes:
        d.box(x, 40, 130 if x < 590 else 155, 66, name, colour, size=12)
    for x in (145, 285, 430, 570):
        d.arrow(x, 73, x + (15 if x != 570 else 20), 73)
    d.box(300, 156, 130, 46, "checkpoint", PINK, size=12)
    d.line([(340, 106), (340, 156)], arrow=True)
    d.line([(395, 156), (395, 106)], dash="4 3", arrow=True)
    d.text(
        440,
        176,
        "killed, or time up: the same command\ngoes on to the same numbers",
        size=11,
        anchor="start",
    )
    d.line([(80, 106), (80, 222), (667, 222), (667, 106)], GREY, 1.2, dash="3 4", arrow=True)
    d.text(190, 212, "a record is there: nothing runs", size=11)
    return d


def life_of_a_number() -> Drawing:
    d = Drawing(
        760, 250, "A number's life: published and measured ones meet in a table, never unmarked"
    )
    d.box(15, 20, 150, 56, "the paper's tables\n(CSV, with line)", PINK, size=12)
    d.box(15, 100, 150, 56, "row: a preset and\nits changes", GREY, size=12)
    d.box(15, 180, 150, 56, "run records", ORANGE, size=12)
    d.arrow(165, 128, 215, 128)
    d.box(215, 104, 110, 48, "digest of\nthe settings", GREY, size=12)
    d.line([(165, 208), (270, 208), (270, 152)], arrow=True)
    d.arrow(325, 128, 370, 128)
    d.box(370, 96, 150, 64, "state of the cell:\nwhich data, protocol,\nschedule?", GREEN, size=12)
    d.line([(165, 48), (630, 48), (630, 76)], arrow=True)
    d.arrow(520, 128, 560, 128)
    d.box(
        560,
        76,
        185,
        104,
        "the table\npublished | measured\na difference only where\nboth are the same quantity",
        BLUE,
        size=12,
    )
    d.line([(650, 180), (650, 208), (270, 208)], GREY, 1.2, dash="3 4", arrow=True)
    d.text(480, 222, "each measured cell links back to its record", size=11)
    return d


def detector() -> Drawing:
    d = Drawing(720, 210, "From any detector's points to the seventeen joints")
    d.box(15, 70, 130, 60, "keypoint file\n(COCO, OpenPose,\nMediaPipe ...)", GREY, size=12)
    d.arrow(145, 100, 180, 100)
    d.box(180, 76, 110, 48, "which layout?\nby names", SKY, size=12)
    d.arrow(290, 100, 325, 100)
    d.box(325, 64, 150, 72, "joints by mean:\nroot = both hips\nneck = shoulders", BLUE, size=12)
    d.arrow(475, 100, 510, 100)
    d.box(510, 70, 100, 60, "gaps filled,\nrate changed", GREEN, size=12)
    d.arrow(610, 100, 636, 100)
    skeleton(d, 676, 100, 32)
    d.text(
        360,
        180,
        "a joint that no point gives stays absent and is not invented",
        size=12,
        colour=INK,
    )
    return d


def stages() -> Drawing:
    d = Drawing(720, 200, "Two stages: pre-training without 3D, then fine-tuning from the student")
    d.box(15, 30, 150, 54, "2D motion\n(no labels)", GREY)
    d.arrow(165, 57, 205, 57)
    d.box(205, 22, 190, 70, "stage 1: pre-training\nfill in what is hidden", BLUE)
    d.line([(300, 92), (300, 124)], arrow=True)
    d.text(308, 106, "the student's weights", size=11, anchor="start")
    d.box(15, 124, 150, 54, "2D motion with\n3D labels", GREY)
    d.arrow(165, 151, 205, 151)
    d.box(205, 124, 190, 54, "stage 2: fine-tuning", ORANGE)
    d.arrow(395, 151, 445, 151)
    d.box(445, 124, 110, 54, "3D poses", GREEN)
    d.line([(395, 57), (620, 57), (620, 124)], dash="5 4", arrow=True)
    d.box(575, 124, 130, 54, "actions\n(a new head)", PINK)
    return d
