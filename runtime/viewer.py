"""Show a running robot in a window: `python -m runtime.viewer endpoint=ipc:///tmp/h1`.

A process of its own that only listens, so that drawing cannot disturb the robot process.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from runtime import h1
from runtime.cli import parse_or_exit
from runtime.listen import Ending, ListenConfig, coordinates, readings
from runtime.realtime import relax

FPS = 50.0
CLOSING = 10.0  # s for the window's own thread to end


@contextlib.contextmanager
def open_window(model: Any, data: Any) -> Iterator[Any]:
    """Open MuJoCo's window; wait for its thread at the end: an exit before it is a crash."""
    import mujoco.viewer

    before = set(threading.enumerate())
    window = mujoco.viewer.launch_passive(model, data, show_left_ui=False)
    drawing = set(threading.enumerate()) - before
    try:
        with window:
            yield window
    finally:
        for thread in drawing:
            thread.join(CLOSING)


def main() -> None:
    """Open the window and follow the robot until the end."""
    config = parse_or_exit(ListenConfig(), sys.argv[1:], "runtime.viewer", __doc__ or "")
    relax()
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        sys.exit("runtime.viewer: no display here; VIDEO=out.mp4 makes a film without one")
    import mujoco

    ending = Ending(config.parent)
    model = mujoco.MjModel.from_xml_path(str(h1.XML_PATH))  # pyright: ignore
    data = mujoco.MjData(model)  # pyright: ignore
    with open_window(model, data) as window:
        window.cam.type = mujoco.mjtCamera.mjCAMERA_TRACKING  # pyright: ignore
        window.cam.trackbodyid, window.cam.distance = 1, 3.5
        shown = 0.0
        for reading in readings(config, ending):
            if not window.is_running():
                return
            qpos, now = coordinates(reading), time.monotonic()
            if qpos is not None and now - shown >= 1.0 / FPS:
                shown = now
                with window.lock():
                    data.qpos[:] = qpos
                    mujoco.mj_forward(model, data)  # pyright: ignore
                window.sync()


if __name__ == "__main__":
    main()
