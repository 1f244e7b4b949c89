"""Every named range does what it says, within its range, and a seed repeats itself."""

import dataclasses

import mujoco
import numpy as np
import pytest

from runtime import h1
from training import physics
from training.assembly import build_model
from training.cli import ConfigError, to_dict
from training.collector import Collector
from training.config import from_dict
from training.h1_env import H1Env
from training.presets import PRESETS, load_config
from training.randomization import CONTROL_SUBSTEPS, MODERATE, SENSED, Randomization
from training.trainer import Trainer

STAND = ["stand"] * 4
FACTORS = {  # range: the model's figures that it multiplies
    "friction": lambda model: model.geom_friction[:, 0],
    "mass": lambda model: model.body_mass,
    "inertia": lambda model: model.body_inertia,
    "strength": lambda model: model.actuator_forcerange,
    "stiffness": lambda model: model.actuator_gainprm[:, 0],
    "damping": lambda model: model.actuator_biasprm[:, 2],
}
ALSO = {"mass": {"inertia"}}  # a heavier link of the same shape is also harder to turn
WHERE = {  # columns of the 51 numbers of a robot's observation
    "joint_position": slice(7, 26),
    "orientation": slice(3, 7),
    "base_velocity": slice(26, 29),
    "angular_velocity": slice(29, 32),
    "joint_velocity": slice(32, 51),
}
EVERYTHING = {name: (0.9, 1.1) for name in FACTORS}
EVERYTHING |= {f"{name}_noise": (0.01, 0.02) for name in SENSED}
EVERYTHING |= {f"{name}_bias": (-0.02, 0.02) for name in SENSED}
EVERYTHING |= {"latency": (0, 10), "push_speed": (-0.5, 0.5), "push_interval": 0.1}
EVERYTHING |= {"imu_mounting": (-0.05, 0.05)}


def ratios(figures, model, nominal):
    before = figures(nominal)
    return figures(model)[before != 0] / before[before != 0]


def errors(env, name, obs=None):
    """Return what the observation has wrong of one quantity; rotations as vectors in the body."""
    obs = env.reset() if obs is None else obs
    truth = np.concatenate([env.qpos, env.qvel], axis=1)
    if name != "orientation":
        return obs[:, WHERE[name]] - truth[:, WHERE[name]]
    found = np.zeros((env.num_envs, 3))
    for row in range(env.num_envs):
        mujoco.mju_subQuat(found[row], obs[row, 3:7].astype(float), truth[row, 3:7])
    return found


def play(env, steps=8):
    random = np.random.default_rng(3)
    taken = [
        env.step(random.uniform(-0.3, 0.3, (env.num_envs, 19)).astype(np.float32))
        for _ in range(steps)
    ]
    return np.array([step.obs for step in taken]), np.array([step.reward for step in taken])


@pytest.mark.parametrize("name", FACTORS)
def test_a_factor_changes_its_own_figures_within_its_range(name):
    nominal = build_model()
    env = H1Env(STAND, seed=0, randomize=Randomization(**{name: (0.6, 0.8)}))
    drawn = np.concatenate([ratios(FACTORS[name], model, nominal) for model in env.physics.models])
    assert 0.6 <= drawn.min() < drawn.max() <= 0.8
    for other in set(FACTORS) - {name} - ALSO.get(name, set()):
        for model in env.physics.models:
            np.testing.assert_allclose(ratios(FACTORS[other], model, nominal), 1, rtol=1e-12)


def test_a_weak_motor_cannot_hold_what_a_strong_one_holds():
    env = H1Env(["stand"], seed=0, randomize=Randomization(strength=(0.1, 0.1)), terminate=False)
    limits = 0.1 * build_model().actuator_forcerange[:, 1]
    random = np.random.default_rng(0)
    for _ in range(20):
        env.step(random.uniform(-1, 1, (1, 19)))
        assert (np.abs(env.physics.data[0].actuator_force) <= limits + 1e-9).all()


def test_latency_is_the_delay_up_to_a_whole_control_step():
    assert CONTROL_SUBSTEPS == physics.SUBSTEPS
    whole = Randomization(latency=(10, 10))
    one = play(H1Env(STAND, seed=[1, 2, 3, 4], randomize=whole))
    two = play(H1Env(STAND, seed=[1, 2, 3, 4], delay_substeps=(10, 10)))
    np.testing.assert_allclose(one[0], two[0], atol=1e-6)
    env = H1Env(["stand"] * 40, seed=0, randomize=Randomization(latency=(2, 6)))
    assert set(env._delay) == {2, 3, 4, 5, 6}


