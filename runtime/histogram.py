"""Latency histograms of fixed size: nothing is allocated when a duration is added.

Bins are logarithmic, two percent wide, from 0.1 us to 100 s. Knows no clock.
"""

from __future__ import annotations

import math
from typing import NamedTuple

_FIRST = 1e-7  # s
_PER_E = 50.0  # bins per factor e: two percent
_SHARES = (0.5, 0.95, 0.99)
_BINS = int(math.log(100.0 / _FIRST) * _PER_E) + 2


class Quantiles(NamedTuple):
    """What a histogram says, in us."""

    p50: float
    p95: float
    p99: float
    max: float


class Histogram:
    """Durations in s, counted in logarithmic bins."""

    def __init__(self) -> None:
        self.count = 0
        self.longest = 0.0  # s
        self._bins = [0] * _BINS

    def add(self, seconds: float) -> None:
        """Count a duration; a negative one counts as none at all."""
        self.count += 1
        if seconds > self.longest:
            self.longest = seconds
        place = int(math.log(seconds / _FIRST) * _PER_E) + 1 if seconds > _FIRST else 0
        self._bins[place if place < _BINS else _BINS - 1] += 1

    def clear(self) -> None:
        """Forget everything."""
        self.count, self.longest = 0, 0.0
        self._bins = [0] * _BINS

    def quantiles(self) -> Quantiles:
        """Return p50, p95, p99, two percent exact, and the longest, in us; from any thread."""
        bins = self._bins.copy()  # at once: the loop's thread adds meanwhile
        found, seen, total = [], 0, sum(bins)
        for place, count in enumerate(bins):
            seen += count
            while len(found) < len(_SHARES) and seen >= _SHARES[len(found)] * total > 0:
                middle = _FIRST * math.exp((place - 0.5) / _PER_E) if place else 0.0
                found.append(1e6 * min(middle, self.longest))
            if len(found) == len(_SHARES):
                break
        p50, p95, p99 = found or (0.0, 0.0, 0.0)
        return Quantiles(p50, p95, p99, 1e6 * self.longest)


class Stages:
    """One histogram per stage of a tick, by name."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.histograms = {name: Histogram() for name in names}

    def clear(self) -> None:
        """Forget everything."""
        for histogram in self.histograms.values():
            histogram.clear()

    def quantiles(self) -> dict[str, Quantiles]:
        """Return every stage's quantiles, us."""
        return {name: histogram.quantiles() for name, histogram in self.histograms.items()}
