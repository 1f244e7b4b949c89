"""Train a model-free demonstrator (SAC) on tasks that share a scene.

    python training/demonstrator.py tasks=[stand,walk,run] out=runs/demonstrator seed=0
    python training/demonstrator.py --help            every key, its default and type

All rows' experience trains all tasks: each transition is stored with every task's reward, and its
mirror image counts too. The best weights so far, over seeded episodes of HumanoidBench's protocol,
lie in out/best.safetensors. The same command again resumes the run in `out`.
"""

from __future__ import annotations

import training.quiet  # noqa: F401  before all that takes long

# isort: split
import contextlib
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from runtime import h1
from training import features
from training.cli import ConfigError, choose, from_command_line, rebuild
from training.demonstrator_checks import check_run
from training.door import interruptible, reason
from training.lock import alone
from training.output import prepare_folder
from training.prices import price_list
from training.randomization import Randomization
from training.sac import Sac, SacConfig
from training.tasks import task

FORMAT = "ezm-demonstrator-1"


@dataclass(frozen=True)
class DemonstratorConfig:
    """One run of the demonstrator."""

    preset: str = "h1"
    tasks: tuple[str, ...] = ("stand", "walk", "run")
    seed: int = 0
    out: str = "runs/demonstrator"
    updates: int = 400_000
    torch_threads: int = 1
    action_map: str = "stance"
    envs_per_task: int = 8
    update_ratio: float = 0.4  # updates per environment step, all tasks together
    batch: int = 256
    steps: int = 3  # of the returns, in a task's own rows
    discount: float = 0.99
    own_share: float = 0.5  # of a task's samples, from its own rows; the rest from anywhere
    mirrored: bool = True
    gentle_after: int = 0  # updates; from then on what follows applies:
    speed_penalty: float = 0.0  # times mean(max(0, |joint velocity| / limit - 0.8)^2), per step
    power_penalty: float = 0.0  # times the joints' absolute mechanical power, kW, per step
    power_share: tuple[float, ...] = (1.0,)  # of power_penalty: one for all tasks, or one each
    drift_penalty: float = 0.0  # per m/s and rad of what no task asks for, see training/prices.py
    haste_penalty: float = 0.0  # per m/s forward in walk, whose reward is full at 1 m/s
    smooth: float = 0.0  # weight of |action(s) - action(s')|^2 of the mean policy, see SacConfig
    capacity: int = 600_000  # transitions
    random_steps: int = 6000  # first, of all tasks together
    random_scale: float = 0.7
    fall_height: float = 0.6  # m; below it a training episode ends as terminal
    delay_substeps: tuple[int, int] = (0, 2)
    evaluate_every: int = 20_000  # updates; also how often everything is saved
    evaluate_episodes: int = 8
    log_every: int = 1000
    sac: SacConfig = field(default_factory=SacConfig)
    randomization: Randomization = field(default_factory=Randomization)  # once it is gentle
    nominal: float = 0.0  # share of each task's rows that are spared it: the benchmark's own robot
    guarded: float = 0.0  # share, of the others, under a real robot's training/limits.py
    episode_steps: tuple[int, ...] = (1000,)  # a task's rows take them in turn; short ones: starts
    start_noise: float = 0.01  # m, rad: half width of the noise on the start pose
    handover: float = 0.0  # share of the episodes that begin where another task was going on

    def __post_init__(self) -> None:
        check_run(self)
        scenes = {task(name).scene for name in self.tasks}
        if len(scenes) != 1:
            raise ConfigError(f"tasks={list(self.tasks)} lie in different scenes: {sorted(scenes)}")
        if scenes != {"floor"} and self.mirrored:
            raise ConfigError(f"mirrored=true needs level floor, the scene is {scenes.pop()!r}")
        if not 0.0 <= self.nominal + self.guarded <= 1.0:
            raise ConfigError(f"nominal={self.nominal} and guarded={self.guarded} exceed all rows")
        self.prices()

    def prices(self) -> np.ndarray:
        """Return what every measure of `training.prices` costs in every task, [T, 5], per step."""
        power = [self.power_penalty * share for share in self.power_share]
        return price_list(
            self.tasks, self.speed_penalty, power, self.drift_penalty, self.haste_penalty
        )


