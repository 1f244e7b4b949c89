"""Film a run without a screen: listen to the robot process, then draw what was heard.

    python -m runtime.record endpoint=ipc:///tmp/h1 video=out.mp4

Drawing comes after the run (SIGINT, or the robot process ends), so it takes no time from it.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime import h1
from runtime.cli import parse_or_exit
from runtime.listen import Ending, ListenConfig, coordinates, readings
from runtime.realtime import relax

BACKENDS = ("egl", "osmesa")


@dataclass(frozen=True)
class RecordConfig(ListenConfig):
    """What to draw."""

    video: str = "out.mp4"  # the film
    fps: int = 25  # pictures a second
    width: int = 640  # pixels
    height: int = 480  # pixels
    camera: str = "cam_default"  # of runtime/h1.xml


def collect(config: RecordConfig, ending: Ending) -> list[np.ndarray]:
    """Return qpos [26] of every frame of the film, heard in real time."""
    frames: list[np.ndarray] = []
    begin = None
    for reading in readings(config, ending):
        stamp = reading.state.stamp
        begin = stamp if begin is None else begin
        qpos = coordinates(reading)
        if qpos is not None and stamp - begin >= len(frames) / config.fps:
            frames.append(qpos)
    return frames


def choose_backend() -> None:
    """Set MUJOCO_GL to the first backend that draws without a screen; raise RuntimeError if none.

    MuJoCo decides once, when imported, so each is tried in a process of its own. A person's own
    choice is left alone.
    """
    if "MUJOCO_GL" in os.environ:
        return
    trial = "import mujoco; mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 8, 8)"
    errors: list[str] = []
    for backend in BACKENDS:
        settings = {"MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
        done = subprocess.run(
            [sys.executable, "-c", trial],
            env=os.environ | settings,
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            os.environ.update(settings)
            return
        errors.append(f"{backend}: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
    raise RuntimeError(
        "no way to draw without a screen. Debian or Ubuntu: apt-get install libosmesa6 "
        f"(tried {'; '.join(errors)})"
    )


def draw(frames: Iterable[np.ndarray], config: RecordConfig) -> Iterator[np.ndarray]:
    """Yield an image [height, width, 3] uint8 for each qpos [26]."""
    choose_backend()
    mujoco: Any = importlib.import_module("mujoco")
    model = mujoco.MjModel.from_xml_path(str(h1.XML_PATH))
    model.vis.global_.offwidth, model.vis.global_.offheight = config.width, config.height
    model.vis.quality.offsamples, model.vis.quality.shadowsize = 0, 1024  # 4x faster
    data, camera = mujoco.MjData(model), mujoco.Renderer(model, config.height, config.width)
    try:
        for qpos in frames:
            data.qpos[:] = qpos
            mujoco.mj_forward(model, data)
            camera.update_scene(data, camera=config.camera)
            yield camera.render()
    finally:
        camera.close()


def write(images: Iterable[np.ndarray], path: Path, fps: int) -> int:
    """Write the images as H.264 to `path`; return how many there were."""
    imageio: Any = importlib.import_module("imageio.v2")
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with imageio.get_writer(str(path), fps=fps, codec="libx264", macro_block_size=2) as film:
        for image in images:
            film.append_data(image)
            count += 1
    return count


def main() -> None:
    """Collect, then draw."""
    config = parse_or_exit(RecordConfig(), sys.argv[1:], "runtime.record", __doc__ or "")
    relax()
    frames = collect(config, Ending(config.parent))
    if not frames:
        sys.exit(f"runtime.record: heard nothing to film at {config.endpoint}")
    print(f"drawing {len(frames)} frames to {config.video} …", file=sys.stderr, flush=True)
    try:
        write(draw(frames, config), Path(config.video), config.fps)
    except (RuntimeError, ImportError, OSError) as error:
        sys.exit(f"runtime.record: no film: {error}")


if __name__ == "__main__":
    main()
