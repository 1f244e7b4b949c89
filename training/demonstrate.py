"""Record a policy's episodes for `demos=`.

    python training/demonstrate.py policy=runs/demonstrator/best.safetensors tasks=[walk] out=demos.safetensors
    python training/demonstrate.py --help            every key, its default and type

A demonstrator's run folder gives every task the checkpoint that was best at it. The label of a
frame is what the policy meant to do, without the exploration noise that was executed: the rows of a
task carry different amounts of it, so the recording shows how to recover. With `driver=` somebody
else acts, as a learner that is to be shown what to do where it goes itself (DAgger). With `before=`
and `handover=` episodes begin where another task was going on: how to stop, not only how to stand.
"""  # noqa: E501

from __future__ import annotations

import training.quiet  # noqa: F401  before all that takes long

# isort: split
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from training import demos
from training.cli import ConfigError, choose, from_command_line
from training.collector import PELVIS_HEIGHT
from training.contenders import Contender
from training.demo_frames import columns_of
from training.demonstrator_checks import check_recording
from training.door import interruptible, reason
from training.h1_env import H1Env
from training.handover import sources
from training.limits import spread
from training.output import prepare_file
from training.performers import braking, check_alike, company, performer
from training.randomization import Randomization
from training.trainer import git_sha


@dataclass(frozen=True)
class DemonstrateConfig:
    """One recording."""

    preset: str = "h1"  # there is this one only
    policy: str = ""  # a path, any other word of evaluate.py, or a demonstrator's run folder
    since: int = 0  # updates; of a run folder, only checkpoints from then on
    until: int = 0  # updates; only checkpoints up to then; 0: all
    contender: str = ""  # which of several, e.g. planner or mean; empty: the first
    driver: str = ""  # who acts, while the policy only says what it would do; empty: the policy
    driver_contender: str = ""  # which of several
    tasks: tuple[str, ...] = ("stand", "walk", "run")  # of names, not of sets
    out: str = "demos.safetensors"  # the recording
    rows: int = 16  # environments per task
    steps: int = 3000  # per row
    episode_steps: int = 1000  # the longest episode
    noise: tuple[float, float] = (0.02, 0.3)  # of the first row and of the last, evenly in the log
    fall_height: float = 0.6  # m; below it an episode ends as terminal
    action_map: str = "benchmark"  # of policies that have none of their own
    delay_substeps: tuple[int, int] = (0, 2)  # 2 ms each, by which actions come late
    start_noise: float = 0.01  # m, rad: half width of the noise on the start pose
    guarded: float = 0.0  # share of the rows under a real robot's limits, see training/limits.py
    handover: float = 0.0  # share of the episodes that begin where a task of `before` was going on
    before: tuple[str, ...] = ()  # such tasks: rows of theirs run beside, and are not recorded
    before_policy: str = ""  # who acts there; empty: who acts in the recording
    brake_policy: str = ""  # whose `walk` is the label while a robot is faster than brake_speed
    brake_speed: float = 0.0  # m/s along the ground; 0: never
    brake_tasks: tuple[str, ...] = ("stand",)  # the tasks whose labels brake
    seed: int = 0  # of starts, noise and robots
    randomization: Randomization = field(default_factory=Randomization)

    def __post_init__(self) -> None:
        check_recording(self)
        if bool(self.brake_speed) != bool(self.brake_policy):
            raise ConfigError(
                f"brake_speed={self.brake_speed} and brake_policy={self.brake_policy!r}: "
                "give both or neither"
            )
        if bool(self.handover) != bool(self.before):
            raise ConfigError(
                f"handover={self.handover} and before={list(self.before)}: the one says how often, "
                "the other from which tasks; give both or neither"
            )


VISITORS = 4  # rows of each task that hands over

Act = Callable[[np.ndarray], np.ndarray]  # observations [E, O] -> actions [E, 19]


def record(
    who: Contender,
    task: str,
    config: DemonstrateConfig,
    driver: Contender | None = None,
    before: Contender | None = None,
) -> dict[str, np.ndarray]:
    """Return `config.rows` x `config.steps` transitions of one task, episode after episode.

    `who` labels them; the driver acts, or `who` where there is none. `before`: who acts in the rows
    of `config.before`, in whose states episodes begin; the driver or `who`, if None.
    """
    rng = np.random.default_rng([config.seed, len(task)])
    count, others = config.rows, [name for name in config.before if name != task]
    names = [task] * count + [name for name in others for _ in range(VISITORS)]
    env = _environment(names, who.action_map, config)
    show = _acting(who, [task] * count, config.seed)
    act = _acting(driver, [task] * count, config.seed) if driver else None
    visit = _acting(before or driver or who, names[count:], config.seed)
    noise = np.geomspace(*config.noise, count)[:, None]
    rows: list[list[tuple]] = [[] for _ in range(count)]
    observation = env.reset()
    for number in range(config.steps):
        label = np.clip(show(observation[:count]), -1, 1).astype(np.float32)
        meant = act(observation[:count]) if act else label
        action = np.clip(meant + noise * rng.standard_normal(label.shape), -1, 1)
        action = np.concatenate([action, np.clip(visit(observation[count:]), -1, 1)])
        action = action.astype(np.float32)
        step = env.step(action)
        low = step.obs[:, PELVIS_HEIGHT] < config.fall_height
        terminal = step.terminated | low
        done = terminal | step.truncated
        cut = done | (number == config.steps - 1)
        for row, frames in enumerate(rows):
            frames.append(
                (observation[row], action[row], label[row], step.reward[row], False, False)
            )
            if cut[row]:
                none = np.zeros_like(action[row])
                frames.append((step.obs[row], none, none, 0.0, True, bool(terminal[row])))
        observation = step.obs
        if done.any():
            observation = env.reset(done, sources(env, done, config.handover, rng))
    env.close()
    return columns_of(frame for frames in rows for frame in frames)


