"""The compiled h1.xml against the figures, and against rigid-body algebra written out here."""

import json
from pathlib import Path

import mujoco
import numpy as np
import pytest

from runtime import h1

FIGURES = json.loads((Path(__file__).parents[1] / "golden" / "h1_figures.json").read_text())
BODIES = {body["name"]: body for body in FIGURES["bodies"]}
HINGES = [joint for joint in FIGURES["joints"] if joint["type"] == "hinge"]
HINGE_OF = {joint["body"]: joint for joint in HINGES}


@pytest.fixture(scope="module")
def model():
    return mujoco.MjModel.from_xml_path(str(h1.XML_PATH))


def rotation(quat):
    """Rotation matrix of a quaternion w, x, y, z."""
    w, x, y, z = np.asarray(quat, dtype=float) / np.linalg.norm(quat)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def about(axis, angle):
    """Rotation matrix by Rodrigues' formula."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def frames(qpos):
    """World frames from the figures alone: name -> (position [3], rotation [3, 3])."""
    placed = {}
    for name, body in BODIES.items():
        if name == "pelvis":
            placed[name] = (qpos[:3], rotation(qpos[3:7]))
            continue
        position, orientation = placed[body["parent"]]
        turned = orientation @ rotation(body["quat"])
        if name in HINGE_OF:
            joint = HINGE_OF[name]
            turned = turned @ about(joint["axis"], qpos[joint["qpos_index"]])
        placed[name] = (position + orientation @ np.array(body["pos"]), turned)
    return placed


def mass_matrix(qpos):
    """Sum of m J_v' J_v + J_w' I J_w over the bodies, plus the armatures: [25, 25]."""
    placed, total = frames(qpos), np.zeros((25, 25))
    for name, body in BODIES.items():
        position, orientation = placed[name]
        centre = position + orientation @ np.array(body["ipos"])
        inertial = orientation @ rotation(body["iquat"])
        linear, angular = np.zeros((3, 25)), np.zeros((3, 25))
        linear[:, :3], angular[:, 3:6] = np.eye(3), placed["pelvis"][1]
        linear[:, 3:6] = np.cross(angular[:, 3:6].T, centre - qpos[:3]).T
        link = name
        while link != "pelvis":
            if link in HINGE_OF:
                joint, (anchor, turned) = HINGE_OF[link], placed[link]
                axis = turned @ np.array(joint["axis"], dtype=float)
                angular[:, joint["dof_index"]] = axis
                linear[:, joint["dof_index"]] = np.cross(axis, centre - anchor)
            link = BODIES[link]["parent"]
        inertia = inertial @ np.diag(body["inertia"]) @ inertial.T
        total += body["mass"] * linear.T @ linear + angular.T @ inertia @ angular
    total[np.arange(6, 25), np.arange(6, 25)] += [joint["armature"] for joint in HINGES]
    return total


def random_state(generator):
    quat = generator.normal(size=4)
    joints = generator.uniform(h1.JOINT_LOWER, h1.JOINT_UPPER)
    return np.concatenate([generator.normal(size=3), quat / np.linalg.norm(quat), joints])


def test_mass_and_inertias_equal_the_figures(model):
    assert model.body_mass.sum() == pytest.approx(FIGURES["total_mass"], abs=1e-12)
    for name, body in BODIES.items():
        assert model.body(name).mass[0] == body["mass"]
        np.testing.assert_allclose(model.body(name).inertia, body["inertia"], rtol=1e-12)
        np.testing.assert_allclose(model.body(name).ipos, body["ipos"], atol=1e-12)


def test_joint_ranges_and_gains_of_the_model_equal_h1_py(model):
    for index, name in enumerate(h1.JOINT_NAMES):
        joint, actuator = model.joint(name), model.actuator(index)
        assert actuator.name == name
        assert actuator.trnid[0] == joint.id
        assert joint.qposadr[0] == 7 + index
        limits = [h1.JOINT_LOWER[index], h1.JOINT_UPPER[index]]
        assert joint.range.tolist() == actuator.ctrlrange.tolist() == limits
        assert actuator.forcerange[1] == -actuator.forcerange[0] == h1.TORQUE_LIMIT[index]
        assert actuator.gainprm[0] == -actuator.biasprm[1] == h1.STIFFNESS[index]
        assert actuator.biasprm[2] == -h1.DAMPING[index]
        assert (joint.damping[0], joint.armature[0]) == (1.0, 0.1)


def test_keyframe_is_the_default_pose(model):
    expected = [0, 0, 0.98, 1, 0, 0, 0, *h1.DEFAULT_POSE]
    assert model.key("home").qpos.tolist() == expected


def test_sites_and_bodies_stand_where_rigid_body_algebra_puts_them(model):
    data, generator = mujoco.MjData(model), np.random.default_rng(0)
    for _ in range(20):
        data.qpos[:] = random_state(generator)
        placed = frames(data.qpos.copy())
        mujoco.mj_kinematics(model, data)
        for name, (position, orientation) in placed.items():
            np.testing.assert_allclose(data.body(name).xpos, position, atol=1e-9)
            np.testing.assert_allclose(data.body(name).xmat.reshape(3, 3), orientation, atol=1e-9)
        for site in FIGURES["sites"]:
            position, orientation = placed[site["body"]]
            expected = position + orientation @ np.array(site["pos"])
            np.testing.assert_allclose(data.site(site["name"]).xpos, expected, atol=1e-9)


def test_mass_matrix_equals_the_sum_over_links(model):
    data, generator = mujoco.MjData(model), np.random.default_rng(1)
    full = np.zeros((25, 25))
    for _ in range(10):
        data.qpos[:] = random_state(generator)
        expected = mass_matrix(data.qpos.copy())
        mujoco.mj_forward(model, data)
        for dof in range(25):  # column by column: works with every version's storage of M
            column, unit = np.zeros(25), np.eye(25)[dof]
            mujoco.mj_mulM(model, data, column, unit)
            full[:, dof] = column
        np.testing.assert_allclose(full, expected, atol=1e-8)


def test_only_the_floor_and_the_hulls_can_touch(model):
    solid = [model.geom(i).name for i in range(model.ngeom) if model.geom_contype[i]]
    assert solid[0] == "floor"
    assert len(solid) == 21  # 18 hulls, 2 cylinders
    assert all(name.endswith("_collision") for name in solid[1:])
    for body, count in FIGURES["hull_counts"].items():
        assert model.mesh(body).vertnum[0] == count


def test_one_contact_per_convex_pair_in_every_version(model):
    assert model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_NATIVECCD
    multi = getattr(mujoco.mjtDisableBit, "mjDSBL_MULTICCD", None)
    if multi is None:  # before 3.8 it is an option that is off unless asked for
        assert not model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_MULTICCD
    else:
        assert model.opt.disableflags & multi


def test_what_is_only_seen_weighs_nothing_and_touches_nothing(model):
    seen = [i for i in range(model.ngeom) if not model.geom_contype[i]]
    assert all(not model.geom_conaffinity[i] and model.geom_group[i] == 2 for i in seen)


def test_the_robot_stands_for_half_a_second_under_its_own_gains(model):
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    data.ctrl[:] = h1.DEFAULT_POSE
    for _ in range(250):
        mujoco.mj_step(model, data)
    assert 0.9 < data.qpos[2] < 1.0
