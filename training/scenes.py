"""What stands in the world beside the robot, per scene, as figures; the floor is always there.

So far only the bare floor. A scene with things in it lists them in `geoms`; `training.physics`
compiles them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Geom:
    """One fixed, solid geom in world coordinates; sizes in MuJoCo's way (half lengths), m."""

    name: str
    type: str
    size: tuple[float, ...]
    position: tuple[float, float, float]
    rgba: tuple[float, float, float, float] = (0.6, 0.6, 0.6, 1.0)


@dataclass(frozen=True)
class Scene:
    """The things beside the robot, and where its pelvis starts."""

    geoms: tuple[Geom, ...] = ()
    pelvis: tuple[float, ...] = (0.0, 0.0, 0.98, 1.0, 0.0, 0.0, 0.0)  # m, quaternion wxyz


SCENES: dict[str, Scene] = {"floor": Scene()}
