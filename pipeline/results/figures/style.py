"""Style: the colours and matplotlib settings that the figures of runs share.

In:   nothing.   Out: constants.
Not here: drawing (learning_curves.py, lr_curve.py), the colours of the page (page/page.css).
"""

# The colours of Okabe and Ito, which colour-blind readers can distinguish. The yellow is darker
# than theirs, because theirs is hard to see on white.
PALETTE = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#9a8c00", "#1b1b1b"),
)
TEXT_COLOUR = "#222222"
AXIS_COLOUR = "#6b6b6b"
GRID_COLOUR = "#e3e3e3"
BACKGROUND_RUN_COLOUR = "#bdbdbd"

FONT_SIZE_PX = 12.0  # pixels, where the SVG is shown without scaling

FIGURE_RC = {
    "svg.fonttype": "none",
    "pdf.fonttype": 42,  # embedded as TrueType: text can be selected, and journals accept it
    "svg.hashsalt": "blankslate",
    "font.size": FONT_SIZE_PX,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": AXIS_COLOUR,
    "axes.labelcolor": AXIS_COLOUR,
    "text.color": TEXT_COLOUR,
    "xtick.color": AXIS_COLOUR,
    "ytick.color": AXIS_COLOUR,
    "ytick.major.size": 0,
    "xtick.major.size": 3,
    "lines.solid_capstyle": "round",
}
