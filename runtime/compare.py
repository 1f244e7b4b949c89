"""Put two recordings side by side, for example a simulation and a robot: plots and a table.

    python runtime/compare.py a=sim.mcap b=robot.mcap out=compare.html

Both are laid on top of each other from the moment POLICY was entered. The page needs no network and
no library. The last line is JSON.
"""

from __future__ import annotations

import html
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime import h1
from runtime.bag import Bag, BagError, load
from runtime.cli import parse_or_exit
from runtime.observation import gravity_of

WIDTH, HEIGHT, MARGIN = 420, 150, 34  # px of one plot
POINTS = 500  # of one line: more cannot be seen
COLOURS = ("#1f6fb4", "#d1541f")


@dataclass(frozen=True)
class CompareConfig:
    """Which recordings, and what to show of them."""

    a: str = "sim.mcap"  # the first recording
    b: str = "robot.mcap"  # the second one
    out: str = "compare.html"  # the page with the plots
    before: float = 0.5  # s shown before POLICY was entered
    after: float = 10.0  # s shown after it
    joints: str = ""  # names by commas; empty: all


@dataclass(frozen=True)
class Side:
    """One recording from `before` s before POLICY to `after` s after it."""

    name: str
    time: np.ndarray  # [n] s, 0 where POLICY was entered
    measured: np.ndarray  # [n, 19] rad
    written: np.ndarray  # [n, 19] rad
    torque: np.ndarray  # [n, 19] N m
    torso: np.ndarray  # [n, 7] w x y z, rad/s

    @property
    def error(self) -> np.ndarray:
        """Return how far each joint is from its target, root mean square in POLICY, rad [19]."""
        rows = self.time >= 0.0
        return np.sqrt(np.mean((self.measured[rows] - self.written[rows]) ** 2, axis=0))


def side(bag: Bag, before: float, after: float) -> Side:
    """Cut a recording at POLICY, or raise BagError if it never got there."""
    if not len(bag.time) or not bag.in_policy.any():
        raise BagError(f"{bag.path}: POLICY was never entered")
    time = bag.time - bag.time[int(np.argmax(bag.in_policy))]
    rows = (time >= -before) & (time <= after)
    return Side(
        bag.path.name,
        time[rows],
        bag.position[rows],
        bag.written[rows],
        bag.torque[rows],
        bag.torso[rows],
    )


def gap(a: Side, b: Side) -> np.ndarray:
    """Return how far the two robots' joints are apart, root mean square in POLICY, rad [19]."""
    end = min(a.time[-1], b.time[-1])
    time = np.arange(0.0, max(end, 0.02), 0.02)
    rows = [[np.interp(time, s.time, column) for column in s.measured.T] for s in (a, b)]
    return np.sqrt(np.mean((np.array(rows[0]) - np.array(rows[1])) ** 2, axis=1))


Line = tuple[np.ndarray, np.ndarray, str, bool]  # x, y, colour, dashed


def plot(title: str, unit: str, lines: Sequence[Line]) -> str:
    """Return an SVG of a few lines over time."""
    low = min(float(y.min()) for _, y, _, _ in lines)
    high = max(float(y.max()) for _, y, _, _ in lines)
    low, high = (low, high) if high - low > 1e-6 else (low - 0.5, high + 0.5)
    left = min(float(x[0]) for x, _, _, _ in lines)
    right = max(float(x[-1]) for x, _, _, _ in lines)
    wide, tall = WIDTH - MARGIN - 6, HEIGHT - 34
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{html.escape(title)}</title>',
        f'<text x="{MARGIN}" y="12" class="t">{html.escape(title)}, {html.escape(unit)}</text>',
        f'<rect x="{MARGIN}" y="18" width="{wide}" height="{tall}" class="f"/>',
    ]
    for value, y in ((high, 24), (low, 18 + tall)):
        parts.append(f'<text x="{MARGIN - 3}" y="{y}" class="n">{value:.2f}</text>')
    zero = MARGIN + wide * (0.0 - left) / (right - left)
    parts.append(f'<line x1="{zero:.1f}" y1="18" x2="{zero:.1f}" y2="{18 + tall}" class="z"/>')
    parts.append(f'<text x="{zero:.1f}" y="{HEIGHT - 4}" class="n">0 s</text>')
    parts.append(f'<text x="{WIDTH - 6}" y="{HEIGHT - 4}" class="n">{right:.1f}</text>')
    for x, y, colour, dashed in lines:
        pick = np.linspace(0, len(x) - 1, min(POINTS, len(x))).astype(int)
        px = MARGIN + wide * (x[pick] - left) / (right - left)
        py = 18 + tall * (high - y[pick]) / (high - low)
        points = " ".join(f"{u:.1f},{v:.1f}" for u, v in zip(px, py, strict=True))
        style = ' stroke-dasharray="3 2" opacity="0.6"' if dashed else ""
        parts.append(f'<polyline points="{points}" stroke="{colour}"{style}/>')
    return "".join([*parts, "</svg>"])


