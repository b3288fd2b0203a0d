"""The figures of a report that tell of the winner: confusion, calibration and its most confident mistakes."""

from base64 import b64encode
from collections.abc import Sequence

import cv2
import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup

from results.calibration import reliability
from results.report_facts import Validation
from results.report_plot import plot
from trainables.data.faceset import CLASSES, Images


def confusion_plot(confusion: Sequence[Sequence[int]]) -> Markup:
    """`confusion` (rows true class, columns predicted class) as counts, coloured by their share of the row."""
    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    text = [
        [f"{n:,}<br>{share:.1%}" for n, share in zip(*row, strict=True)] for row in zip(counts, shares, strict=True)
    ]
    heat = go.Heatmap(
        z=shares.tolist(),
        x=CLASSES,
        y=CLASSES,
        text=text,
        texttemplate="%{text}",
        colorscale="Blues",
        zmin=0,
        zmax=1,
        showscale=False,
        hovertemplate="%{y} told to be %{x}: %{text}<extra></extra>",
    )
    return plot(go.Figure(heat), 340, xaxis_title="predicted", yaxis={"title": "true", "autorange": "reversed"})


def reliability_plot(validation: Validation) -> Markup:
    """How often the winner is right by how sure it is; on the dashed line probabilities mean what they say."""
    bins = reliability(validation.faces.labels, validation.probabilities)
    figure = go.Figure(
        go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dash", "color": "#999999"}, name="calibrated")
    )
    figure.add_scatter(
        x=bins.confidence.tolist(),
        y=bins.accuracy.tolist(),
        customdata=bins.n.tolist(),
        mode="lines+markers",
        name="winner",
        line={"color": "#0072b2"},
        marker={"size": (6 + 24 * np.sqrt(bins.n / bins.n.sum())).tolist()},
        hovertemplate="said %{x:.2f}, right %{y:.2f} (%{customdata} faces)<extra></extra>",
    )
    axes = {"range": [0.3, 1.02]}
    return plot(
        figure,
        400,
        xaxis={"title": "mean probability of the predicted class", **axes},
        yaxis={"title": "share that is right", "range": [0, 1.02]},
    )


def png_address(image: Images) -> str:
    """A picture, uint8, (height, width), as a PNG in a `data:` address."""
    _, data = cv2.imencode(".png", image)
    return f"data:image/png;base64,{b64encode(data.tobytes()).decode()}"