def _environment(names: list[str], action_map: str, config: DemonstrateConfig) -> H1Env:
    """Return the environment of the recorded rows and, behind them, of those that hand over."""
    different = config.randomization != Randomization()
    guarded, longest = np.zeros(len(names), bool), np.full(len(names), 1000)
    guarded[: config.rows] = spread(config.rows, config.guarded)
    longest[: config.rows] = config.episode_steps
    if config.handover:  # or all would begin at once, in the same few states
        longest[: config.rows] -= np.arange(config.rows) * config.episode_steps // 4 // config.rows
    return H1Env(
        names, seed=config.seed, action_map=action_map,
        max_steps=longest.tolist(), delay_substeps=config.delay_substeps,
        randomize=config.randomization if different else None,
        reset_noise=config.start_noise, guarded=guarded,
    )  # fmt: skip


def _acting(who: Contender, names: list[str], seed: int) -> Act:
    """Return what `who` does in rows of these tasks, observations [E, O] -> actions [E, 19]."""
    if not names:
        return lambda observation: np.zeros((0, H1Env.action_dim), np.float32)
    tasks = tuple(dict.fromkeys(names))
    act, index = who.begin(tasks, seed), np.array([tasks.index(name) for name in names])
    return lambda observation: act(observation, index)


def performer_of(
    config: DemonstrateConfig, name: str, source: str, contender: str = ""
) -> tuple[Contender, str]:
    """Return who acts in a task as the configuration says; errors: `performers.performer`."""
    return performer(
        name, source, contender,
        action_map=config.action_map, since=config.since, until=config.until,
    )  # fmt: skip


def cast(
    config: DemonstrateConfig, name: str, who: Contender
) -> tuple[Contender | None, Contender | None]:
    """Return who drives a task that `who` labels, and who acts in the tasks before it.

    None: nobody else than `who`.

    Raises:
        ConfigError: they do not know those tasks, or their actions mean something else.
    """
    driver = before = None
    if config.driver:
        driver, _ = performer_of(config, name, config.driver, config.driver_contender)
        check_alike("driver", config.driver, driver, who)
    if config.before and config.before_policy:
        before = company(
            {task: performer_of(config, task, config.before_policy)[0] for task in config.before}
        )
        check_alike("before_policy", config.before_policy, before, who)
    acting = before or driver or who
    unknown = [task for task in config.before if acting.tasks and task not in acting.tasks]
    if unknown:
        raise ConfigError(
            f"before={unknown}: {acting.name} knows {acting.tasks}; before_policy= says who does"
        )
    return driver, before


def label_of(config: DemonstrateConfig, name: str) -> tuple[Contender, str]:
    """Return who says what to do in a task, brakes included, and the name of its file."""
    who, source = performer_of(config, name, config.policy, config.contender)
    if config.brake_policy and name in config.brake_tasks:
        walker, _ = performer_of(config, "walk", config.brake_policy)
        check_alike("brake_policy", config.brake_policy, walker, who)
        who = braking(who, walker, config.brake_speed)
    return who, source


@interruptible("nothing was written")
def main() -> int:
    """Read the words, record, write."""
    presets = {"h1": DemonstrateConfig()}
    try:
        config = from_command_line(lambda words: choose(words, presets, "h1"), __doc__)
        if config is None:
            return 0
        labels = {name: label_of(config, name) for name in config.tasks}
        casts = {name: cast(config, name, labels[name][0]) for name in config.tasks}
        prepare_file(Path(config.out))
    except (ValueError, KeyError, OSError) as error:
        print(f"error: {reason(error)}", file=sys.stderr)
        return 2
    episodes, summary = {}, {}
    for name in config.tasks:
        began = time.monotonic()
        episodes[name] = parts = record(labels[name][0], name, config, *casts[name])
        count = int(parts["last"].sum())
        summary[name] = {
            "transitions": int((~parts["last"]).sum()),
            "episodes": count,
            "falls": int(parts["terminal"].sum()),
            "return": round(float(parts["reward"].sum()) / count, 1),
        }
        print(f"{name}: {summary[name]} in {time.monotonic() - began:.0f} s", flush=True)
    who = {name: (found.action_map, source) for name, (found, source) in labels.items()}
    facts = {
        "action_map": next(iter(who.values()))[0],
        "policy": " ".join(f"{name}: {source}" for name, (_, source) in who.items()),
        "driver": Path(config.driver).name,
        "robot": "h1",
        "suite": "ours",
        "git": git_sha(),
        "seed": str(config.seed),
    }
    try:
        demos.write(Path(config.out), episodes, facts)
    except (OSError, SafetensorError) as error:  # a full disk
        print(f"error: out={config.out}: {reason(error)}", file=sys.stderr)
        return 1
    print(json.dumps({"out": config.out, **summary}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
