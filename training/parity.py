"""Our environments against a record of HumanoidBench's: `python training/parity.py golden=<file>`.

The file holds states, actions and what the original made of them, per task, in the format of
tests/golden/humanoidbench_h1.npz. Four kinds of comparison:

  state       observation, reward, its terms and termination of given states, without physics
  step        one control step from given states; the hulls differ from the original's meshes by up
              to 0.3 mm at the feet and 2 mm elsewhere, and contacts turn that into errors
  reset       observations after a seeded reset
  trajectory  100 control steps from the keyframe: how far the pelvis' heights drift apart

Errors are absolute where the value is below 1, relative above. States in which a contact that
decides is within 2 mm of changing are left out. `plot=file.svg` draws the trajectories' drift.
The last line is the largest error per task and kind as JSON; the exit status is 0 within tolerance.
"""

from __future__ import annotations

import json
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from training.assembly import MUJOCO
from training.cli import ConfigError, choose, from_command_line
from training.h1_env import H1Env
from training.tasks import TASKS

Arrays = dict[str, NDArray]
Errors = dict[str, float]

# MuJoCo 3.13 generates plane-mesh contacts differently, with the original's own meshes as well.
SLACK = 10.0 if MUJOCO >= (3, 13) else 1.0
TOLERANCE: Errors = {
    "state": 1e-6,
    "state_terminated": 0.0,  # states that end here and not there, or the reverse
    "step_median": 1e-3 * SLACK,  # of the reward
    "step_90": 5e-3 * SLACK,
    "step_terminated": 0.0,
    "reset": 1e-6,
    "trajectory_10": 1e-2 * SLACK,  # m, pelvis height, largest over the first 10 steps, near home
    "trajectory_return": 0.05 * SLACK,  # relative, near home, 100 steps
}
MARKS = (5, 10, 20, 50, 75, 100)  # control steps at which the drift is printed


@dataclass(frozen=True)
class ParityConfig:
    """What to compare with, and where to draw the trajectories."""

    golden: str = ""  # an .npz of recorded HumanoidBench trajectories
    tasks: tuple[str, ...] = ()  # default: all that the file holds
    plot: str = ""  # write the trajectories to this image