@pytest.mark.parametrize("name", SENSED)
def test_a_bias_is_constant_over_an_episode_and_within_its_range(name):
    env = H1Env(STAND, seed=0, randomize=Randomization(**{f"{name}_bias": (0.02, 0.05)}))
    first = errors(env, name)
    assert first.min() > 0.02 - 1e-3
    assert first.max() < 0.05 + 1e-3
    later = errors(env, name, env.step(np.zeros((4, 19))).obs)
    np.testing.assert_allclose(later, first, atol=1e-4)
    assert (errors(env, name) != first).any()
    for other in set(SENSED) - {name}:
        assert np.abs(errors(env, other)).max() < 1e-5


@pytest.mark.parametrize("name", SENSED)
def test_noise_is_new_in_every_step_and_as_strong_as_asked(name):
    env = H1Env(["stand"] * 8, seed=0, randomize=Randomization(**{f"{name}_noise": (0.02, 0.04)}))
    env.reset()
    taken = [errors(env, name, env.step(np.zeros((8, 19))).obs) for _ in range(30)]
    spread = np.std(taken, axis=(0, 2))  # per row: each episode draws its own
    assert 0.015 < spread.min() < spread.max() < 0.05
    assert not np.array_equal(taken[0], taken[1])
    for other in set(SENSED) - {name}:
        assert np.abs(errors(env, other)).max() < 1e-5


def test_the_imu_is_mounted_askew_once_per_episode():
    env = H1Env(STAND, seed=0, randomize=Randomization(imu_mounting=(-0.1, 0.1)), terminate=False)
    first = errors(env, "orientation")
    assert 0.01 < np.abs(first).max() < 0.1 + 1e-6
    assert len(np.unique(first[:, 0])) == 4
    obs = [env.step(np.full((4, 19), 0.3)).obs for _ in range(5)][-1]
    np.testing.assert_allclose(errors(env, "orientation", obs), first, atol=1e-5)
    for row in range(4):  # oracle: MuJoCo's rotation of the true rate into the turned frame
        turn, felt = np.zeros(4), np.zeros(3)
        axis = first[row] / np.linalg.norm(first[row])
        mujoco.mju_axisAngle2Quat(turn, axis, -np.linalg.norm(first[row]))
        mujoco.mju_rotVecQuat(felt, env.qvel[row, 3:6], turn)
        np.testing.assert_allclose(obs[row, 29:32], felt, atol=1e-4)
    assert np.abs(env.qvel[:, 3:6]).max() > 0.1
    for other in ("joint_position", "joint_velocity", "base_velocity"):
        assert np.abs(errors(env, other, obs)).max() < 1e-5


def test_wrong_senses_leave_the_true_state_and_the_rewards_as_they_are():
    senses = {k: v for k, v in EVERYTHING.items() if k.endswith(("noise", "bias", "mounting"))}
    plain = H1Env(STAND, seed=[1, 2, 3, 4])
    other = H1Env(STAND, seed=[1, 2, 3, 4], randomize=Randomization(**senses))
    (seen, rewards), (felt, judged) = play(plain), play(other)
    np.testing.assert_allclose(other.qpos, plain.qpos, atol=1e-9)
    np.testing.assert_allclose(judged, rewards, atol=1e-6)
    assert np.abs(felt - seen).max() > 0.01


def test_things_in_a_scene_stay_as_they_are_in_what_is_felt():
    env = H1Env(["sit_hard"], seed=0, randomize=Randomization(joint_velocity_bias=(0.1, 0.1)))
    wrong = env.reset()[0] - env.observation(0)
    assert len(wrong) > 51
    changed = np.flatnonzero(np.abs(wrong) > 0.05)
    np.testing.assert_array_equal(changed, env.physics.models[0].nq + 6 + np.arange(19))


def test_pushes_stay_within_their_range():
    ranges = Randomization(push_speed=(0.2, 0.4))
    drawn = np.array([ranges.push(np.random.default_rng(i)) for i in range(50)])
    assert 0.2 <= drawn.min() < drawn.max() <= 0.4
    assert Randomization().steps_to_push(np.random.default_rng(0), h1.CONTROL_DT) == 2**62


def test_by_default_nothing_is_changed_and_nothing_drawn():
    one, two = (play(H1Env(STAND, seed=0, randomize=ranges)) for ranges in (None, Randomization()))
    np.testing.assert_allclose(one[0], two[0], atol=1e-6)
    np.testing.assert_allclose(one[1], two[1], atol=1e-6)
    assert not Randomization().disturbs_senses
    assert not MODERATE.disturbs_senses


