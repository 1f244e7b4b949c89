"""The observation: each number from an independent formula, the same for one robot and for many."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from runtime import h1
from runtime.observation import Memory, gravity_of, observe, remember, yaw_of
from runtime.spec import SpecError, block, default_observation, spec_for_h1
from runtime.state import Command, RobotState, state_from_generalized


def rotation_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Rotation matrix from q v q*, by quaternion products: not the formula under test."""

    def product(a, b):
        scalar = a[0] * b[0] - a[1:] @ b[1:]
        return np.array([scalar, *(a[0] * b[1:] + b[0] * a[1:] + np.cross(a[1:], b[1:]))])

    conjugate = quaternion * [1, -1, -1, -1]
    columns = [
        product(product(quaternion, np.array([0.0, *axis])), conjugate)[1:] for axis in np.eye(3)
    ]
    return np.array(columns).T


def random_state(rng: np.random.Generator, batch: tuple[int, ...] = ()) -> RobotState:
    quaternion = rng.normal(size=(*batch, 4))
    quaternion /= np.linalg.norm(quaternion, axis=-1, keepdims=True)
    qpos = np.concatenate(
        [rng.normal(size=(*batch, 3)), quaternion, rng.normal(size=(*batch, 19))], -1
    )
    return state_from_generalized(qpos, rng.normal(size=(*batch, 25)))


def spec_with(history: int = 1, sim_only: bool = False):
    spec = spec_for_h1("test", ("stand", "walk", "run"), "home", history=history)
    if not sim_only:
        return spec
    extra = (block("base_height"), block("base_linear_velocity", 2))
    return dataclasses.replace(spec, observation=spec.observation + extra)


def test_gravity_and_yaw_agree_with_the_rotation_matrix():
    rng = np.random.default_rng(0)
    for _ in range(20):
        q = random_state(rng).orientation
        matrix = rotation_matrix(q)
        np.testing.assert_allclose(gravity_of(q), matrix.T @ [0, 0, -1], atol=1e-12)
        np.testing.assert_allclose(yaw_of(q), np.arctan2(matrix[1, 0], matrix[0, 0]), atol=1e-12)
        np.testing.assert_allclose(gravity_of(3.0 * q), gravity_of(q), atol=1e-12)


def test_one_frame_holds_each_block_in_order_and_scaled():
    spec, rng = spec_with(history=1, sim_only=True), np.random.default_rng(1)
    state, action = random_state(rng), rng.uniform(-1, 1, 19)
    memory = Memory.create(spec)
    remember(memory, action)
    vector = observe(state, Command("walk", heading=0.3), spec, memory)
    matrix = rotation_matrix(state.orientation)
    yaw = np.arctan2(matrix[1, 0], matrix[0, 0])
    turn = np.array([[np.cos(yaw), np.sin(yaw), 0], [-np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    velocity = turn @ state.base_linear_velocity
    expected = [
        *(matrix.T @ [0, 0, -1]),
        *state.angular_velocity,
        np.sin(yaw - 0.3),
        np.cos(yaw - 0.3),
        *(state.joint_position - h1.DEFAULT_POSE),
        *(0.05 * state.joint_velocity),
        *action,
        *(0.0, 1.0, 0.0),
        state.base_position[2],
        *velocity,
        *velocity,
    ]
    assert vector.dtype == np.float32
    assert vector.shape == (spec.observation_size,)
    np.testing.assert_allclose(vector, expected, rtol=1e-6, atol=1e-6)


def test_history_is_oldest_first_and_filled_by_the_first_frame():
    spec, rng = spec_with(history=3), np.random.default_rng(2)
    states = [random_state(rng) for _ in range(5)]
    memory, command = Memory.create(spec), Command("stand")
    rows = [observe(state, command, spec, memory) for state in states]
    rates = [state.angular_velocity.astype(np.float32) for state in states]  # second block: 9:18

    def stretch(i: int) -> np.ndarray:
        return rows[i][9:18].reshape(3, 3)

    np.testing.assert_array_equal(stretch(0), [rates[0]] * 3)
    np.testing.assert_array_equal(stretch(1), [rates[0], rates[0], rates[1]])
    np.testing.assert_array_equal(stretch(4), rates[2:5])
    memory.reset()
    np.testing.assert_array_equal(
        observe(states[1], command, spec, memory)[9:18].reshape(3, 3), [rates[1]] * 3
    )


def test_a_batch_gives_exactly_what_each_robot_alone_gives():
    spec, rng = spec_with(history=4, sim_only=True), np.random.default_rng(3)
    many, single = Memory.create(spec, (6,)), [Memory.create(spec) for _ in range(6)]
    for tick in range(7):
        state, actions = random_state(rng, (6,)), rng.uniform(-1, 1, (6, 19))
        tasks, heading = rng.integers(0, 3, 6), rng.normal(size=6)
        rows = observe(state, Command(tasks, heading), spec, many)
        for i in range(6):
            parts = [getattr(state, f.name) for f in dataclasses.fields(state) if f.name != "stamp"]
            one = RobotState(0.0, *(part[i] for part in parts))
            command = Command(spec.tasks[tasks[i]], float(heading[i]))
            np.testing.assert_array_equal(observe(one, command, spec, single[i]), rows[i])
            remember(single[i], actions[i])
        remember(many, actions)
        if tick == 3:  # rows of a batch are reset on their own
            many.reset(np.array([1, 4]))
            for i in (1, 4):
                single[i].reset()
        if tick == 4:  # and one goes on with what another remembers
            many.imitate(np.array([2]), np.array([5]))
            for name in ("previous_action", "frames", "fresh"):
                getattr(single[2], name)[...] = getattr(single[5], name)


def test_an_unknown_task_is_refused_with_the_list_of_tasks():
    spec = spec_with()
    with pytest.raises(SpecError, match=r"'fly'.*'stand', 'walk', 'run'"):
        observe(random_state(np.random.default_rng(0)), Command("fly"), spec, Memory.create(spec))


def test_a_memory_of_another_layout_is_refused():
    spec = spec_with()
    other = dataclasses.replace(spec, observation=default_observation(spec.tasks, 7))
    with pytest.raises(SpecError, match="another observation layout"):
        observe(
            random_state(np.random.default_rng(0)), Command("stand"), spec, Memory.create(other)
        )