def read(path: str | Path) -> dict[str, Arrays]:
    """Return the arrays of a golden file by task.

    Raises:
        ConfigError: there is no such file, or it holds no task that exists.
    """
    try:
        with np.load(path) as file:
            flat = {key: file[key] for key in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(f"golden={path}: {error}") from None
    golden: dict[str, Arrays] = {}
    for key, values in flat.items():
        task, _, name = key.partition("/")
        if task in TASKS:
            golden.setdefault(task, {})[name] = values
    if not golden:
        raise ConfigError(f"golden={path} holds {sorted(flat)[:5]}, expected keys as stand/s_qpos")
    return golden


def put(env: H1Env, arrays: Arrays, control: NDArray) -> None:
    """Place every row in a recorded state, as the recorder did: reset, state, control, forward."""
    for row, (model, data) in enumerate(zip(env.physics.models, env.physics.data, strict=True)):
        mujoco.mj_resetData(model, data)  # type: ignore[attr-defined]
        data.qpos[:], data.qvel[:] = arrays["s_qpos"][row], arrays["s_qvel"][row]
        data.ctrl[:] = control[row]
        mujoco.mj_forward(model, data)  # type: ignore[attr-defined]
    env.goal[:] = arrays.get("s_goal", 0.0)
    env.stage[:] = arrays.get("s_stage", 0)
    env.physics.gather()


def apart(ours: NDArray, theirs: NDArray) -> NDArray:
    """Return the differences, relative to values above 1."""
    return np.abs(ours - theirs) / np.maximum(1.0, np.abs(theirs))


def observations(env: H1Env) -> NDArray:
    """Return all rows' observations [E, O] in full precision; the rows share one task."""
    return np.array([env.observation(row) for row in range(env.num_envs)])


def compare_states(name: str, arrays: Arrays) -> Errors:
    """Compare observation, reward, terms, termination and stage of given states."""
    rows = len(arrays["s_qpos"])
    env = H1Env([name] * rows, seed=0)
    put(env, arrays, env.control(arrays["s_act"]))
    sure = ~arrays.get("f_graze", np.zeros(rows, dtype=bool))
    task, seen = env.tasks[0], env.readings()
    reward, terms = task.reward(seen)
    errors = [
        apart(observations(env), arrays["f_obs"]).max(),
        apart(reward, arrays["f_rew"])[sure].max(),
        apart(seen.torque, arrays["f_actf"]).max(),
    ]
    for column, term in enumerate(arrays["info_names"]):
        errors.append(apart(terms[str(term)], arrays["f_info"][:, column])[sure].max())
    if task.next_stage and "f_stage" in arrays:
        errors.append(np.abs(task.next_stage(seen) - arrays["f_stage"]).max())
    ended = (task.terminated(seen) != arrays["f_term"])[sure]
    return {"state": float(np.max(errors)), "state_terminated": float(ended.sum())}


def compare_steps(name: str, arrays: Arrays) -> Errors:
    """Compare reward and termination one control step after given states."""
    rows = len(arrays["s_qpos"])
    env = H1Env([name] * rows, seed=0)
    put(env, arrays, np.zeros((rows, env.action_dim)))
    step = env.step(arrays["s_act"])
    sure = ~arrays.get("n_graze", np.zeros(rows, dtype=bool))
    error = apart(step.reward, arrays["n_rew"])[sure]
    return {
        "step_median": float(np.median(error)),
        "step_90": float(np.quantile(error, 0.9)),
        "step_max": float(error.max()),
        "step_terminated": float((step.terminated != arrays["n_term"])[sure].sum()),
    }


def compare_resets(name: str, arrays: Arrays) -> Errors:
    """Compare first observations after `numpy.random.seed(s); reset(seed=s)`."""
    seeds = arrays["reset_seed"].tolist()
    env = H1Env([name] * len(seeds), seed=0)
    env.generators = [np.random.default_rng(seed) for seed in seeds]
    env.placers = [np.random.RandomState(seed) for seed in seeds]
    env.reset()
    return {"reset": float(apart(observations(env), arrays["reset_obs"]).max())}


def drift(name: str, arrays: Arrays) -> tuple[NDArray, NDArray]:
    """Follow the recorded trajectories from the keyframe.

    Return |difference of pelvis height| [2, T] (m) and the rewards [2, T].
    """
    env = H1Env([name] * len(arrays["t_act"]), seed=0, reset_noise=0.0)
    for row, (model, data) in enumerate(zip(env.physics.models, env.physics.data, strict=True)):
        mujoco.mj_resetDataKeyframe(model, data, 0)  # type: ignore[attr-defined]
        mujoco.mj_forward(model, data)  # type: ignore[attr-defined]
        env.goal[row] = (0.5, 0.3, 1.2)
    heights, rewards = [], []
    for action in arrays["t_act"].swapaxes(0, 1):
        rewards.append(env.step(action).reward)
        heights.append(env.qpos[:, 2].copy())
    return np.abs(np.array(heights).T - arrays["t_qpos"][:, :, 2]), np.array(rewards).T


def compare_trajectories(name: str, arrays: Arrays) -> tuple[Errors, NDArray]:
    """Return the errors of the trajectory near home, and the drift of all, [2, T] m."""
    heights, rewards = drift(name, arrays)
    ours, theirs = rewards[0].sum(), arrays["t_rew"][0].sum()
    errors = {f"trajectory_{mark}": float(heights[0, :mark].max()) for mark in MARKS}
    return errors | {"trajectory_return": float(abs(ours - theirs) / abs(theirs))}, heights


def compare(name: str, arrays: Arrays) -> tuple[Errors, NDArray]:
    """Return one task's errors of all kinds, and the drift of its trajectories."""
    errors, heights = compare_trajectories(name, arrays)
    parts = (compare_states, compare_steps, compare_resets)
    return {key: value for part in parts for key, value in part(name, arrays).items()} | errors, (
        heights
    )


def beyond(errors: Errors) -> list[str]:
    """Return the kinds whose error is above its tolerance (not a number counts)."""
    return [kind for kind, limit in TOLERANCE.items() if not errors[kind] <= limit]


def draw(drifts: dict[str, NDArray], path: Path) -> None:
    """Write the drift of the trajectories near home as an SVG, one line per task, log scale."""
    width, height, low, high = 640, 360, -6.0, 0.0

    def level(values: NDArray) -> NDArray:
        return height * (high - np.log10(np.maximum(values, 10**low))) / (high - low)

    lines = []
    for power in range(int(low) + 1, int(high)):
        y = float(level(np.array(10.0**power)))
        lines.append(f'<path d="M0 {y:.0f}H{width}" stroke="#ddd"/>')
        lines.append(f'<text x="4" y="{y - 3:.0f}" fill="#888">1e{power} m</text>')
    for number, (name, values) in enumerate(drifts.items()):
        colour = f"hsl({330 * number // len(drifts)} 70% 40%)"
        x, y = np.linspace(0, width, values.shape[1]), level(values[0])
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        lines.append(f'<polyline points="{points}" stroke="{colour}" fill="none"/>')
        lines.append(f'<text x="{width + 8}" y="{20 + 16 * number}" fill="{colour}">{name}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + 120} {height + 24}" '
    foot = f'<text x="4" y="{height + 18}">control steps, 0 .. 100; pelvis height off by</text>'
    style = 'font-family="sans-serif" font-size="11" style="background:#fff">'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head + style, *lines, foot, "</svg>", ""]))


