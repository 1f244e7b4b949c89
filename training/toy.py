"""A point mass with goals as tasks: `H1Env`'s interface at a millionth of its price.

Nine goals on a 3 x 3 grid share one body; the goal is not observed, only the task index (or an
instruction) tells it. What an action does must be learnt: the actuators pull along rotated axes.
For studies and tests of the trainer; says nothing about humanoids.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.config import (
    CollectConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    ProposalConfig,
    ReplayConfig,
    TargetConfig,
    TrainConfig,
)
from training.mcts import SearchConfig
from training.rows import Step
from training.scheduler import ScheduleConfig

SIZE = 3  # of observation and action
SPEED = 0.15  # distance per step at full action
EPISODE = 30  # steps
# neighbours stand in different thirds of the order, so that any three in a row span the grid
GOALS: dict[str, NDArray] = {
    name: np.array([0.6 * x, 0.6 * y, 0.0])
    for name, x, y in (
        ("top_left", -1, 1), ("bottom", 0, -1), ("right", 1, 0),
        ("top_right", 1, 1), ("centre", 0, 0), ("bottom_left", -1, -1),
        ("top", 0, 1), ("left", -1, 0), ("bottom_right", 1, -1),
    )
}  # fmt: skip
EVEN = dict.fromkeys(GOALS, 1.5)  # distance from the goal at which the reward reaches 0
# the same goals, from a funnel as wide as the world to a needle that random actions hardly meet
UNEVEN = dict(zip(GOALS, (3.0, 3.0, 3.0, 0.8, 0.8, 0.8, 0.35, 0.35, 0.35), strict=True))


def rotation(size: int = SIZE) -> NDArray:
    """Return the fixed matrix [size, size] from actuators to axes: orthogonal, far from 1."""
    return np.linalg.qr(np.random.default_rng(7).standard_normal((size, size)))[0]


def move(position: Any, action: Any, actuators: Any = None) -> Any:
    """Return the next position [..., 3] of arrays or tensors; no actuators: one per axis."""
    pull = action if actuators is None else action @ actuators
    return (position + SPEED * pull).clip(-1.0, 1.0)


def reward(position: Any, goal: Any, width: Any = 1.5) -> Any:
    """Return 1 at the goal, falling linearly to 0 at `width` [...] from it."""
    distance = ((position - goal) ** 2).sum(-1) ** 0.5
    return (1.0 - distance / width).clip(0.0)


class PointMass:
    """A batch of points in [-1, 1]^3; takes H1Env's arguments, ignores those of a robot."""

    goals: ClassVar[Mapping[str, NDArray]] = GOALS
    actuators: ClassVar[NDArray | None] = rotation()

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        seed: int,
        widths: Mapping[str, float] = EVEN,
        action_map: str = "",
        threads: int = 1,
        terminate: bool = False,
        max_steps: int | Sequence[int] = EPISODE,
        delay_substeps: tuple[int, int] = (0, 0),
    ) -> None:
        del action_map, threads, delay_substeps
        unknown = [name for name in tasks if name not in self.goals]
        if unknown:
            raise ValueError(f"unknown toy tasks {unknown}; there are {list(self.goals)}")
        self.goal = np.stack([self.goals[name] for name in tasks])
        self.width = np.array([widths.get(name, 1.5) for name in tasks])
        self.rng = np.random.default_rng(seed)
        self.terminate, self.max_steps = terminate, np.asarray(max_steps)
        self.position = np.zeros((len(tasks), SIZE))
        self.age = np.zeros(len(tasks), int)

    def reset(self, rows: NDArray | None = None) -> NDArray:
        """Begin episodes of `rows` [E] bool (default all) at random places; return obs [E, 3]."""
        rows = np.ones(len(self.goal), bool) if rows is None else rows
        self.position[rows] = self.rng.uniform(-1.0, 1.0, (int(rows.sum()), SIZE))
        self.age[rows] = 0
        return self.position.astype(np.float32)

    def step(self, action: NDArray) -> Step:
        """Move every row by actions [E, 3] in [-1, 1]."""
        self.position = move(self.position, action, self.actuators)
        self.age += 1
        earned = reward(self.position, self.goal, self.width).astype(np.float32)
        edge = np.abs(self.position).max(1) >= 1.0
        return Step(
            self.position.astype(np.float32),
            earned,
            self.terminate & edge,
            self.age >= self.max_steps,
            {},
        )

    def close(self) -> None:
        """Nothing to stop."""


