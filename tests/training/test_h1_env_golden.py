"""The environment against HumanoidBench itself: data recorded from the original (MuJoCo 3.1.6).

MuJoCo 3.13 generates plane-mesh contacts differently, so what involves a physics step gets the
wider limits there that the original's own meshes would need too.
"""

from pathlib import Path

import mujoco
import numpy as np
import pytest

from training import physics
from training.h1_env import H1Env

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "humanoidbench_h1.npz")
TASKS = ("stand", "walk", "run")
NEW_CONTACTS = tuple(map(int, mujoco.__version__.split(".")[:2])) >= (3, 13)


def put(env, qpos, qvel, control):
    """Place every row in a recorded state, as the recorder did: reset, state, control, forward."""
    for row, (model, data) in enumerate(zip(env.physics.models, env.physics.data, strict=True)):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:], data.ctrl[:] = qpos[row], qvel[row], control[row]
        mujoco.mj_forward(model, data)
    env.physics.gather()


@pytest.fixture(scope="module", params=TASKS)
def recorded(request):
    """(name, environment with one row per recorded state, the task's arrays)."""
    name = request.param
    arrays = {key.split("/")[1]: GOLDEN[key] for key in GOLDEN.files if key.startswith(f"{name}/")}
    env = H1Env([name] * len(arrays["s_qpos"]), seed=0)
    return name, env, arrays


def test_reward_terms_and_termination_of_recorded_states_agree_to_1e_9(recorded):
    _, env, arrays = recorded
    put(env, arrays["s_qpos"], arrays["s_qvel"], env.control(arrays["s_act"]))
    task, seen = env.tasks[0], env.readings()
    reward, terms = task.reward(seen)
    np.testing.assert_allclose(reward, arrays["f_rew"], atol=1e-9)
    for column, term in enumerate(arrays["info_names"]):
        np.testing.assert_allclose(terms[term], arrays["f_info"][:, column], atol=1e-9)
    assert (task.terminated(seen) == arrays["f_term"]).all()
    np.testing.assert_allclose(seen.torque, arrays["f_actf"], atol=1e-9)
    np.testing.assert_allclose(np.hstack([env.qpos, env.qvel]), arrays["f_obs"], atol=1e-9)


def test_heights_tilt_and_velocity_of_recorded_states_agree_to_1e_9(recorded):
    _, env, arrays = recorded
    put(env, arrays["s_qpos"], arrays["s_qvel"], env.control(arrays["s_act"]))
    sensors = env.physics.sensors
    columns = [
        sensors[:, [physics.HEAD_HEIGHT, physics.UPRIGHT]],
        sensors[:, [physics.LEFT_FOOT_HEIGHT, physics.RIGHT_FOOT_HEIGHT]],
        sensors[:, physics.COM_VELOCITY],
        sensors[:, physics.IMU_POSITION],
        env.qpos[:, :3],
        sensors[:, physics.LEFT_HAND_POSITION],
    ]
    np.testing.assert_allclose(np.hstack(columns), arrays["f_aux"], atol=1e-9)


def test_one_step_from_recorded_states_agrees_as_well_as_the_hulls_allow(recorded):
    _, env, arrays = recorded
    put(env, arrays["s_qpos"], arrays["s_qvel"], np.zeros((env.num_envs, 19)))
    step = env.step(arrays["s_act"])
    error = np.abs(step.reward - arrays["n_rew"])
    assert np.median(error) < (1e-4 if NEW_CONTACTS else 1e-5)
    assert np.quantile(error, 0.9) < 2e-3
    assert error.max() < 2e-2
    assert (step.terminated == arrays["n_term"]).all()
    moved = np.abs(env.qpos - arrays["n_obs"][:, :26]).max(axis=1)
    assert np.median(moved) < (4e-3 if NEW_CONTACTS else 2e-4)


def test_readings_after_a_step_are_one_substep_old_as_the_benchmarks_are(recorded):
    """With fresh torques instead, the recorded reward terms would be missed by far."""
    _, env, arrays = recorded
    put(env, arrays["s_qpos"], arrays["s_qvel"], np.zeros((env.num_envs, 19)))
    env.step(arrays["s_act"])
    stale = np.abs(env.readings().torque - arrays["n_actf"])
    for model, data in zip(env.physics.models, env.physics.data, strict=True):
        mujoco.mj_forward(model, data)
    env.physics.gather()
    fresh = np.abs(env.readings().torque - arrays["n_actf"])
    assert np.median(stale) < 0.05 * np.median(fresh)


def test_first_observations_equal_the_benchmarks_for_its_seeds(recorded):
    name, _, arrays = recorded
    env = H1Env([name] * 4, seed=arrays["reset_seed"].tolist())
    np.testing.assert_allclose(
        np.hstack([env.qpos, env.qvel]), arrays["reset_obs"], rtol=0, atol=1e-12
    )


def test_recorded_trajectories_are_followed_until_contacts_amplify_the_hulls_error(recorded):
    """Near home: 5 mm over 50 steps, 3 cm through the fall, 1 % of return. Wild: 2 mm, 10 steps."""
    name, _, arrays = recorded
    env = H1Env([name] * 2, seed=0, reset_noise=0.0)
    heights, rewards = [], []
    for action in arrays["t_act"].swapaxes(0, 1):
        rewards.append(env.step(action).reward)
        heights.append(env.qpos[:, 2].copy())
    apart = np.abs(np.array(heights).T - arrays["t_qpos"][:, :, 2])
    slack = 4 if NEW_CONTACTS else 1
    assert apart[:, :10].max() < 2e-3 * slack
    assert apart[0, :50].max() < 5e-3 * slack
    assert apart[0].max() < 3e-2 * slack
    returns = np.array(rewards).sum(axis=0)
    assert returns[0] == pytest.approx(arrays["t_rew"][0].sum(), rel=0.01)
