"""Schedules over learner updates; pure functions."""


def linear(start: float, end: float, progress: float) -> float:
    """Interpolate from start to end; progress is clipped to [0, 1]."""
    return start + (end - start) * min(max(progress, 0.0), 1.0)


def learning_rate(base: float, progress: float, drop_at: float) -> float:
    """Return base, and a tenth of it once progress exceeds drop_at (EZ-M release)."""
    return base * (0.1 if progress > drop_at else 1.0)


def due(updates: float, ratio: float, steps_per_task: float) -> bool:
    """Tell whether the update-to-data ratio allows another update."""
    return updates < ratio * steps_per_task