def perfect(observation: NDArray, goal: NDArray) -> NDArray:
    """Return actions [E, 3] straight to goals [E, 3] at full speed along each actuator."""
    pull = (goal - observation) / SPEED
    assert PointMass.actuators is not None
    along = pull @ PointMass.actuators.T
    return along / np.maximum(np.abs(along).max(1, keepdims=True), 1.0)


def returns(name: str, widths: Mapping[str, float], episodes: int = 200) -> tuple[float, float]:
    """Return the mean returns of a random and of the perfect policy on a task."""
    found = []
    for policy in ("random", "perfect"):
        env, rng = PointMass([name] * episodes, seed=1, widths=widths), np.random.default_rng(2)
        observation, total = env.reset(), 0.0
        for _ in range(EPISODE):
            action = (
                rng.uniform(-1.0, 1.0, observation.shape)
                if policy == "random"
                else perfect(observation, env.goal)
            )
            step = env.step(action)
            observation, total = step.obs, total + float(step.reward.mean())
        found.append(total)
    return found[0], found[1]


def instructions() -> dict[str, dict[str, list[str]]]:
    """Return phrases of every task, by "known" (to train on) and "held_out" (to evaluate)."""
    known = ("go to the {}", "move to the {}", "the goal is the {}", "{}", "fly to the {}",
             "reach the {} of the field")  # fmt: skip
    held_out = ("please head for the {}", "find your way to the {}", "stay at the {}",
                "the {} is where you should be")  # fmt: skip
    places = {name: name.replace("_", " ") + (" corner" if "_" in name else "") for name in GOALS}
    return {
        name: {
            "known": [phrase.format(place) for phrase in known],
            "held_out": [phrase.format(place) for phrase in held_out],
        }
        for name, place in places.items()
    }


# A small agent of `h1_small`'s kind: one-step search; tasks are told by their embedding alone.
TOY = TrainConfig(
    preset="toy",
    tasks=tuple(GOALS),
    updates=600,
    update_ratio=0.5,
    out="runs/toy",
    segment=120,  # two episodes: a segment's end cuts those that run
    evaluate_every=120 * 10**6,  # studies score their runs themselves
    cosine_every=40,
    log_every=40,
    model=ModelConfig(
        latent=32, width=64, blocks=1, reward_blocks=0, task_embedding=8, action_embedding=16,
        head_hidden=(64,), policy_hidden=(64,), value_heads=2, head_norm="layer", projector=32,
        bins=31, support="linear", reward_range=(0.0, 1.0), value_range=(0.0, 20.0),
        log_std_range=(-1.2, -1.2),
    ),
    search=SearchConfig(simulations=8, discount=0.95),
    proposals=ProposalConfig(mean=1, narrow=4, wide=3),
    targets=TargetConfig(
        unroll=3, td_steps=3, search_value_after=10**9, reanalyse_positions=1,
        reanalyse_share=0.5, policy_staleness=200, value_reduce="mean",
    ),
    loss=LossConfig(
        reward=2.0, value=4.0, policy=0.05, consistency=1.0, path_consistency=1.0, entropy=0.0,
        entropy_mode="off",
    ),
    optim=OptimConfig(batch=24 * len(GOALS), lr=2e-3, ema=0.02, ema_every=1),
    replay=ReplayConfig(capacity=20_000, priority_exponent=0.5, recent_share=0.25, recent=2000),
    collect=CollectConfig(
        envs_per_task=4, episode_steps=EPISODE, long_episodes_after=2.0, random_steps=120,
        noise=0.15, noise_end=0.1,
    ),
    schedule=ScheduleConfig(quick=5.0, slow=20.0),
)  # fmt: skip
TOYS = {"toy": TOY, "toy_uneven": dataclasses.replace(TOY, preset="toy_uneven")}
WIDTHS: dict[str, Mapping[str, float]] = {"toy": EVEN, "toy_uneven": UNEVEN}
