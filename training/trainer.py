"""The training loop as a sentence: collect, learn, checkpoint, evaluate.

A run is a row of *segments*. Each segment begins with fresh environments and generators derived
from (seed, segment) and ends with a checkpoint, so a run that is interrupted and resumed gives the
same numbers as one that was not.
"""

import dataclasses
import subprocess
import time
from pathlib import Path

import numpy as np
import torch

from training import checkpoint, demos, parallel, schedules
from training.agent import Agent, build_model
from training.config import TrainConfig, to_dict
from training.evaluation import MakeEnv, evaluate
from training.features import see
from training.learner import Learner
from training.metrics import Averages, MetricsFile
from training.mirror import mirror_joints
from training.planner import PlannerConfig, plan
from training.randomization import Randomization
from training.reanalyse import reanalyse
from training.replay import Batch, Replay
from training.scheduler import allot, make_scheduler
from training.suites import open_device, open_suite

ROWS_AT_MOST = 2  # times its even number, for a task that a scheduler favours
PELVIS_HEIGHT = 2  # column of HumanoidBench's observation, m


class Trainer:
    """Owns learner, replay and counters of one run."""

    def __init__(
        self,
        config: TrainConfig,
        make_env: MakeEnv | None = None,
        sizes: tuple[int, int] | None = None,
    ):
        """Build the parts of a run, or take up the one in `config.out`.

        `make_env` takes H1Env's arguments; `sizes` are those of its observation and action
        (default: those of the configuration's suite).
        """
        self.config, self.run_folder = config, Path(config.out)
        self.view = config.collect.observation
        if make_env is None or sizes is None:
            suite, suite_sizes = open_suite(config)
            make_env, sizes = make_env or suite, sizes or suite_sizes
        self.make_env, (observation, self.action_size) = make_env, sizes
        self.device = open_device(config.device)
        torch.set_num_threads(config.torch_threads)
        torch.manual_seed(config.seed)
        self.learner = Learner(build_model(config, *sizes).to(self.device), config)
        tasks = len(config.tasks)
        self.scheduler = make_scheduler(config.schedule, tasks, config.replay.task_share)
        window = config.targets.unroll + config.targets.td_steps
        self.replay = Replay(
            tasks, most_rows(config), observation, self.action_size, window,
            config.replay,
        )  # fmt: skip
        # steps of each task before the first update: one complete window in every row at least
        rows = config.collect.envs_per_task
        self.demos = demos.Demonstrations(config, window) if config.demos else None
        self.pretrain = config.imitation.pretrain if self.demos else 0  # updates
        random_steps = 0 if self.demos else config.collect.random_steps
        self.warm_up = max(random_steps, rows * (window + 1))
        self.task_index = np.repeat(np.arange(tasks), rows)
        self.planner = dataclasses.replace(
            PlannerConfig.of(config.search, config.proposals, config.targets),
            precision=config.precision, compile=config.optim.compile_search,
        )  # fmt: skip
        self.steps = 0  # environment steps of each task
        self.segment = 0
        self.failures = 0  # episodes that the simulation's breakdown ended, since the last log line
        self.seconds = 0.0
        self._resume()
        parallel.begin_equal(self.learner.model, self.learner.updates)
        parallel.begin_equal(self.learner.average, self.learner.updates)
        self.metrics = MetricsFile(self.run_folder / "metrics.jsonl", self.learner.updates)
        self.averages = Averages()
        self.began = time.monotonic(), self.learner.updates

    def _resume(self) -> None:
        self.run_folder.mkdir(parents=True, exist_ok=True)
        folder = checkpoint.latest(self.run_folder)
        if folder is not None:
            state = checkpoint.load_run(folder, self.learner, self.replay)
            self.steps, self.segment = int(state["steps"]), int(state["segment"])
            self.seconds = float(state["seconds"])
            self.scheduler.load(state.get("schedule", {}))
            print(f"resumed {folder} at {self.learner.updates} updates, {self.steps} steps a task")
            return
        if self.config.init:
            weights, _, _ = checkpoint.load_agent(Path(self.config.init))
            self.learner.model.load_state_dict(weights)
            self.learner.average.load_state_dict(weights)
        text = checkpoint.json.dumps({"config": to_dict(self.config), "git": git_sha()}, indent=1)
        checkpoint.write_text(self.run_folder / "config.json", text)

    def run(self) -> None:
        """Train to the configured number of updates."""
        started = time.monotonic()
        self.began = started, self.learner.updates  # the pace counts from here
        config = self.config
        while self.learner.updates < config.updates:
            self._run_segment(min(self.learner.updates + config.segment, config.updates))
            self.segment += 1
            self._save()
            if self.learner.updates % config.evaluate_every == 0:
                self._evaluate()
            if 0 < config.max_minutes < (time.monotonic() - started) / 60:
                print(f"stopped by max_minutes={config.max_minutes} at {self.learner.updates}")
                return

    def _run_segment(self, until: int) -> None:
        collect = self.config.collect
        self.rng = np.random.default_rng((self.config.seed, self.segment))
        self.generator = torch.Generator(self.device)
        self.generator.manual_seed(int(self.rng.integers(2**62)))
        torch.manual_seed(int(self.rng.integers(2**62)))
        self._spread_rows()
        long = self.learner.updates >= collect.long_episodes_after * self.config.updates
        self.step_limit = 1000 if long else collect.episode_steps
        self.env = self.make_env(
            [self.config.tasks[i] for i in self.task_index],
            seed=int(self.rng.integers(2**62)),
            action_map=collect.action_map,
            threads=collect.threads,
            terminate=collect.terminate,
            max_steps=self.step_limit,
            delay_substeps=collect.delay_substeps,
            **self._different_robots(),
        )
        self.observation = see(self.view, self.env.reset())
        self.returns = np.zeros(len(self.task_index))
        self.lengths = np.zeros(len(self.task_index), int)
        while self.learner.updates < until:
            ready, ratio = self.steps > self.warm_up, self.config.update_ratio
            own = self.learner.updates - self.pretrain  # updates on its own experience too
            if own < 0 or (ready and schedules.due(own, ratio, self.steps)):
                self._learn()
            else:
                self._collect(random=not ready and self.demos is None)
        self._cut_episodes(np.ones(len(self.task_index), bool), np.zeros_like(self.task_index))
        self.env.close()

    def _spread_rows(self) -> None:
        """Give each task rows of the environment for the next segment."""
        schedule, even = self.config.schedule, self.config.collect.envs_per_task
        if schedule.moves_rows:
            total = even * len(self.config.tasks)
            rows = allot(self.scheduler.shares(), total, most=most_rows(self.config))
            self.task_index = np.repeat(np.arange(len(self.config.tasks)), rows)
            for buffer, count in zip(self.replay.buffers, rows, strict=True):
                buffer.active = int(count)

    def _different_robots(self) -> dict[str, Randomization]:
        """Return the argument that randomises robots, none where nothing is to be."""
        ranges = self.config.collect.randomization
        return {} if ranges == Randomization() else {"randomize": ranges}

    def _collect(self, random: bool) -> None:
        """One step of every environment."""
        began = time.perf_counter()
        action = self._random_action() if random else self._planned_action()
        acted = time.perf_counter()
        senseless = np.logical_not(np.isfinite(action).all(axis=1))
        if senseless.all():
            raise FloatingPointError("no row's action is finite: the networks are broken")
        step = self.env.step(action)
        action = np.where(senseless[:, None], np.float32(0), action)  # as the environment does
        if random and self.config.collect.random_stores == "planned":
            action = self._planned_action()
        if step.failed is not None:
            self.failures += int(step.failed.sum())
        for task, buffer in enumerate(self.replay.buffers):
            mine = self.task_index == task
            buffer.add(self.observation[mine], action[mine], step.reward[mine])
        self.steps += self.config.collect.envs_per_task
        self.returns += step.reward
        self.lengths += 1
        self.observation = see(self.view, step.obs)
        low = step.obs[:, PELVIS_HEIGHT] < self.config.collect.fall_height
        terminated = step.terminated | low if self.config.collect.fall_height else step.terminated
        done = terminated | step.truncated
        if done.any():
            for task, name in enumerate(self.config.tasks):
                mine = done & (self.task_index == task)
                for value, length in zip(self.returns[mine], self.lengths[mine], strict=True):
                    self.averages.add(
                        {f"train_return/{name}": float(value), f"train_length/{name}": int(length)}
                    )
                    if not random:
                        self.scheduler.observe(task, float(value) / self.step_limit)
            self._cut_episodes(done, terminated)
            self.observation = see(self.view, self.env.reset(done))
            self.returns[done], self.lengths[done] = 0.0, 0
        stepped = time.perf_counter()
        self.averages.add({"ms_act": 1e3 * (acted - began), "ms_env": 1e3 * (stepped - acted)})

    def _random_action(self) -> np.ndarray:
        scale = self.config.collect.random_scale
        shape = (len(self.task_index), self.action_size)
        return (scale * self.rng.uniform(-1.0, 1.0, shape)).astype(np.float32)

    def _planned_action(self) -> np.ndarray:
        collect = self.config.collect
        result = plan(
            self.learner.average,
            torch.from_numpy(self.observation).to(self.device),
            torch.from_numpy(self.task_index).to(self.device),
            self.planner,
            self.generator,
        )
        progress = self.learner.updates / self.config.updates
        noise = schedules.linear(collect.noise, collect.noise_end, progress)
        action = result.action.float().cpu().numpy()
        if noise:
            spread, counts = collect.noise_spread, np.bincount(self.task_index)
            rows = [np.geomspace(1 / spread, spread, count) for count in counts]
            scale = noise * np.concatenate(rows)[:, None]
            action = action + scale * self.rng.standard_normal(action.shape)
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def _cut_episodes(self, rows: np.ndarray, terminated: np.ndarray) -> None:
        """Write the final frame of the episodes of `rows` (bool)."""
        for task, buffer in enumerate(self.replay.buffers):
            mine = np.flatnonzero(rows & (self.task_index == task))
            first = np.searchsorted(self.task_index, task)
            buffer.finish(mine - first, self.observation[mine], terminated[mine])
            if self.config.replay.drop_tail:
                block = self.config.replay.drop_tail
                buffer.drop_tail(mine - first, self.lengths[mine], block)

    def _sample(self) -> Batch:
        """Draw a batch: own experience, demonstrations, or shares of both."""
        count = self.config.optim.batch
        if self.demos is None:
            batch = self.replay.sample(count, self.rng, self._counts(count))
        elif self.learner.updates < self.pretrain:
            batch = self.demos.sample(count, self.rng)
        else:
            shown = round(self._scheduled("share") * count)
            own = self.replay.sample(count - shown, self.rng, self._counts(count - shown))
            batch = demos.join(own, self.demos.sample(shown, self.rng)) if shown else own
        if self.config.replay.mirrored:
            batch = demos.mirrored(batch, self.view, self.rng)
        return batch

    def _counts(self, batch: int) -> np.ndarray | None:
        """Return how many windows of each task a batch gets, None: as the replay's settings say."""
        return allot(self.scheduler.shares(), batch) if self.config.schedule.moves_batch else None

    def _scheduled(self, name: str) -> float:
        """Return imitation.<name> as it is now: linear from the end of pre-training on."""
        imitation, end = self.config.imitation, self.config.updates
        progress = (self.learner.updates - self.pretrain) / max(end - self.pretrain, 1)
        start, stop = getattr(imitation, name), getattr(imitation, f"{name}_end")
        return schedules.linear(start, stop, max(progress, 0.0))

    def _learn(self) -> None:
        """One update."""
        config = self.config
        began = time.perf_counter()
        batch = self._sample()
        sampled = time.perf_counter()
        training_batch, fresh = reanalyse(
            self.learner.average, batch, config.targets, self.planner,
            self.learner.updates, self.generator, self._scheduled("weight"),
        )  # fmt: skip
        searched = time.perf_counter()
        metrics, error = self.learner.update(training_batch)
        learned = time.perf_counter()
        self.replay.update_priorities(batch, error.cpu().numpy())
        if config.targets.policy_staleness:
            found, flipped = fresh.action.cpu().numpy(), batch.flipped[fresh.rows]
            found = (
                np.where(flipped[:, None, None], mirror_joints(found), found)
                if flipped.any()
                else found
            )
            self.replay.store_search(batch, fresh.rows, found, self.learner.updates)
        self.averages.add(metrics | fresh.facts)
        self.averages.add(
            {
                "ms_sample": 1e3 * (sampled - began),
                "ms_reanalyse": 1e3 * (searched - sampled),
                "ms_update": 1e3 * (learned - searched),
            }
        )
        self.seconds += time.perf_counter() - began
        if self.learner.updates % config.log_every == 0:
            self._log()

    def _log(self) -> None:
        means = self.averages.take()
        row = {"updates": self.learner.updates, "steps": self.steps, "time": time.time(), **means}
        if self.config.schedule.kind != "balanced":
            shares = self.scheduler.shares()
            row |= {f"share/{n}": float(s) for n, s in zip(self.config.tasks, shares, strict=True)}
        if self.failures:
            row["failed_episodes"] = self.failures
            print(f"{self.failures} episodes ended by a breakdown of the simulation", flush=True)
            self.failures = 0
        self.metrics.write(row)
        returns = " ".join(
            f"{name} {means[f'train_return/{name}']:.0f}/{means[f'train_length/{name}']:.0f}"
            for name in self.config.tasks
            if f"train_return/{name}" in means
        )
        total = sum(means.get(f"ms_{part}", 0.0) for part in ("sample", "reanalyse", "update"))
        print(
            f"update {self.learner.updates:6d}  steps {self.steps:7d}  loss {means['loss']:.3f}  "
            f"value {means['value_target']:.1f}±{means['value_error']:.2f}  {total:.0f} ms  "
            f"{self._time_left()} left  return/length {returns}",
            flush=True,
        )

    def _time_left(self) -> str:
        """Return hours and minutes to the last update, at the pace since this process began."""
        since, first = self.began
        pace = (time.monotonic() - since) / max(self.learner.updates - first, 1)
        minutes = round(pace * (self.config.updates - self.learner.updates) / 60)
        return f"{minutes // 60}:{minutes % 60:02d}"

    def _save(self) -> None:
        state = {
            "updates": self.learner.updates,
            "steps": self.steps,
            "segment": self.segment,
            "seconds": self.seconds,
            "schedule": self.scheduler.state(),
        }
        checkpoint.save_run(self.run_folder, self.learner, self.replay, state)

    def _evaluate(self) -> None:
        """Score planner and policy mean with the acting weights."""
        config = self.config
        agent = Agent(self.learner.average, config, {})
        for name, act in (
            ("search", lambda o, t: agent.plan(o, t).action),
            ("mean", agent.policy_mean),
        ):
            scores = evaluate(
                act,
                config.tasks,
                episodes=config.evaluate_episodes,
                seed=10_000 + config.seed,
                action_map=config.collect.action_map,
                terminate=config.collect.terminate,
                make_env=self.make_env,
            )
            row = {f"eval_{name}/{task}": score.mean for task, score in scores.items()}
            self.metrics.write({"updates": self.learner.updates, "time": time.time(), **row})
            text = "  ".join(
                f"{t} {s.mean:.0f}±{s.std:.0f}/{s.length:.0f}" for t, s in scores.items()
            )
            print(f"evaluation at {self.learner.updates}: {name:6s} {text}", flush=True)


def most_rows(config: TrainConfig) -> int:
    """Return how many rows of the environment a task can get."""
    even = config.collect.envs_per_task
    return ROWS_AT_MOST * even if config.schedule.moves_rows and len(config.tasks) > 1 else even


def git_sha() -> str:
    """Return the commit of the working tree, "-dirty" if it has changes, "unknown" elsewhere."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        out = subprocess.run(
            command, capture_output=True, text=True, cwd=Path(__file__).parent, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return out.stdout.strip()
