"""Look of every figure, and how a figure becomes a piece of the page.

Figures are drawn in a few named colours. In the page each becomes a CSS variable, so that one
drawing is right on a light and on a dark ground; text stays text, in the font of the page.
The palette is that of Okabe and Ito, made for colour-blind readers; shape or position always
says the same as colour.
"""

import io
import re
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

COLOURS = {
    "ink": "#1c2530",
    "muted": "#5b6672",
    "line": "#d9dee4",
    "blue": "#0072b2",
    "orange": "#d55e00",
    "green": "#009e73",
    "amber": "#e69f00",
    "sky": "#56b4e9",
    "purple": "#b0578d",
    "grey": "#8a949e",
    "ground": "#fefefe",
}
"""Name of a CSS variable, and the colour it has on paper."""

SERIES = ("blue", "orange", "green", "purple", "amber", "sky", "grey")
"""Colours of things that are told apart, in order."""

DATASETS = {
    "train": ("grey", "o", "training"),
    "holdout": ("blue", "s", "hold-out"),
    "validation": ("green", "D", "fresh trajectories"),
    "new": ("orange", "^", "new labels, before training on them"),
}
"""Colour, marker and name of the sets of labels that errors are measured on."""

WIDTH = 8.2
"""Width of a figure that fills the column, inches (one inch is 100 pixels in the page)."""

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 7.0,
    "axes.labelsize": 9.0,
    "axes.labelpad": 5.0,
    "axes.labelcolor": COLOURS["muted"],
    "axes.edgecolor": COLOURS["line"],
    "axes.linewidth": 0.9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.parse_math": False,  # names may hold dollar signs
    "text.color": COLOURS["ink"],
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "xtick.color": COLOURS["line"],
    "ytick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.7,
    "lines.markersize": 5.5,
    "lines.markeredgewidth": 1.3,
    "svg.fonttype": "none",
    "svg.hashsalt": "nepal_flows",
    "svg.image_inline": True,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.05,
}

P = ParamSpec("P")
T = TypeVar("T")


def _styled() -> AbstractContextManager[None]:
    return rc_context(_STYLE)


def in_style(function: Callable[P, T]) -> Callable[P, T]:
    """Draw with the style of the report, whatever the user's matplotlibrc says."""

    @wraps(function)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        with _styled():
            return function(*args, **kwargs)

    return drawn


def colour(name: str) -> str:
    """Return the paper colour of a name in `COLOURS`."""
    return COLOURS[name]


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure of a size in inches."""
    return Figure(figsize=(width, height))


def log_axis(axes: Axes, which: str) -> None:
    """Make an axis logarithmic with plain numbers and few ticks."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    is_narrow = low > 0 and high / low < 200
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if is_narrow else (1.0,), numticks=7))
    axis.set_major_formatter(FuncFormatter(lambda value, _: power_label(value)))
    axis.set_minor_locator(NullLocator())


def power_label(value: float) -> str:
    """Return a tick label: plain up to 1000, then a power of ten."""
    if 1e-3 <= value < 9_999:
        return f"{value:.10g}"
    digits = f"{value:.0e}".split("e")
    exponent = str(int(digits[1])).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return ("10" if digits[0] == "1" else f"{digits[0]}·10") + exponent


def legend_above(axes: Axes, n_columns: int = 4) -> None:
    """Put the legend over the axes, where it hides nothing."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=n_columns,
        borderaxespad=0.3,
        columnspacing=1.6,
    )


def svg_markup(figure: Figure, name: str) -> str:
    """Return a figure as an ``<svg>`` element to be placed in a page.

    Parameters
    ----------
    figure
        The figure.
    name
        Unique in the page; it keeps the ids of several figures apart.

    Returns
    -------
    str
        SVG with colours as CSS variables and without size, so that the page decides both.
    """
    buffer = io.StringIO()
    with _styled(), warnings.catch_warnings():
        # The page's own fonts show what DejaVu lacks (names in any script).
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for pattern in (r"<metadata>.*?</metadata>", r"<!--.*?-->", r"<style.*?</style>"):
        text = re.sub(pattern, "", text, flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", lambda tag: _page_tag(tag.group(), name), text)
    return re.sub(r"\n\s*", "\n", text).strip()


def _page_tag(tag: str, name: str) -> str:
    """Return one SVG tag without what the page decides, its ids made unique by `name`."""
    if tag.startswith("<svg"):
        return re.sub(r' (width|height|xmlns:xlink|version)="[^"]*"', "", tag)
    if tag.startswith("<g "):
        tag = re.sub(r' id="[^"]*"', "", tag)
    tag = tag.replace("xlink:href", "href")
    tag = re.sub(r' transform="rotate\(-0 [^"]*"', "", tag)
    tag = re.sub(r' id="', f' id="{name}-', tag)
    tag = re.sub(r'href="#', f'href="#{name}-', tag)
    tag = re.sub(r"url\(#", f"url(#{name}-", tag)
    if not tag.startswith("<image"):
        tag = re.sub(r"(\d\.\d\d)\d+", r"\1", tag)
        for key, value in COLOURS.items():
            tag = tag.replace(value, f"var(--{key})")
    return tag
