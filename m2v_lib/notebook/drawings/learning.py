"""How it learns: masks, student and teacher, the moving average, and what an error measures."""

from __future__ import annotations

import math

from m2v_lib.notebook.colours import BLUE, GREEN, GREY, INK, ORANGE, PINK, tint
from m2v_lib.notebook.drawings.svg import Drawing

FRAMES, JOINTS = 12, 8


def _mask(number: int) -> list[list[bool]]:
    """A pattern that hides about 70 % of the tokens, drawn by a fixed rule."""
    return [
        [(7 * i * i + 13 * j + 5 * i * j + 3 * number) % 10 < 7 for j in range(FRAMES)]
        for i in range(JOINTS)
    ]


def masking() -> Drawing:
    d = Drawing(
        760, 330, "Masked views go to the student; the teacher sees all and gives the targets"
    )
    seen = tint(BLUE, 0.5)
    for view in range(3):
        grid = [[GREY if hidden else seen for hidden in row] for row in _mask(view)]
        d.grid(20 + 14 * view, 20 + 14 * view, grid, 12)
    d.text(110, 162, "M masked views\n(P of the tokens hidden)", size=11)
    d.arrow(205, 90, 250, 90)
    d.box(250, 62, 130, 56, "student", BLUE)
    d.arrow(380, 90, 430, 90)
    d.box(430, 62, 150, 56, "its prediction\nof every token", BLUE)

    d.grid(34, 208, [[seen] * FRAMES] * JOINTS, 12)
    d.text(110, 318, "the same clip, nothing hidden", size=11)
    d.arrow(205, 256, 250, 256)
    d.box(250, 228, 130, 56, "teacher\n(no gradient)", ORANGE)
    d.arrow(380, 256, 430, 256)
    d.box(430, 228, 150, 56, "target: mean of its\nlast K blocks", ORANGE)

    d.line([(315, 118), (315, 228)], PINK, dash="5 4", arrow=True)
    d.text(322, 174, "moving average\nof the weights", size=11, anchor="start")
    d.line([(580, 90), (650, 90), (650, 145)], arrow=True)
    d.line([(580, 256), (650, 256), (650, 201)], arrow=True)
    d.box(590, 145, 120, 56, "loss on the\nhidden tokens", GREEN)
    return d


def moving_average() -> Drawing:
    d = Drawing(640, 270, "The teacher follows the student as a moving average: later and smoother")
    left, bottom, width, height = 60, 220, 540, 180
    student = [0.9 * (1 - math.exp(-t / 22)) + 0.09 * math.sin(1.9 * t) for t in range(100)]
    teachers = []
    for tau in (0.9, 0.97):
        value, values = student[0], []
        for now in student:
            value = tau * value + (1 - tau) * now
            values.append(value)
        teachers.append(values)

    d.line([(left, 30), (left, bottom), (left + width, bottom)])
    lines = ((student, GREY, 1.0), (teachers[0], BLUE, 2.2), (teachers[1], ORANGE, 2.2))
    for values, colour, thick in lines:
        points = [
            (left + t * width / 99, bottom - 20 - v * height * 0.75) for t, v in enumerate(values)
        ]
        d.line(points, colour, thick)
    d.text(left + width / 2, 244, "training steps →", size=11)
    d.text(left - 12, 120, "one\nweight", size=11, anchor="end")
    d.text(300, 22, "student", colour=GREY, bold=True)
    d.text(420, 22, "teacher, small τ", colour=BLUE)
    d.text(550, 22, "large τ", colour=ORANGE)
    d.text(left + 270, 262, "teacher ← τ teacher + (1 - τ) student,  after every step", size=12)
    return d


def errors() -> Drawing:
    d = Drawing(
        720, 220, "Three errors of one pose: as it is, at the best size, after the best alignment"
    )
    truth = ((0, 0), (0, -60), (-35, -95), (38, -90))

    def limb(x: float, y: float, turn: float, size: float, colour: str, dash: str) -> None:
        c, s = size * math.cos(turn), size * math.sin(turn)
        at = [(x + c * a - s * b, y + s * a + c * b) for a, b in truth]
        d.line([at[0], at[1]], colour, 3, dash=dash)
        d.line([at[2], at[1], at[3]], colour, 3, dash=dash)
        for px, py in at:
            d.dot(px, py, 4, colour)

    panels = (
        ("MPJPE", "as predicted", 0.25, 0.75),
        ("N-MPJPE", "at the best size", 0.25, 1.0),
        ("P-MPJPE", "best size and turn", 0.03, 1.0),
    )
    for number, (name, how, turn, size) in enumerate(panels):
        x = 120 + 240 * number
        limb(x, 150, 0, 1, GREY, "6 4")
        limb(x, 150, turn, size, BLUE, "")
        d.text(x, 20, name, bold=True)
        d.text(x, 176, how, size=12)
    d.text(360, 206, "dashed: truth; solid: prediction; both share the root", size=11, colour=INK)
    return d


def split() -> Drawing:
    d = Drawing(640, 180, "People, not frames, are divided into training, validation and test")
    parts = (("train", 5, BLUE), ("validation", 1, GREEN), ("test", 2, ORANGE))
    x = 30.0
    for name, people, colour in parts:
        for _ in range(people):
            d.rect(x, 50, 60, 60, tint(colour), colour)
            d.dot(x + 30, 68, 8, colour)
            d.line([(x + 30, 76), (x + 30, 96)], colour, 4)
            x += 66
        middle = x - 66 * people / 2 - 3
        d.text(middle, 28, name, bold=True, colour=colour)
        x += 20
    d.text(155, 132, "weights", size=11)
    d.text(407, 132, "choices", size=11)
    d.text(530, 132, "the number", size=11)
    d.text(
        320,
        164,
        "released: the epoch is chosen on the test people, and stage 1 reads their 2D",
        size=12,
    )
    return d
