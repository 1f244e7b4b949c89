"""Small line charts as SVG text; knows nothing of what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP = 460, 300, 56, 34  # px: plot area, and what stands before it


@dataclass(frozen=True)
class Line:
    """One line: points (x, y), and at each how far its whisker reaches up and down (or none)."""

    name: str
    points: Sequence[tuple[float, float]]
    whiskers: Sequence[float] = ()


def draw(
    path: Path, title: str, x_name: str, y_name: str, lines: Sequence[Line],
    y_range: tuple[float, float] | None = None, x_marks: Sequence[float] = (),
) -> None:  # fmt: skip
    """Write a chart; `x_marks` are the values named on the axis (default: five, evenly)."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    if not xs:
        raise ValueError(f"nothing to draw for {path}")
    low_x, high_x = min(xs), max(xs)
    low, high = y_range or (min(*ys, 0.0), max(ys))
    if high <= low:
        high = low + 1.0
    span_x = (high_x - low_x) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + 12 + (WIDTH - 24) * (x - low_x) / span_x
        return across, TOP + HEIGHT * (1.0 - (min(max(y, low), high) - low) / (high - low))

    marks = [f'<text x="{LEFT}" y="18" font-size="13">{escape(title)}</text>']
    for part in range(6):
        value = low + (high - low) * part / 5
        y = place(low_x, value)[1]
        marks.append(f'<path d="M{LEFT} {y:.1f}h{WIDTH}" stroke="#ddd"/>')
        marks.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for value in x_marks or [low_x + span_x * part / 4 for part in range(5)]:
        x, below = place(value, low)[0], TOP + HEIGHT + 16
        marks.append(f'<text x="{x:.1f}" y="{below}" text-anchor="middle">{value:.4g}</text>')
    middle = LEFT + WIDTH / 2
    below = TOP + HEIGHT + 34
    marks.append(f'<text x="{middle}" y="{below}" text-anchor="middle">{escape(x_name)}</text>')
    turned = f'transform="translate(14 {TOP + HEIGHT / 2}) rotate(-90)"'
    marks.append(f'<text {turned} text-anchor="middle">{escape(y_name)}</text>')
    for number, line in enumerate(lines):
        marks += _line(line, number, len(lines), place)
    beside = max(150, 16 + 6 * max(len(line.name) for line in lines))  # px for the lines' names
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + beside} '
        f'{TOP + HEIGHT + 44}" font-family="sans-serif" font-size="11" style="background:#fff">'
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head, *marks, "</svg>", ""]), encoding="utf-8")


def _line(line: Line, number: int, count: int, place) -> list[str]:
    """Return one line with its points, whiskers and name."""
    colour = f"hsl({330 * number // max(count, 1)} 70% 40%)"
    at = [place(x, y) for x, y in line.points]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    marks = [f'<polyline points="{points}" stroke="{colour}" fill="none" stroke-width="1.5"/>']
    if len(at) <= 20:
        marks += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in at]
    for (x, y), reach in zip(line.points, line.whiskers, strict=False):
        (across, top), (_, bottom) = place(x, y + reach), place(x, y - reach)
        marks.append(f'<path d="M{across:.1f} {top:.1f}V{bottom:.1f}" stroke="{colour}"/>')
    down = TOP + 10 + 16 * number
    name = escape(line.name)
    marks.append(f'<text x="{LEFT + WIDTH + 8}" y="{down}" fill="{colour}">{name}</text>')
    return marks
