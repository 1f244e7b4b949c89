"""What both ends of our topics agree on: quality of service, and how callbacks are served."""

from __future__ import annotations

from rclpy.executors import Executor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

SENSOR = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
COUNTED = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)  # who counts, queues
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def make_executor() -> Executor:
    """Return the cheapest executor there is.

    Call nothing but `spin_once` on it: the events executor's own `spin` hangs in the wheels
    (no callbacks, a full core, deaf to signals).
    """
    try:
        from rclpy.experimental.events_executor import EventsExecutor
    except ImportError:  # Humble
        from rclpy.executors import SingleThreadedExecutor

        return SingleThreadedExecutor()
    return EventsExecutor()
