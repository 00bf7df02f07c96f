"""What makes a lifted motion usable: bones of constant length, smoothing, feet that stand, an
upright world with a floor, and how unsure every joint is.
"""

from typing import Final

#: Hz of which smoothing leaves half; it has the least joint error on validation subjects
#: (`docs/motion.md`)
SMOOTH_HZ: Final = 3.0
