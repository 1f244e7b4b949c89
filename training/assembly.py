"""The robot in a scene as one compiled MuJoCo model: h1.xml, the scene's things, its start pose.

Knows the robot's description and the scenes; steps nothing.
"""

# The compiled part of mujoco ships no type stubs.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from runtime import h1
from training.scenes import SCENES, Body, Geom, Scene

MUJOCO = tuple(int(part) for part in mujoco.__version__.split(".")[:2])
SCENE_SENSOR = "scene_reading"
# where the readings that training/physics.py names begin
_FIRST_COLUMN = {"pelvis_subtreelinvel": 0, "head_pos": 3, "imu_pos": 6, "left_foot_pos": 9}
_FIRST_COLUMN |= {
    "right_foot_pos": 12,
    "left_hand_pos": 15,
    "torso_zaxis": 18,
    "left_hip_yaw_torque": 21,
}


def build_model(scene: str = "floor", *, visual: bool = False) -> mujoco.MjModel:
    """Compile the robot in a scene.

    Without `visual` what is only there to be seen, or to play a real robot's IMU, is left out: it
    costs time and no reward reads it.
    """
    if scene not in SCENES:
        raise KeyError(f"no scene {scene!r}; there are {', '.join(SCENES)}")
    root = ElementTree.parse(h1.XML_PATH).getroot()
    _furnish(root, SCENES[scene])
    if not visual:
        _child(root, "compiler").set("discardvisual", "true")
        sensors = _child(root, "sensor")
        for sensor in list(sensors):
            if sensor.get("name", "").startswith("imu_") and sensor.tag != "framepos":
                sensors.remove(sensor)
    if MUJOCO < (3, 3):
        _forget_ccd(root)
    model = mujoco.MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode"))
    for name, column in _FIRST_COLUMN.items():
        if model.sensor(name).adr[0] != column:
            raise ValueError(
                f"sensor {name} of h1.xml begins at {model.sensor(name).adr[0]}, expected {column}"
            )
    # A diverged row is reported, not hidden (before 3.2 MuJoCo always resets it).
    model.opt.disableflags |= int(getattr(mujoco.mjtDisableBit, "mjDSBL_AUTORESET", 0))
    return model


def _forget_ccd(root: ElementTree.Element) -> None:
    """Leave out choices that MuJoCo before 3.3 did not offer; it knew only what they choose."""
    option = _child(root, "option")
    for name in [name for name in option.attrib if name.startswith("ccd_")]:
        del option.attrib[name]
    option.remove(_child(option, "flag"))


def _furnish(root: ElementTree.Element, scene: Scene) -> None:
    """Write a scene's things, its sensor and its start pose into the robot's description."""
    world = _child(root, "worldbody")
    for name, vertices in scene.meshes:
        points = _text([number for vertex in vertices for number in vertex])
        ElementTree.SubElement(_child(root, "asset"), "mesh", {"name": name, "vertex": points})
    for geom in scene.geoms:
        ElementTree.SubElement(world, "geom", _geom(geom))
    for body in scene.bodies:
        _add_body(world, body)
    if scene.reading:
        kind, body_name = scene.reading
        attributes = {"name": SCENE_SENSOR, "objtype": "xbody", "objname": body_name}
        ElementTree.SubElement(_child(root, "sensor"), kind, attributes)
    for key in _child(root, "keyframe"):
        joints = [float(word) for word in key.get("qpos", "").split()][7:]
        key.set("qpos", _text([*scene.pelvis, *joints, *scene.start]))


def _add_body(world: ElementTree.Element, body: Body) -> None:
    place = {"name": body.name, "pos": _text(body.position)}
    element = ElementTree.SubElement(world, "body", place)
    if body.free:
        ElementTree.SubElement(element, "freejoint", {"name": f"free_{body.name}"})
    inertial = {"mass": repr(body.mass), "pos": _text(body.centre), "quat": _text(body.axes)}
    inertial["diaginertia"] = _text(body.inertia)
    ElementTree.SubElement(element, "inertial", inertial)
    for geom in body.geoms:
        ElementTree.SubElement(element, "geom", _geom(geom))


def _geom(geom: Geom) -> dict[str, str]:
    """Return the XML attributes of a geom; group 2 is drawn, group 3 is not."""
    attributes = {"type": geom.type, "pos": _text(geom.position), "mass": "0"}
    if geom.name:
        attributes["name"] = geom.name
    if geom.mesh:
        attributes["mesh"] = geom.mesh
    else:
        attributes["size"] = _text(geom.size)
    if geom.solid:
        attributes["class"] = "collision"
    else:
        attributes |= {"contype": "0", "conaffinity": "0"}
    if geom.rgba is not None:
        attributes |= {"rgba": _text(geom.rgba), "group": "2"}
    return attributes


def touch_table(model: mujoco.MjModel, scene: Scene) -> NDArray[np.bool_]:
    """Return [G, G] bool: does a contact between these two geoms count? See `scenes.Touch`."""
    names = [model.geom(index).name for index in range(model.ngeom)]
    table = np.zeros((model.ngeom, model.ngeom), dtype=bool)
    for touch in scene.touches:
        who = np.array([name.startswith(touch.name) for name in names])
        other = np.array([name not in touch.allowed for name in names])
        table |= np.outer(who, other) | np.outer(other, who)
    return table


def _child(root: ElementTree.Element, tag: str) -> ElementTree.Element:
    child = root.find(tag)
    if child is None:
        raise ValueError(f"{h1.XML_PATH.name} has no <{tag}>")
    return child


def _text(values: Sequence[float]) -> str:
    return " ".join(repr(float(value)) for value in values)
