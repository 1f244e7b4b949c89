"""Plots as SVG text, with the round ticks and the colours of `distill.plots`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from distill.plots import COLOURS, Points, line_plot, ticks

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 520, 240, 56, 40, 30
MOST_POINTS = 300  # of a line: more cannot be seen


def lines(title: str, x: str, y: str, series: Mapping[str, Points]) -> str:
    """Return a plot of named lines, thinned to what can be seen."""
    thin = {name: points[:: max(1, len(points) // MOST_POINTS)] for name, points in series.items()}
    return line_plot(title, x, y, thin).replace('r="3"', 'r="1.2"')


def with_mean(
    runs: Mapping[str, Sequence[tuple[float, float]]], parts: int = 60
) -> dict[str, Points]:
    """Return the runs' lines and, for several, their mean where all of them have points."""
    drawn: dict[str, Points] = dict(runs)
    if len(runs) > 1:
        low = max(points[0][0] for points in runs.values())
        high = min(points[-1][0] for points in runs.values())
        if high > low:
            at = np.linspace(low, high, parts)
            values = [np.interp(at, *np.array(points).T) for points in runs.values()]
            drawn["mean"] = list(zip(at.tolist(), np.mean(values, 0).tolist(), strict=True))
    return drawn


def smooth(points: Sequence[tuple[float, float]], over: int = 9) -> list[tuple[float, float]]:
    """Return the running mean over so many points, shorter at the ends."""
    half, values = over // 2, [value for _, value in points]
    return [
        (x, float(np.mean(values[max(0, i - half) : i + half + 1])))
        for i, (x, _) in enumerate(points)
    ]


def histogram(title: str, values: np.ndarray, unit: str, limit: float | None = None) -> str:
    """Return a histogram of positive values over a logarithmic axis, with its quantiles."""
    values = values[np.isfinite(values) & (values > 0.0)]
    if not len(values):
        return ""
    low, high = (
        math.floor(np.log10(values.min()) * 8) / 8,
        math.ceil(np.log10(values.max()) * 8) / 8,
    )
    edges = np.arange(low, max(high, low + 0.125) + 0.0625, 0.125 / 2)
    counts, _ = np.histogram(np.log10(values), edges)
    across = (WIDTH - LEFT - 20) / (edges[-1] - edges[0])
    tall = (HEIGHT - TOP - BOTTOM) / counts.max()
    ground = HEIGHT - BOTTOM

    def place(power: float) -> float:
        return LEFT + (power - edges[0]) * across

    shapes = [
        f'<rect x="{place(edge):.1f}" y="{ground - count * tall:.1f}" '
        f'width="{0.0625 * across - 1:.1f}" height="{count * tall:.1f}" fill="{COLOURS[0]}"/>'
        for edge, count in zip(edges, counts, strict=False)
    ]
    for power in range(math.floor(edges[0]), math.ceil(edges[-1]) + 1):
        for step in (1, 2, 5):
            where = power + math.log10(step)
            if edges[0] <= where <= edges[-1]:
                name = f"{step * 10.0**power:g}"
                shapes.append(_text(place(where), ground + 15, name, "middle"))
    if limit is not None and edges[0] <= math.log10(limit) <= edges[-1]:
        x = place(math.log10(limit))
        shapes.append(f'<path d="M{x:.1f} {TOP}V{ground}" stroke="{COLOURS[1]}"/>')
    p50, p99, worst = np.percentile(values, [50, 99, 100])
    said = f"n {len(values)}, p50 {p50:.4g}, p99 {p99:.4g}, max {worst:.4g} {unit}"
    shapes += [_text(WIDTH / 2, HEIGHT - 6, f"{unit}; {said}", "middle"), _title(title)]
    for count in ticks(0.0, float(counts.max()), 4):
        shapes.append(_text(LEFT - 6, ground - count * tall + 4, f"{count:g}", "end"))
    return _svg(HEIGHT, shapes)


def bars(title: str, values: Mapping[str, float], most: float, unit: str) -> str:
    """Return horizontal bars; what reaches `most` is red."""
    shapes, row = [_title(title)], 16
    for i, (name, value) in enumerate(values.items()):
        y, share = TOP + row * i, min(1.0, max(0.0, value / most))
        colour = COLOURS[1] if value >= most else COLOURS[0]
        wide = share * (WIDTH - 220)
        shapes.append(_text(150, y + 11, name, "end"))
        shapes.append(f'<rect x="156" y="{y}" width="{wide:.1f}" height="12" fill="{colour}"/>')
        shapes.append(_text(162 + wide, y + 11, f"{value:.3g} {unit}", "start"))
    return _svg(TOP + row * len(values) + 10, shapes)


def _svg(height: float, shapes: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" '
        f'width="{WIDTH}" height="{height:g}" font-family="sans-serif" font-size="11">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *shapes, "</svg>"])


def _title(text: str) -> str:
    return f'<text x="{LEFT}" y="18" font-size="13" font-weight="bold">{escape(text)}</text>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
