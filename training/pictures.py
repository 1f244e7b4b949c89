"""A picture of every task's start: `MUJOCO_GL=egl python training/pictures.py out=docs/tasks`."""

# The compiled part of mujoco ships no type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import os
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

if sys.platform == "linux":
    os.environ.setdefault("MUJOCO_GL", "egl")  # needs no screen; read when mujoco is imported

import mujoco

from training.assembly import build_model
from training.cli import ConfigError, choose, from_command_line
from training.scenes import SCENES
from training.tasks import TASK_SETS, TASKS

GOAL = (0.7, 0.5, 1.3)  # m, an example for reach


@dataclass(frozen=True)
class PictureConfig:
    """Of what, how large, where to."""

    task_set: str = "h1_all"  # the tasks to draw
    width: int = 320  # pixels
    height: int = 240  # pixels
    out: str = "docs/tasks"  # folder of the images


def render(name: str, width: int, height: int) -> np.ndarray:
    """Return the start of a task as an image [height, width, 3] uint8."""
    scene = SCENES[TASKS[name].scene]
    model = build_model(TASKS[name].scene, visual=True)
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    if TASKS[name].place == "pose":  # somewhere among the places that a reset draws
        data.qpos[[0, 1, 3, 6]] = 0.3, -0.1, np.cos(0.3), np.sin(0.3)
    mujoco.mj_forward(model, data)
    camera = mujoco.MjvCamera()
    camera.lookat[:], camera.distance = scene.camera[0], scene.camera[2]
    camera.azimuth, camera.elevation = scene.camera[1]
    with mujoco.Renderer(model, height, width) as renderer:
        renderer.update_scene(data, camera)
        if camera.distance > 5.0:  # too far for the shadow map, which speckles
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        if TASKS[name].place == "goal":
            _mark(renderer.scene)
        return renderer.render()


def _mark(scene: mujoco.MjvScene) -> None:
    """Add the goal of the hand, a red sphere as upstream draws it."""
    colour = np.array([0.8, 0.28, 0.28, 1.0], dtype=np.float32)
    mujoco.mjv_initGeom(
        scene.geoms[scene.ngeom],
        mujoco.mjtGeom.mjGEOM_SPHERE,
        np.full(3, 0.05),
        np.array(GOAL),
        np.eye(3).ravel(),
        colour,
    )
    scene.ngeom += 1


def png(image: np.ndarray) -> bytes:
    """Return an image [H, W, 3] uint8 as a PNG file."""
    height, width, _ = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def load(words: list[str]) -> PictureConfig:
    """Return the configuration that the words describe."""
    config = choose(words, {"pictures": PictureConfig()}, "pictures")
    if config.task_set not in TASK_SETS:
        raise ConfigError(f"no task_set {config.task_set!r}; there are {sorted(TASK_SETS)}")
    return config


def main() -> int:
    """Draw them all."""
    try:
        config = from_command_line(load, __doc__)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if config is None:
        return 0
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    for name in TASK_SETS[config.task_set]:
        path = folder / f"{name}.png"
        path.write_bytes(png(render(name, config.width, config.height)))
        print(path, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
