"""The table of `training/bench.py`: from measured rates to shares, totals and the arithmetic floor.

Knows no clock, no network and no device: `clock` only says which of the two rates of a part counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Rate = tuple[float, float]  # units per second: of the clock, of CPU time
Rates = dict[str, Rate]  # by part
CLOCKS = ("per_s", "per_cpu_s")  # the same order


@dataclass(frozen=True)
class Matrix:
    """The product of two square matrices that the parts are compared with."""

    size: int  # rows and columns
    precision: str  # float32 or bfloat16
    rate: Rate  # FLOP per second


def tabulate(
    rates: Rates, flop: Mapping[str, float], needs: Mapping[str, float], matrix: Matrix, clock: str
) -> dict[str, Any]:
    """Return the table as JSON-ready containers.

    `flop` is per unit of a part, `needs` its units per update (empty: no training step is meant);
    shares, ms and the share of the matrix rate are by `clock`, one of CLOCKS.
    """
    at = CLOCKS.index(clock)
    table: dict[str, Any] = {"clock": clock, "matrix": [matrix.size, matrix.precision]}
    table |= {f"matrix_flop_{name}": rate for name, rate in zip(CLOCKS, matrix.rate, strict=True)}
    table["parts"] = {}
    seconds = {name: needs[name] / rates[name][at] for name in needs}  # per update
    for name, rate in rates.items():
        row: dict[str, float] = dict(zip(CLOCKS, rate, strict=True))
        row["flop"] = flop.get(name, 0.0)
        row["of_matrix_rate"] = row["flop"] * rate[at] / matrix.rate[at]
        if name in needs:
            row["ms_per_update"] = 1e3 * seconds[name]
            row["share"] = seconds[name] / sum(seconds.values())
        table["parts"][name] = row
    return table | (_together(rates, flop, needs, matrix, at) if needs else {})


def _together(
    rates: Rates, flop: Mapping[str, float], needs: Mapping[str, float], matrix: Matrix, at: int
) -> dict[str, float]:
    """Return what a whole training step makes of a second, by both clocks, and could at most."""
    table: dict[str, float] = {}
    for index, clock in enumerate(CLOCKS):
        seconds = sum(needs[name] / rates[name][index] for name in needs)
        table[f"updates_{clock}"] = 1.0 / seconds
        table[f"searches_{clock}"] = (needs["re-analysis"] + needs["acting"]) / seconds
        table[f"env_steps_{clock}"] = needs["environment"] / seconds
    table["flop_per_update"] = sum(needs[name] * flop.get(name, 0.0) for name in needs)
    table["floor_updates_per_s"] = matrix.rate[at] / table["flop_per_update"]
    table["achieved_updates_per_s"] = table[f"updates_{CLOCKS[at]}"]
    return table


def show(table: Mapping[str, Any]) -> None:
    """Print the table for a reader."""
    clock = table["clock"]
    for name, row in table["parts"].items():
        text = f"{name:>32s} {row['per_s']:9.1f}/s {row['per_cpu_s']:9.1f} per CPU-s"
        if row["flop"]:
            text += f"  {row['flop'] * row[clock] / 1e9:6.1f} GFLOP/s"
            text += f" ({row['of_matrix_rate']:.0%} of a matrix product's)"
        if "share" in row:
            text += f"  {row['ms_per_update']:7.1f} ms per update, {row['share']:.0%}"
        print(text)
    if "updates_per_s" in table:
        _show_together(table)
    size, precision = table["matrix"]
    print(
        f"matrix product, {size} x {size}, {precision}: "
        f"{table[f'matrix_flop_{clock}'] / 1e9:.1f} GFLOP {_SECOND[clock]}"
    )


_SECOND = {"per_s": "per second of the clock", "per_cpu_s": "per second of CPU time"}


def _show_together(table: Mapping[str, Any]) -> None:
    clock = table["clock"]
    for name in sorted(CLOCKS, key=lambda name: name != clock):  # the one that counts comes first
        if clock == "per_s" != name:
            continue  # beside a GPU the CPU's time is no measure
        print(
            f"{_SECOND[name]}, all together: {table[f'updates_{name}']:.2f} updates, "
            f"{table[f'searches_{name}']:.0f} searches, {table[f'env_steps_{name}']:.0f} "
            "environment steps"
        )
    print(
        f"arithmetic floor: {table['floor_updates_per_s']:.1f} updates/s, "
        f"achieved: {table['achieved_updates_per_s']:.1f} ({_SECOND[clock]})"
    )
