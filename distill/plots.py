"""Line plots as SVG text: no plotting library, the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 560, 300, 56, 34, 150, 44
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a")
Points = Sequence[tuple[float, float | None]]


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    begin: float  # px
    end: float

    def __call__(self, value: float) -> float:
        span = self.high - self.low or 1.0
        return self.begin + (value - self.low) / span * (self.end - self.begin)


def line_plot(title: str, x: str, y: str, series: Mapping[str, Points], floor: float = 0.0) -> str:
    """Return a plot of named lines; points without a value are left out."""
    points = [(a, b) for line in series.values() for a, b in line if b is not None]
    if not points:
        return ""
    xs, ys = [a for a, _ in points], [b for _, b in points]
    across = _Scale(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    up = _Scale(min(floor, *ys), max(floor + 1e-9, *ys) * 1.05, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 18, title, "start", 'font-size="13" font-weight="bold"'),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x),
        _text(12, (TOP + HEIGHT - BOTTOM) / 2, y, "middle",
              f'transform="rotate(-90 12 {(TOP + HEIGHT - BOTTOM) / 2:.0f})"'),
    ]  # fmt: skip
    for value in ticks(up.low, up.high):
        parts.append(_line(LEFT, up(value), WIDTH - RIGHT, up(value), "#d0d7de"))
        parts.append(_text(LEFT - 6, up(value) + 4, f"{value:g}", "end"))
    for value in ticks(across.low, across.high):
        parts.append(_text(across(value), HEIGHT - BOTTOM + 16, f"{value:g}"))
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        drawn = [(across(a), up(b)) for a, b in line if b is not None]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in drawn)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in drawn]
        parts.append(_text(WIDTH - RIGHT + 12, TOP + 14 + 16 * number, name, "start",
                           f'fill="{colour}"'))  # fmt: skip
    return "\n".join([*parts, "</svg>"])


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return about so many round numbers between low and high."""
    if high <= low:
        return [low]
    raw = (high - low) / about
    size = 10.0 ** int(f"{raw:e}".split("e")[1])
    step = next(m * size for m in (1, 2, 5, 10) if m * size >= raw)
    first = int(low // step) + (0 if low % step == 0 else 1)
    found = []
    while (value := round(first * step, 10)) <= high + 1e-9 * step:
        found.append(value)
        first += 1
    return found


def _text(x: float, y: float, text: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}"/>'
