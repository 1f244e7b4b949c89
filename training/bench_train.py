"""What one training step costs, part by part: the rows of `training/bench.py` beside the simulator.

A *part* is a function that does some work once and returns how many units of it; FLOP are those of
its matrix products, counted by torch, not estimated.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from training import mcts
from training.agent import build_model
from training.cli import ConfigError
from training.config import TrainConfig
from training.learner import Learner
from training.networks import autocast
from training.planner import ModelView, PlannerConfig, pick_heads, plan
from training.reanalyse import TrainingBatch, reanalyse
from training.replay import Replay
from training.suites import open_device, open_suite

Part = Callable[[], int]
FILL_BYTES = 4 * 2**30  # the replay of a benchmark holds at most this unless `filled` wants more


@dataclass
class Step:
    """The pieces of one training step of a configuration, on made-up experience."""

    config: TrainConfig

    def __post_init__(self) -> None:
        config = self.config
        torch.set_num_threads(config.torch_threads)
        torch.manual_seed(config.seed)
        self.device = open_device(config.device)
        make_env, sizes = open_suite(config)
        self.learner = Learner(build_model(config, *sizes).to(self.device), config)
        self.planner = dataclasses.replace(
            PlannerConfig.of(config.search, config.proposals, config.targets),
            precision=config.precision, compile=config.optim.compile_search,
        )  # fmt: skip
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        self.rng = np.random.default_rng(config.seed)
        rows = config.collect.envs_per_task
        self.task = np.repeat(np.arange(len(config.tasks)), rows)
        names = [config.tasks[index] for index in self.task]
        self.env = make_env(names, seed=config.seed, action_map=config.collect.action_map,
                            threads=config.collect.threads)  # fmt: skip
        window = config.targets.unroll + config.targets.td_steps
        self._replay_sizes = len(config.tasks), rows, *sizes, window
        small = dataclasses.replace(config.replay, capacity=rows * 8 * window)
        self.replay = Replay(*self._replay_sizes, small)
        self.observation = self.env.reset()
        self.actions = 0.3 * self.rng.standard_normal((len(self.task), sizes[1]))
        for _ in range(4 * window):
            self.collect()
        self.batch = self.replay.sample(config.optim.batch, self.rng)

    def fill(self, frames: int) -> None:
        """Go on with the run's own replay, `frames` of each task in it: those here, repeated.

        Raises:
            ConfigError: that is less than there is here, or more than the replay holds.
        """
        small, large = self.replay, Replay(*self._replay_sizes, self.config.replay)
        least, most = len(small.buffers[0]), large.buffers[0].rows * large.buffers[0].columns
        if not least <= frames <= most:
            raise ConfigError(f"filled={frames} frames of each task is not in {least}..{most}")
        for here, there in zip(small.buffers, large.buffers, strict=True):
            there.load(_repeated(here.state(), frames // here.rows, small.window))
        self.replay = large

    def collect(self) -> int:
        """Step every environment once and store it; return how many there are."""
        action = self.actions.clip(-1, 1).astype(np.float32)
        step = self.env.step(action)
        for index, buffer in enumerate(self.replay.buffers):
            mine = (self.task == index) | self.config.replay.shared
            buffer.add(self.observation[mine], action[mine], step.reward[mine])
        done = step.terminated | step.truncated
        self.observation = self.env.reset(done) if done.any() else step.obs
        return len(self.task)

    def act(self) -> int:
        """Search an action for every environment; return the number of roots."""
        self._plan(self.observation, self.task, self.planner)
        return len(self.task)

    def searched(self, planner: PlannerConfig | None = None, roots: int = 0) -> Part:
        """Return a search from as many roots as one update's re-analysis has (or `roots`)."""
        count = roots or self.roots
        index = np.arange(count) % len(self.task)

        def part() -> int:
            self._plan(self.observation[index], self.task[index], planner or self.planner)
            return count

        return part

    def bare_search(self, search: mcts.SearchConfig, roots: int = 0) -> Part:
        """Return a search whose roots, values and candidates are there: what mctx is timed on."""
        count, model = roots or self.roots, self.learner.average
        task = torch.from_numpy(np.arange(count) % len(self.config.tasks)).to(self.device)
        pick = pick_heads(model, self.planner.value_reduce, self.generator)
        view = ModelView(model, task, pick, self.planner,
                         None if self.planner.compile else self.generator)  # fmt: skip
        actions = model.action_mask.shape[1]
        shape = count, self.planner.proposals.count, actions
        root = mcts.Root(
            torch.randn(count, model.config.latent, device=self.device),
            torch.zeros(count, device=self.device),
            torch.randn(shape, device=self.device).tanh(),
        )

        def choose() -> Tensor:
            with autocast(self.device, self.planner.precision):
                return mcts.search(root, view, search).action

        chosen = compiled(choose, self.device) if self.planner.compile else choose

        @torch.no_grad()
        def part() -> int:
            chosen().cpu()
            return count

        return part

    @property
    def roots(self) -> int:
        """Searches of an update that searches: rows of the batch times positions."""
        targets = self.config.targets
        return round(targets.reanalyse_share * len(self.batch.task)) * targets.reanalyse_positions

    def sample(self) -> int:
        """Draw a batch."""
        self.replay.sample(self.config.optim.batch, self.rng)
        return 1

    def reanalyse(self) -> int:
        """Make the targets of as many batches as one is searched of; return the roots searched."""
        self.batches()
        return self.roots

    def batches(self) -> int:
        """Make the targets of as many batches as one is searched of; return how many they are."""
        every = self.config.targets.reanalyse_every
        for number in range(every):
            self._reanalyse(number)
        return every

    def update(self) -> int:
        """Take one gradient step."""
        self.learner.update(self._training_batch)
        return 1

    @functools.cached_property
    def _training_batch(self) -> TrainingBatch:
        return self._reanalyse()[0]

    def _plan(self, observation: np.ndarray, task: np.ndarray, planner: PlannerConfig) -> None:
        result = plan(
            self.learner.average, torch.from_numpy(observation).to(self.device),
            torch.from_numpy(task).to(self.device), planner, self.generator,
        )  # fmt: skip
        result.action.cpu()  # what was asked for is there

    def _reanalyse(self, updates: int = 0):
        return reanalyse(self.learner.average, self.batch, self.config.targets, self.planner,
                         updates, self.generator)  # fmt: skip

    def parts(self) -> dict[str, Part]:
        """Return everything a training step consists of, by name."""
        return {
            "environment": self.collect, "acting": self.act, "sample": self.sample,
            "re-analysis": self.reanalyse, "update": self.update,
        }  # fmt: skip

    def per_update(self) -> dict[str, float]:
        """Return how many units of each part one update needs (update_ratio is exact)."""
        steps = len(self.config.tasks) / self.config.update_ratio
        roots = max(self.roots, 1) / self.config.targets.reanalyse_every
        return {"environment": steps, "acting": steps, "sample": 1.0,
                "re-analysis": roots, "update": 1.0}  # fmt: skip


