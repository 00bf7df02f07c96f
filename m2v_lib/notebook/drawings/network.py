"""The network: its parts, one block, what attention compares, graphs over time, masks and
receptive fields.
"""

from __future__ import annotations

from m2v_lib.notebook.colours import BLUE, GREEN, GREY, ORANGE, PINK, SIDES, WHITE, tint
from m2v_lib.notebook.drawings.svg import Drawing
from m2v_lib.skeletons import H36M17

#: Where the joints of Human3.6M stand in a schematic person, seen from the front (x, y).
_PERSON = (
    *((0.0, 0.0), (-0.35, 0.05), (-0.4, 0.9), (-0.42, 1.75), (0.35, 0.05), (0.4, 0.9)),
    *((0.42, 1.75), (0.0, -0.5), (0.0, -1.0), (0.0, -1.3), (0.0, -1.6), (0.5, -0.95)),
    *((0.85, -0.4), (1.0, 0.2), (-0.5, -0.95), (-0.85, -0.4), (-1.0, 0.2)),
)


def skeleton(d: Drawing, x: float, y: float, scale: float, *, numbers: bool = False) -> None:
    """A person with the root at (x, y); left and right as seen by themselves."""
    at = [(x + scale * dx, y + scale * dy) for dx, dy in _PERSON]
    colour = [SIDES[H36M17.side(joint).replace("middle", "spine")] for joint in range(17)]
    for parent, child in H36M17.bones:
        d.line([at[parent], at[child]], colour[child], 2.5)
    for joint, (jx, jy) in enumerate(at):
        d.dot(jx, jy, 9 if numbers else 2.6, colour[joint])
        if numbers:
            d.text(jx, jy, str(joint), size=10, colour=WHITE)


def joints() -> Drawing:
    d = Drawing(620, 400, "The 17 joints of Human3.6M with their numbers, left blue, right orange")
    skeleton(d, 190, 204, 104, numbers=True)
    for number, name in enumerate(H36M17.joints):
        side = H36M17.side(number).replace("middle", "spine")
        d.text(420, 40 + 20 * number, f"{number}  {name}", anchor="start", colour=SIDES[side])
    d.text(190, 12, "facing you: their right is on your left", size=11, colour=GREY)
    return d


def architecture() -> Drawing:
    d = Drawing(
        780, 250, "The network: 2D joints are embedded, pass N blocks of two streams, and become 3D"
    )
    skeleton(d, 52, 105, 28)
    d.text(52, 185, "T frames of\nx, y, confidence", size=11)
    d.arrow(88, 105, 112, 105)
    d.box(112, 75, 96, 60, "linear 3 → d\n+ joint position", GREY, size=11)
    d.arrow(208, 105, 234, 105)
    for shift in (16, 8, 0):
        d.rect(236 + shift, 40 - shift + 16, 258, 130, WHITE)
    d.text(365, 32, "N blocks", bold=True)
    d.box(250, 68, 130, 40, "Transformer stream", BLUE, size=12)
    d.box(250, 132, 130, 40, "GCN stream", ORANGE, size=12)
    d.box(416, 96, 68, 48, "adaptive\nfusion", GREEN, size=12)
    d.arrow(380, 88, 416, 110)
    d.arrow(380, 152, 416, 130)
    d.arrow(510, 105, 536, 105)
    d.box(536, 75, 104, 60, "LayerNorm\nlinear → 512\ntanh", PINK, size=11)
    d.arrow(640, 105, 664, 105)
    d.box(664, 82, 60, 46, "linear\n→ 3", GREY, size=11)
    d.arrow(724, 105, 744, 105)
    d.text(588, 152, "representation", size=11)
    d.text(694, 152, "X, Y, Z of each\njoint and frame", size=11)
    d.text(390, 225, "shapes: (B,T,17,3) → (B,T,17,d) → ... → (B,T,17,512) → (B,T,17,3)", size=12)
    d.text(762, 105, "3D", bold=True)
    return d


def block() -> Drawing:
    d = Drawing(700, 330, "One block: the input goes through both streams, joints first, then time")
    d.text(350, 18, "x  (B,T,J,d)", bold=True)
    d.line([(350, 30), (350, 42), (150, 42), (150, 62)], arrow=True)
    d.line([(350, 42), (550, 42), (550, 62)], arrow=True)
    streams = (
        (40, BLUE, "Transformer stream", "attention over joints", "attention over frames"),
        (440, ORANGE, "GCN stream", "graph of the bones", "graph over frames"),
    )
    for x, colour, name, space, time in streams:
        d.box(x, 62, 220, 34, f"{space}, then MLP", colour)
        d.arrow(x + 110, 96, x + 110, 120)
        d.box(x, 120, 220, 34, f"{time}, then MLP", colour)
        d.line([(x + 110, 154), (x + 110, 196), (350 + (x - 240) * 0.35, 214)], arrow=True)
        side = "start" if x < 240 else "end"
        d.text(x if x < 240 else x + 220, 172, name, size=12, anchor=side, colour=colour)
    d.box(
        230, 214, 240, 56, "softmax(linear([a, g])) = (α, 1 - α)\nfor each joint and frame", GREEN
    )
    d.text(135, 208, "a", bold=True)
    d.text(565, 208, "g", bold=True)
    d.arrow(350, 270, 350, 296)
    d.text(350, 312, "α a + (1 - α) g", bold=True)
    return d


