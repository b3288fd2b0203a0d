"""Plots of a report: plotly's figures as JSON in the page, drawn by its JavaScript, which the page holds once."""

from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from results.schema import Status

COLOURS = {"svm": "#0072b2", "forest": "#009e73", "resnet": "#d55e00"}
"""By family; told apart by the colour-blind too (Okabe and Ito's palette)."""
STATUS_COLOURS = {
    Status.FINISHED: "#0072b2",
    Status.STOPPED: "#e69f00",
    Status.FAILED: "#b2182b",
    Status.RUNNING: "#999999",
}


def status_word(status: Status) -> str:
    """A trial without an end may be running, or its run may have ended without it."""
    return "unfinished" if status is Status.RUNNING else status.lower()


def plot(figure: go.Figure, height: int = 360, width: int = 0, **layout: Any) -> Markup:
    """`figure` as HTML: as wide as the page, or at least `width` pixels in a box that scrolls; `height` pixels high.

    Text in a figure is markup to plotly: what comes from files is to go through `plain` first.
    """
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    margin = {"l": 56, "r": 12, "t": 32, "b": 48}
    figure.update_layout(
        **{"template": "none", "height": height, "margin": margin, "font": {"size": 12}, "legend": legend, **layout}
    )
    figure.update_xaxes(automargin=True, gridcolor="#e4e4e4", zeroline=False)
    figure.update_yaxes(automargin=True, gridcolor="#e4e4e4", zeroline=False)
    values = str(figure.to_json()).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    style = f"height:{height}px" + (f";min-width:{width}px" if width else "")
    data = f'<script type="application/json">{values}</script>'
    box = f'<div class="scroll"><div class="plot" style="{style}">{data}</div></div>'
    return Markup(box)  # noqa: S704  # numbers, and JSON that cannot end its element


def plain(text: object, longest: int = 40) -> str:
    """`text` for a figure, nothing in it markup, at most `longest` characters of it."""
    words = str(text)
    return escape(words if len(words) <= longest else f"{words[: longest - 1]}…")


def with_gaps(lines: Sequence[Sequence[Any]]) -> list[Any]:
    """Many lines as one trace, so that thousands stay quick: their points, with None between one and the next."""
    return [value for line in lines for value in (*line, None)]