def compiled(function: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    """Return the function compiled as `planner.plan` compiles a search."""
    on_gpu = device.type == "cuda"
    whole = torch.compile(function, dynamic=False, mode="reduce-overhead" if on_gpu else None)

    def call() -> Tensor:
        if on_gpu:
            torch.compiler.cudagraph_mark_step_begin()
        return whole()

    return call


def _repeated(state: dict[str, np.ndarray], columns: int, window: int) -> dict[str, np.ndarray]:
    """Return a buffer's saved arrays as those of one that wrote `columns` frames in every row."""
    rows, used = state["reward"].shape
    index = np.arange(columns) % used
    grown = {
        name: array[:, index] if array.shape[:2] == (rows, used) else array
        for name, array in state.items()
    }
    ready = ~grown["last"]
    ready[:, -window:] = False  # their windows are not complete yet
    grown["priority"] = ready * state["top"][0]
    grown["written"] = np.full_like(state["written"], columns)
    return grown


def half_done(step: Step) -> int:
    """Return how many frames each task's buffer holds when half of a run's updates are made.

    Less where all tasks would take more than FILL_BYTES, at least what `step` holds already.
    """
    config, buffers = step.config, step.replay.buffers
    steps = config.updates / config.update_ratio / 2
    steps *= len(config.tasks) if config.replay.shared else 1  # there all rows are in every buffer
    frame = sum(array.nbytes for array in buffers[0].state().values()) / len(buffers[0])
    fits = FILL_BYTES / len(buffers) / frame
    return max(len(buffers[0]), int(min(steps, config.replay.capacity, fits)))


def matrix_kind(device: torch.device, precision: str) -> tuple[int, torch.dtype]:
    """Return size and type of the matrix product that says what a device can do.

    A GPU has to be filled; the type is that in which the run's networks multiply.
    """
    size = 8192 if device.type == "cuda" else 1024
    return size, torch.bfloat16 if precision == "bfloat16" else torch.float32


def matrix_rate(size: int, kind: torch.dtype, device: torch.device) -> Part:
    """Return a part that multiplies two square matrices; its units are MFLOP."""
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))

    def part() -> int:
        for _ in range(4):
            product = a @ b
        product[0, 0].item()
        return 4 * 2 * size**3 // 10**6

    return part


def flop(part: Part) -> float:
    """Return the floating-point operations of a part's matrix products, per unit.

    What the part makes once and keeps is not counted: it is called once before.
    """
    part()
    with FlopCounterMode(display=False) as counter:
        units = part()
    return counter.get_total_flops() / max(units, 1)


def levers(config: TrainConfig) -> dict[str, TrainConfig]:
    """Return configurations with ever less re-analysis, by what is searched."""
    every, targets = config.targets.unroll + 1, config.targets
    variants = {
        f"all {every} positions, whole batch": (every, 1.0, 1),
        f"all {every} positions, half of it": (every, 0.5, 1),
        "the root position, whole batch": (1, 1.0, 1),
        "the root position, half of it": (1, 0.5, 1),
        "the root position, a quarter": (1, 0.25, 1),
        "the root position, half of every 4th": (1, 0.5, 4),
    }
    return {
        name: dataclasses.replace(
            config,
            targets=dataclasses.replace(
                targets, reanalyse_positions=k, reanalyse_share=share, reanalyse_every=apart
            ),
        )
        for name, (k, share, apart) in variants.items()
    }
