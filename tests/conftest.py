"""What tests of several folders share."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
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


@pytest.fixture(scope="session")
def record_run() -> Callable[..., Any]:
    """Return `record_run(path, policy, seconds=1.0)` of recordings.py, where mcap is."""
    pytest.importorskip("mcap", reason="NOT TESTED HERE: recording needs pip install 'ezm[record]'")
    pytest.importorskip("mcap_ros2")
    pytest.importorskip("mujoco")
    spec = spec_from_file_location("ezm_recordings", Path(__file__).with_name("recordings.py"))
    assert spec and spec.loader
    recordings = module_from_spec(spec)
    spec.loader.exec_module(recordings)
    return recordings.record_run