def page(a: Side, b: Side, joints: Sequence[str]) -> str:
    """Return the whole page."""
    sides = list(zip((a, b), COLOURS, strict=True))
    plots = [
        plot(f"torso gravity {axis}", "1", [(s.time, _down(s)[:, i], c, False) for s, c in sides])
        for i, axis in enumerate("xyz")
    ]
    plots += [
        plot(f"turning {axis}", "rad/s", [(s.time, s.torso[:, 4 + i], c, False) for s, c in sides])
        for i, axis in enumerate("xyz")
    ]
    for name in joints:
        j = h1.JOINT_NAMES.index(name)
        lines = [(s.time, s.measured[:, j], c, False) for s, c in sides]
        lines += [(s.time, s.written[:, j], c, True) for s, c in sides]
        plots.append(plot(name, "rad, dashed: target", lines))
        plots.append(
            plot(f"{name} torque", "N m", [(s.time, s.torque[:, j], c, False) for s, c in sides])
        )
    legend = " ".join(f'<b style="color:{c}">{html.escape(s.name)}</b>' for s, c in sides)
    return (
        '<!doctype html><meta charset="utf-8"><title>compare</title><style>'
        "body{font:14px sans-serif;margin:16px}main{display:grid;gap:8px;"
        "grid-template-columns:repeat(auto-fill,minmax(400px,1fr))}polyline{fill:none;"
        "stroke-width:1.2}.t{font-size:11px}.n{font-size:9px;text-anchor:end;fill:#666}"
        ".f{fill:#fafafa;stroke:#ccc}.z{stroke:#999;stroke-dasharray:2 3}</style>"
        f"<p>{legend}</p><main>{''.join(plots)}</main>\n"
    )


def _down(one: Side) -> np.ndarray:
    return gravity_of(one.torso[:, :4])


def report(config: CompareConfig) -> dict[str, Any]:
    """Compare; write the page; print the table; return the figures."""
    joints = [name for name in config.joints.split(",") if name] or list(h1.JOINT_NAMES)
    unknown = [name for name in joints if name not in h1.JOINT_NAMES]
    if unknown:
        raise BagError(f"joints {unknown} unknown; there are {list(h1.JOINT_NAMES)}")
    a, b = (side(load(path), config.before, config.after) for path in (config.a, config.b))
    apart = gap(a, b)
    print(f"{'root mean square, rad':<22} {'apart':>8} {'error a':>8} {'error b':>8}")
    for name in joints:
        j = h1.JOINT_NAMES.index(name)
        print(f"{name:<22} {apart[j]:8.4f} {a.error[j]:8.4f} {b.error[j]:8.4f}")
    Path(config.out).write_text(page(a, b, joints))
    worst = int(apart.argmax())
    return {
        "a": config.a,
        "b": config.b,
        "out": config.out,
        "seconds": round(float(min(a.time[-1], b.time[-1])), 3),
        "apart_rad": round(float(np.sqrt(np.mean(apart**2))), 5),
        "worst_joint": h1.JOINT_NAMES[worst],
        "worst_apart_rad": round(float(apart[worst]), 5),
        "error_a_rad": round(float(np.sqrt(np.mean(a.error**2))), 5),
        "error_b_rad": round(float(np.sqrt(np.mean(b.error**2))), 5),
    }


def main() -> None:
    """Compare and report."""
    config = parse_or_exit(
        CompareConfig(), sys.argv[1:], "python runtime/compare.py", __doc__ or ""
    )
    try:
        figures = report(config)
    except ImportError as error:
        sys.exit(f"compare: {error} (pip install 'ezm[record]')")
    except (BagError, OSError) as error:
        print(f"compare: {error}", file=sys.stderr)
        sys.exit(2)
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
