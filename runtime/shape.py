"""What the H1 looks like, for a browser: bodies, joints and triangles out of `h1.xml`.

Reads the file itself, so that a robot's computer needs no simulator to show its robot. Knows the
part of MJCF that our file uses: one chain of hinges, visual geoms, vertex-only meshes (hulls).
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime import h1

AROUND = 20  # facets of a cylinder
CREASE = np.cos(np.deg2rad(40.0))  # sharper edges of a hull stay sharp


@dataclass(frozen=True)
class Body:
    """One link: where it hangs on its parent, and about which joint it turns."""

    name: str
    parent: int  # index, -1: the world
    pos: tuple[float, ...]  # m, in the parent
    quat: tuple[float, ...]  # w x y z
    joint: int  # index into h1.JOINT_NAMES, -1: none
    axis: tuple[float, ...]
    vertices: np.ndarray  # [3 T, 9] float32: position, normal, colour of each corner


def bodies(path: Path = h1.XML_PATH) -> list[Body]:
    """Return every body of the robot, parents first."""
    root = ET.parse(path).getroot()
    colours = {m.get("name", ""): _numbers(m, "rgba") for m in root.iter("material")}
    points = {m.get("name", ""): _numbers(m, "vertex").reshape(-1, 3) for m in root.iter("mesh")}
    names = {g.get("mesh", "") for g in root.iter("geom") if g.get("class") == "visual"}
    meshes = {name: hull(points[name]) for name in names if name}
    found: list[Body] = []

    def visit(element: ET.Element, parent: int) -> None:
        joint = element.find("joint")
        geoms = [_geom(g, meshes, colours) for g in element.findall("geom[@class='visual']")]
        body = Body(
            name=element.get("name", ""),
            parent=parent,
            pos=tuple(_numbers(element, "pos", "0 0 0").tolist()),
            quat=tuple(_numbers(element, "quat", "1 0 0 0").tolist()),
            joint=-1 if joint is None else h1.JOINT_NAMES.index(joint.get("name", "")),
            axis=(0.0, 0.0, 1.0) if joint is None else tuple(_numbers(joint, "axis").tolist()),
            vertices=np.concatenate([np.zeros((0, 9), np.float32), *geoms]),
        )
        found.append(body)
        index = len(found) - 1
        for child in element.findall("body"):
            visit(child, index)

    for element in root.findall("worldbody/body"):
        visit(element, -1)
    return found


def description(links: list[Body]) -> dict[str, Any]:
    """Return what a page must know beside the triangles, ready for JSON."""
    return {
        "bodies": [
            {
                "name": body.name,
                "parent": body.parent,
                "pos": body.pos,
                "quat": body.quat,
                "joint": body.joint,
                "axis": body.axis,
                "corners": len(body.vertices),
            }
            for body in links
        ],
        "joints": list(h1.JOINT_NAMES),
        "lower": h1.JOINT_LOWER.tolist(),
        "upper": h1.JOINT_UPPER.tolist(),
        "torque_limit": h1.TORQUE_LIMIT.tolist(),
        "velocity_limit": h1.VELOCITY_LIMIT.tolist(),
    }


def _numbers(element: ET.Element, name: str, default: str = "") -> np.ndarray:
    return np.array(element.get(name, default).split(), np.float64)


def _geom(
    element: ET.Element, meshes: dict[str, np.ndarray], colours: dict[str, np.ndarray]
) -> np.ndarray:
    """Return a visual geom's corners [3 T, 9] in its body."""
    kind, size = element.get("type", "sphere"), _numbers(element, "size")
    position, turn = _numbers(element, "pos", "0 0 0"), _matrix(element)
    if element.get("fromto"):
        ends = _numbers(element, "fromto").reshape(2, 3)
        position, turn = ends.mean(0), _along(ends[1] - ends[0])
        size = np.array([size[0], 0.5 * np.linalg.norm(ends[1] - ends[0])])
    if kind == "mesh":
        points = meshes[element.get("mesh", "")]
        normals = _smooth(points)
    elif kind == "box":
        corners = np.array(np.meshgrid(*[(-1.0, 1.0)] * 3)).reshape(3, -1).T * size
        points = hull(corners)
        normals = _smooth(points)
    elif kind == "cylinder":
        points, normals = _revolve(_rim(size[0], size[1]))
    elif kind == "capsule":
        points, normals = _revolve(_arc(size[0], size[1]))
    elif kind in ("sphere", "ellipsoid"):
        points, normals = _revolve(_arc(1.0, 0.0))
        radii = np.broadcast_to(size, 3)
        points, normals = points * radii, normals / radii
        normals = normals / np.linalg.norm(normals, axis=-1, keepdims=True)
    else:
        raise ValueError(f"h1.xml: geom type '{kind}' is not drawn here")
    colour = colours[element.get("material", "shell")][:3]
    parts = (points @ turn.T + position, normals @ turn.T, np.broadcast_to(colour, points.shape))
    return np.concatenate(parts, axis=-1).reshape(-1, 9).astype(np.float32)


