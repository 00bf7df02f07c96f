"""The one table of colours: plots, drawings and the skeleton player take theirs from here.

Left and right stay apart for colour-blind readers (after Okabe and Ito).
"""

from __future__ import annotations

SIDES = {"left": "#0072b2", "right": "#d55e00", "spine": "#7f7f7f"}
#: Dark or far apart enough on white for curves of different runs.
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
BLUE, ORANGE, GREEN, PINK, SKY, AMBER, BLACK = LINES
INK, GREY, WHITE = "#24292f", SIDES["spine"], "#ffffff"


def tint(colour: str, share: float = 0.18) -> str:
    """The colour mixed with white, `share` of it.

    >>> tint("#000000", 0.5)
    '#808080'
    """
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - share * (255 - value)):02x}" for value in channels)
