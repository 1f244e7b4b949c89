"""The browser's H1 is MuJoCo's H1: hulls, bodies, joints, triangles that close."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from runtime import h1, shape

mujoco = pytest.importorskip("mujoco")


def volume(triangles: np.ndarray) -> float:
    """Return what a closed surface of outward triangles [T, 3, 3] encloses (divergence theorem)."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    return float((a * np.cross(b, c)).sum() / 6.0)


@pytest.fixture(scope="module")
def model():
    return mujoco.MjModel.from_xml_path(str(h1.XML_PATH))


def test_every_hull_encloses_what_mujoco_s_own_hull_does(model):
    for element in ET.parse(h1.XML_PATH).getroot().iter("mesh"):
        name = element.get("name", "")
        points = np.array(element.get("vertex", "").split(), float).reshape(-1, 3)
        mesh = model.mesh(name)
        first, count = int(mesh.faceadr[0]), int(mesh.facenum[0])
        start, vertices = int(mesh.vertadr[0]), int(mesh.vertnum[0])
        corners = model.mesh_vert[start : start + vertices][model.mesh_face[first : first + count]]
        assert volume(shape.hull(points)) == pytest.approx(volume(corners), rel=1e-5), name


def test_the_hull_of_a_cube_with_points_inside_is_the_cube():
    corners = np.array(np.meshgrid(*[(-1.0, 1.0)] * 3)).reshape(3, -1).T
    inside = np.random.default_rng(0).uniform(-0.9, 0.9, (50, 3))
    triangles = shape.hull(np.concatenate([inside, corners]))
    assert len(triangles) == 12
    assert volume(triangles) == pytest.approx(8.0)


def test_bodies_and_joints_hang_together_as_in_mujoco(model):
    links = shape.bodies()
    assert [link.joint for link in links if link.joint >= 0] == list(range(h1.NUM_JOINTS))
    for link in links:
        body = model.body(link.name)
        parent = "world" if link.parent < 0 else links[link.parent].name
        assert model.body(int(body.parentid[0])).name == parent
        np.testing.assert_allclose(link.pos, body.pos, atol=1e-9)
        quat = np.array(link.quat) / np.linalg.norm(link.quat)
        np.testing.assert_allclose(quat, body.quat, atol=1e-6)
        if link.joint >= 0:
            np.testing.assert_allclose(link.axis, model.joint(h1.JOINT_NAMES[link.joint]).axis)


def test_triangles_lie_where_mujoco_s_visual_geoms_lie(model):
    """The box around a body's triangles is the box around its geoms' own bounding boxes."""
    for link in shape.bodies():
        body = int(model.body(link.name).id)
        boxes = []
        for geom in np.flatnonzero((model.geom_bodyid == body) & (model.geom_group == 2)):
            turn = np.zeros(9)
            mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
            centre, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
            signs = np.array(np.meshgrid(*[(-1.0, 1.0)] * 3)).reshape(3, -1).T
            boxes.append((centre + signs * half) @ turn.reshape(3, 3).T + model.geom_pos[geom])
        if not boxes:
            assert len(link.vertices) == 0
            continue
        around, points = np.concatenate(boxes), link.vertices[:, :3]
        assert (points.min(0) >= around.min(0) - 1e-4).all(), link.name
        assert (points.max(0) <= around.max(0) + 1e-4).all(), link.name
        assert (np.ptp(points, axis=0) > 0.6 * np.ptp(around, axis=0)).all(), link.name


def test_normals_have_length_one_and_look_outwards():
    for link in shape.bodies():
        corners = link.vertices.reshape(-1, 3, 9).astype(float)
        points, normals = corners[..., :3], corners[..., 3:6]
        np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1.0, atol=1e-4)
        flat = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
        assert ((flat[:, None] * normals).sum(-1) > -1e-9).all(), link.name