def _matrix(element: ET.Element) -> np.ndarray:
    w, *axis = _numbers(element, "quat", "1 0 0 0") / np.linalg.norm(
        _numbers(element, "quat", "1 0 0 0")
    )
    v = np.array(axis)
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + 2.0 * (w * cross + cross @ cross)


def _along(direction: np.ndarray) -> np.ndarray:
    """Return a rotation [3, 3] that takes z to the direction."""
    z = direction / np.linalg.norm(direction)
    x = np.cross((0.0, 1.0, 0.0) if abs(z[1]) < 0.9 else (1.0, 0.0, 0.0), z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def _rim(radius: float, half: float) -> np.ndarray:
    """Return a cylinder's profile [P, 4]: radius, height, and their normal; rims stay sharp."""
    return np.array(
        [
            (0.0, -half, 0.0, -1.0),
            (radius, -half, 0.0, -1.0),
            (radius, -half, 1.0, 0.0),
            (radius, half, 1.0, 0.0),
            (radius, half, 0.0, 1.0),
            (0.0, half, 0.0, 1.0),
        ]
    )


def _arc(radius: float, half: float) -> np.ndarray:
    """Return a capsule's profile [P, 4]; a sphere's with half 0."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 12)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([radius * cos, radius * sin + half * np.sign(sin), cos, sin], axis=1)


def _revolve(profile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return triangles [T, 3, 3] and their corners' normals of a profile turned about z."""
    angle = np.linspace(0.0, 2.0 * np.pi, AROUND + 1)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)  # [A, 2]

    def spread(radius: np.ndarray, height: np.ndarray) -> np.ndarray:
        flat = circle[:, None, :] * radius[None, :, None]
        tall = np.broadcast_to(height[None, :, None], (*flat.shape[:2], 1))
        return np.concatenate([flat, tall], axis=-1)  # [A, P, 3]

    def triangles(grid: np.ndarray) -> np.ndarray:
        a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
        halves = np.stack([np.stack([a, b, c], 2), np.stack([a, c, d], 2)], 2)
        return halves.reshape(-1, 3, 3)

    points = triangles(spread(profile[:, 0], profile[:, 1]))
    normals = triangles(spread(profile[:, 2], profile[:, 3]))
    edges = points[:, 1:] - points[:, :1]
    kept = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=-1) > 1e-12
    return points[kept], normals[kept]


def hull(points: np.ndarray) -> np.ndarray:
    """Return the convex hull of points [N, 3] as outward triangles [T, 3, 3].

    Incremental; a jitter of a millionth of the size, not in the result, settles coplanar points.
    """
    size = np.ptp(points, axis=0).max()
    shaken = points + 1e-6 * size * np.random.default_rng(0).standard_normal(points.shape)
    faces = _first(shaken)
    for index in range(len(shaken)):
        corners = shaken[faces]  # [T, 3, 3]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        seen = ((shaken[index] - corners[:, 0]) * normal).sum(-1) > 1e-15 * size**3
        seen &= ~(faces == index).any(axis=1)
        if not seen.any():
            continue
        edges = np.concatenate([faces[seen][:, pair] for pair in ((0, 1), (1, 2), (2, 0))])
        known = {(int(a), int(b)) for a, b in edges}
        rim = [(a, b, index) for a, b in known if (b, a) not in known]
        faces = np.concatenate([faces[~seen], np.array(rim)])
    return points[faces]


def _first(points: np.ndarray) -> np.ndarray:
    """Return a first tetrahedron as four outward faces [4, 3] of indices."""
    a, b = int(points[:, 0].argmin()), int(points[:, 0].argmax())
    line = points[b] - points[a]
    c = int(np.linalg.norm(np.cross(points - points[a], line), axis=1).argmax())
    normal = np.cross(line, points[c] - points[a])
    height = (points - points[a]) @ normal
    d = int(abs(height).argmax())
    if height[d] > 0.0:
        b, c = c, b
    return np.array([(a, b, c), (a, d, b), (b, d, c), (c, d, a)])


def _smooth(triangles: np.ndarray) -> np.ndarray:
    """Return corner normals [T, 3, 3]: averaged over the faces that meet at less than CREASE."""
    normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    unit = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-15)
    where: dict[tuple[float, ...], list[int]] = {}
    for index, corners in enumerate(triangles):
        for corner in corners:
            where.setdefault(tuple(corner), []).append(index)
    result = np.empty_like(triangles)
    for index, corners in enumerate(triangles):
        for k, corner in enumerate(corners):
            near = np.array(where[tuple(corner)])
            result[index, k] = normal[near[unit[near] @ unit[index] >= CREASE]].sum(0)
    return result / np.maximum(np.linalg.norm(result, axis=-1, keepdims=True), 1e-15)
