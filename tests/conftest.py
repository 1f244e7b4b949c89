"""What tests of several folders share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., bool]:
    """Return `wait_until(fact, timeout=20.0)`, which asks until the fact holds: whether it did."""

    def wait(fact: Callable[[], Any], timeout: float = 20.0) -> bool:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if fact():
                return True
            time.sleep(0.02)
        return False

    return wait