def test_a_spared_row_is_the_benchmark_s_own_robot_among_changed_ones():
    ranges, spared = Randomization(**EVERYTHING), np.array([False, True, False, True])
    mixed = play(H1Env(STAND, seed=[1, 2, 3, 4], randomize=ranges, nominal=spared))[0]
    plain = play(H1Env(STAND, seed=[1, 2, 3, 4]))[0]
    np.testing.assert_array_equal(mixed[:, spared], plain[:, spared])
    assert not np.array_equal(mixed[:, ~spared], plain[:, ~spared])
    with pytest.raises(ValueError, match=r"nominal has shape \(3,\), expected \(4,\)"):
        H1Env(STAND, seed=0, nominal=np.zeros(3, bool))


def test_a_seed_repeats_itself_with_everything_on_alone_and_among_others():
    ranges = Randomization(**EVERYTHING)
    together, again = (play(H1Env(STAND, seed=[1, 2, 3, 4], randomize=ranges)) for _ in range(2))
    assert np.array_equal(together[0], again[0])
    assert np.array_equal(together[1], again[1])
    alone = play(H1Env(["stand"], seed=[2], randomize=ranges), steps=1)
    action = np.random.default_rng(3).uniform(-0.3, 0.3, (1, 19)).astype(np.float32)
    pair = H1Env(["stand"] * 2, seed=[9, 2], randomize=ranges)
    pair.reset(np.array([0]))  # a neighbour's new episode draws nothing here
    assert np.array_equal(pair.step(np.repeat(action, 2, 0)).obs[1], alone[0][0, 0])
    assert not np.array_equal(play(H1Env(STAND, seed=5, randomize=ranges))[0], together[0])


@pytest.mark.parametrize("name", sorted(set(EVERYTHING) - {"push_interval"}))
def test_every_range_is_a_word_of_the_training_configuration(name):
    low, high = EVERYTHING[name]
    config = load_config(["preset=debug", f"collect.randomization.{name}=[{low},{high}]"])
    assert config.collect.randomization == Randomization(**{name: (low, high)})
    assert from_dict(to_dict(config)) == config


@pytest.mark.parametrize(
    ("word", "match"),
    [
        ("mass=[0,1]", "mass must be above 0"),
        ("mass=[1.1,0.9]", "low <= high"),
        ("mass=[1.1]", "length 1"),
        ("latency=[0,11]", "latency"),
        ("joint_position_noise=[-1,0]", "must not be negative"),
        ("push_interval=-1", "push_interval"),
        ("weight=[1,1]", "'weight' not in 'Randomization'"),
    ],
)
def test_ranges_that_cannot_be_are_refused(word, match):
    with pytest.raises(ConfigError, match=match):
        load_config(["preset=debug", f"collect.randomization.{word}"])


def test_configurations_from_before_load_with_everything_off():
    saved = to_dict(PRESETS["h1_small"])
    del saved["collect"]["randomization"]
    assert from_dict(saved) == PRESETS["h1_small"]
    assert from_dict(saved).collect.randomization == Randomization()


class StopHereError(Exception):
    """Ends a run as soon as it has asked for its environments."""


@pytest.mark.parametrize("words", [[], ["collect.randomization.mass=[0.9,1.1]"]])
def test_a_training_run_gives_its_environments_the_configured_ranges(tmp_path, words):
    asked = []

    def make_env(tasks, **options):
        asked.append(options)
        raise StopHereError

    run = Trainer(load_config(["preset=debug", f"out={tmp_path}", *words]), make_env=make_env)
    with pytest.raises(StopHereError):
        run.run()
    assert asked[0].get("randomize") == (Randomization(mass=(0.9, 1.1)) if words else None)


def breaking(broken_row=None):
    class Env(H1Env):
        def step(self, action):
            if broken_row is not None and self._steps[broken_row] == 5:
                self.physics.data[broken_row].qvel[8] = np.nan
            return super().step(action)

    return Env


def test_a_training_run_counts_breakdowns_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Trainer, "_evaluate", lambda self: None)
    config = load_config(["preset=debug", "out=run", "updates=4", "segment=4", "evaluate_every=4"])
    config = dataclasses.replace(config, log_every=4)
    run = Trainer(config, make_env=breaking(1))
    run.run()
    assert run.learner.updates == 4
    assert '"failed_episodes": ' in (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "ended by a breakdown" in capsys.readouterr().out


def test_a_training_run_whose_networks_are_broken_stops(tmp_path, monkeypatch):
    run = Trainer(load_config(["preset=debug", f"out={tmp_path}"]))
    nonsense = np.full((len(run.task_index), 19), np.nan, np.float32)
    monkeypatch.setattr(Collector, "random_action", lambda self: nonsense)
    with pytest.raises(FloatingPointError, match="finite"):
        run.run()