def attention_axes() -> Drawing:
    d = Drawing(
        700, 260, "Spatial attention compares the joints of a frame, temporal the frames of a joint"
    )
    for left, name, chosen, colour in (
        (60, "spatial: one frame, all joints", "column", BLUE),
        (400, "temporal: one joint, all frames", "row", ORANGE),
    ):
        d.text(left + 120, 20, name, bold=True)
        rows = [
            [
                colour
                if (i, j) == (3, 5)
                else tint(colour, 0.4)
                if (j == 5 if chosen == "column" else i == 3)
                else WHITE
                for j in range(12)
            ]
            for i in range(8)
        ]
        d.grid(left, 44, rows, 20)
        d.text(left + 120, 222, "frames →", size=11)
        d.text(left - 18, 124, "joints", size=11)
        size = "J x J weights a frame" if chosen == "column" else "T x T weights a joint"
        d.text(left + 120, 244, f"{size} and head", size=11, colour=GREY)
    return d


def temporal_graphs() -> Drawing:
    d = Drawing(
        700, 330, "Three graphs over time: the chain of the text, the released one, similarity"
    )
    names: tuple[tuple[str, list[tuple[int, int]], str], ...] = (
        ("chain (paper): itself and the frame before", [(j, j - 1) for j in range(1, 9)], BLUE),
        ("released-fixed: itself and the frame after", [(j, j + 1) for j in range(8)], ORANGE),
        ("similarity (released): the k frames most alike", [], GREEN),
    )
    alike = ((0, 4), (1, 5), (2, 6), (4, 8), (5, 1), (7, 3), (8, 0))
    for number, (name, edges, colour) in enumerate(names):
        y = 78 + 102 * number
        d.text(20, y - 52, name, anchor="start", bold=True, colour=colour)
        for a, b in edges or alike:
            d.arc(70 + 70 * a, 70 + 70 * b, y - 9, 22 if edges else 50, colour)
        for frame in range(9):
            d.dot(70 + 70 * frame, y, 8, colour)
            d.text(70 + 70 * frame, y, str(frame), size=10, colour=WHITE)
    d.text(
        350,
        318,
        "an arrow points at the frame that is heard; chosen anew for each joint and clip below",
        size=11,
    )
    return d


def graph_convolution() -> Drawing:
    d = Drawing(
        640, 210, "A graph convolution: what the neighbours say through V, and oneself through U"
    )
    for y, name in ((40, "neck"), (100, "root"), (160, "spine: itself, u")):
        d.box(20, y - 18, 120, 36, name, ORANGE)
        d.line([(140, y), (240, 100)], arrow=True)
    d.text(186, 48, "A V", bold=True)
    d.box(240, 72, 110, 56, "Σ A V(u)\n+ U(u)", ORANGE)
    d.arrow(350, 100, 390, 100)
    d.box(390, 76, 90, 48, "batch norm", GREY)
    d.arrow(480, 100, 512, 100)
    d.box(512, 76, 100, 48, "ReLU(u + ·)", ORANGE)
    d.line([(80, 178), (80, 194), (562, 194), (562, 124)], dash="4 3", arrow=True)
    d.text(330, 184, "u is added", size=11)
    return d


def fusion() -> Drawing:
    d = Drawing(640, 200, "Adaptive fusion: two weights per token decide which stream is believed")
    d.box(20, 30, 110, 40, "a: attention", BLUE)
    d.box(20, 130, 110, 40, "g: graph", ORANGE)
    d.line([(130, 50), (190, 92)], arrow=True)
    d.line([(130, 150), (190, 108)], arrow=True)
    d.box(190, 76, 110, 48, "concat (2d)\nlinear → 2", GREEN)
    d.arrow(300, 100, 340, 100)
    d.box(340, 80, 90, 40, "softmax", GREEN)
    d.arrow(430, 100, 486, 100, "α, 1 - α")
    d.box(486, 72, 130, 56, "α a + (1 - α) g", GREEN)
    d.line([(130, 42), (550, 42), (550, 72)], BLUE, dash="4 3", arrow=True)
    d.line([(130, 158), (550, 158), (550, 128)], ORANGE, dash="4 3", arrow=True)
    return d


def receptive_field() -> Drawing:
    d = Drawing(720, 260, "Dilated convolutions: three layers of width 3 see 27 frames")
    x = [30 + 25.4 * frame for frame in range(27)]
    layers = (
        (range(27), 1, 220, GREY),
        (range(1, 27, 3), 1, 155, BLUE),
        (range(4, 27, 9), 3, 90, ORANGE),
        ((13,), 9, 25, GREEN),
    )
    for frames, step, y, colour in layers:
        if y < 220:
            for frame in frames:
                for heard in (frame - step, frame, frame + step):
                    d.line([(x[frame], y), (x[heard], y + 65)], tint(colour, 0.6), 1.2)
    for frames, _, y, colour in layers:
        for frame in frames:
            d.dot(x[frame], y, 6, colour)
    d.text(380, 25, "dilation 9: this one has seen all 27", size=11, anchor="start")
    d.text(150, 84, "dilation 3", size=11, anchor="start")
    d.text(20, 134, "dilation 1", size=11, anchor="start")
    d.text(360, 246, "27 frames: width 3 at each of three layers, 3 x 3 x 3", size=12)
    return d