def report(config: ParityConfig) -> int:
    """Compare, print the table while it grows, then the JSON line; return the exit status."""
    golden = read(config.golden)
    missing = [name for name in config.tasks if name not in golden]
    if missing:
        raise ConfigError(f"tasks={missing}: {config.golden} holds {sorted(golden)}")
    kinds = ("state", "step_median", "step_90", "step_max", "reset")
    kinds += tuple(f"trajectory_{mark}" for mark in MARKS)
    print(f"{'task':15s}" + "".join(f"{kind.replace('trajectory', 'm'):>13s}" for kind in kinds))
    table: dict[str, Errors] = {}
    drifts: dict[str, NDArray] = {}
    for name in config.tasks or golden:
        try:
            table[name], drifts[name] = compare(name, golden[name])
        except KeyError as error:
            raise ConfigError(f"golden={config.golden} has no {name}/{error.args[0]}") from None
        print(f"{name:15s}" + "".join(f"{table[name][kind]:13.1e}" for kind in kinds), flush=True)
    failures = {name: beyond(errors) for name, errors in table.items() if beyond(errors)}
    for name, failed in failures.items():
        for kind in failed:
            print(f"{name}: {kind} is {table[name][kind]:.2e}, allowed {TOLERANCE[kind]:.2e}")
    if config.plot:
        draw(drifts, Path(config.plot))
    line = {"golden": Path(config.golden).name, "mujoco": mujoco.__version__}
    rounded = {
        name: {kind: float(f"{value:.3g}") for kind, value in errors.items()}
        for name, errors in table.items()
    }
    print(json.dumps({**line, "within": not failures, "tolerance": TOLERANCE, "errors": rounded}))
    return 1 if failures else 0


def main() -> int:
    """Read the words, compare, report."""
    presets = {"parity": ParityConfig()}
    try:
        config = from_command_line(lambda words: choose(words, presets, "parity"), __doc__)
        if config is None:
            return 0
        if not config.golden:
            raise ConfigError("golden=<file.npz> is missing")
        return report(config)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