PRESETS = {
    "h1": DemonstratorConfig(),
    # what a motor can do, on robots that differ and are pushed: for policies that shall leave home
    "h1_gentle": DemonstratorConfig(
        preset="h1_gentle",
        gentle_after=60_000,  # from the start it learns next to nothing: docs/training_log.md
        speed_penalty=3.0,
        power_penalty=0.2,  # walking at 0.5 kW costs a tenth of what it earns
        smooth=0.2,
        evaluate_every=10_000,
        randomization=Randomization(
            friction=(0.5, 1.25),
            mass=(0.9, 1.1),
            strength=(0.85, 1.0),
            stiffness=(0.9, 1.1),
            damping=(0.9, 1.1),
            latency=(0, 6),
            push_speed=(0.0, 0.6),
        ),
    ),
}
# Goes on in the folder of an h1_gentle run: stands still, walks straight, spares the drives.
PRESETS["h1_steady"] = replace(
    PRESETS["h1_gentle"],
    preset="h1_steady",
    speed_penalty=10.0,  # prices three times these: a fall cost less than going on, so it fell
    power_penalty=0.3,
    power_share=(1.0, 0.7, 0.1),  # at 0.2 per kW running did not pay: it was forgotten
    drift_penalty=0.25,
    nominal=0.25,  # without: running fell where control was not late at all
    randomization=replace(PRESETS["h1_gentle"].randomization, push_speed=(-0.6, 0.6)),
)
# And on: the returns still swing by hundreds at the rates of h1_steady.
PRESETS["h1_polish"] = replace(
    PRESETS["h1_steady"],
    preset="h1_polish",
    sac=SacConfig(actor_lr=1e-4, critic_lr=1.7e-4, alpha_lr=1e-4, average_rate=3e-4),
)
# And on: under the limits that a real robot's guard sets, with ten times as many starts, further
# off: one in thirty of walk's fell in its first two seconds.
PRESETS["h1_guarded"] = replace(
    PRESETS["h1_polish"],
    preset="h1_guarded",
    guarded=0.5,
    episode_steps=(100, 1000),
    start_noise=0.03,
    speed_penalty=20.0,
)
# And on: walk at the speed it was asked for, and every task from within every other.
PRESETS["h1_calm"] = replace(
    PRESETS["h1_guarded"],
    preset="h1_calm",
    haste_penalty=0.15,
    handover=0.5,
)


def actions(sac: Sac, observation: np.ndarray, task_index: np.ndarray) -> np.ndarray:
    """Return the averaged policy's actions [E, 19] for HumanoidBench observations [E, >= 51]."""
    inputs = torch.from_numpy(features.features(observation))
    return sac.best(inputs, torch.from_numpy(np.asarray(task_index))).numpy()


def load(path: str | Path) -> tuple[Sac, DemonstratorConfig]:
    """Read a best.safetensors (or actor_*.safetensors) of a run; only what acts is restored."""
    with safe_open(path, framework="pt") as file:
        facts = file.metadata() or {}
    if "config" not in facts:
        raise ConfigError(f"{path} is not a demonstrator's file: it carries no configuration")
    config = rebuild(DemonstratorConfig, json.loads(facts["config"]))
    sac = Sac(features.SIZE, h1.NUM_JOINTS, len(config.tasks), config.sac)
    tensors = load_file(path)
    for part in ("normalizer", "average"):
        sac.modules()[part].load_state_dict(under(tensors, f"{part}."))
    return sac, config


def best_checkpoint(folder: Path, name: str, since: int = 0, until: int = 0) -> Path:
    """Return the saved policy of a run's folder with the highest evaluated return on one task.

    since, until: updates; earlier ones do not count, as those from before a run turned gentle, nor
    later ones, unless `until` is 0.

    Raises:
        ConfigError: the folder holds none, or none that knows the task.
    """
    returns: dict[Path, float] = {}
    for path in sorted(folder.glob("actor_*.safetensors")):
        with safe_open(path, framework="pt") as file:
            facts = file.metadata()
        if since <= int(facts["updates"]) <= (until or np.inf):
            returns[path] = json.loads(facts["returns"]).get(name, -np.inf)
    if not returns:
        wanted = f"from {since} to {until} updates" if until else f"of {since} updates or more"
        raise ConfigError(f"{folder} holds no actor_*.safetensors {wanted}")
    best = max(returns, key=lambda path: returns[path])
    if returns[best] == -np.inf:
        raise ConfigError(f"no checkpoint in {folder} was evaluated on {name!r}")
    return best


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


@interruptible("the same command resumes from the last save")
def main() -> int:
    """Read the words and run the demonstrator."""
    with contextlib.ExitStack() as stack:
        try:
            config = from_command_line(lambda words: choose(words, PRESETS, "h1"), __doc__)
            if config is None:
                return 0
            from training.demonstrator_run import Demonstrator  # which imports this module

            prepare_folder(Path(config.out))
            stack.enter_context(alone(Path(config.out)))
            run = Demonstrator(config)
        except (ValueError, KeyError, OSError, MemoryError) as error:
            print(f"error: {reason(error)}", file=sys.stderr)
            return 2
        try:
            run.run()
        except (FloatingPointError, OSError, SafetensorError) as error:  # of these, a full disk
            print(f"error: {reason(error)}; the last save is as it was", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
