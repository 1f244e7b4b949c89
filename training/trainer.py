"""The training loop as a sentence: collect, learn, checkpoint, evaluate.

A run is a row of *segments*. Each segment begins with fresh environments and generators derived
from (seed, segment) and ends with a checkpoint, so a run that is interrupted and resumed gives the
same numbers as one that was not.
"""

import dataclasses
import math
import subprocess
import time
from pathlib import Path

import numpy as np
import torch

from training import checkpoint, demos, files, parallel, run_folder
from training.agent import Agent, build_model
from training.batches import Batches
from training.changes import sentence
from training.cli import ConfigError, to_dict
from training.collector import Duty
from training.config import TrainConfig
from training.engine import open_engine
from training.episodes import Episodes
from training.evaluation import MakeEnv, evaluate, worth
from training.faults import Faults
from training.learner import Learner
from training.metrics import Averages, MetricsFile
from training.pace import Pace
from training.planner import PlannerConfig
from training.progress import Display
from training.recording import Recorder
from training.replay import Replay
from training.saturation import Saturation
from training.scheduler import allot, make_scheduler
from training.suites import open_device, open_suite

LONG = 1000  # control steps of an episode late in training
ROWS_AT_MOST = 2  # times its even number, for a task that a scheduler favours


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
        if make_env is None or sizes is None:
            suite, suite_sizes = open_suite(config)
            make_env, sizes = make_env or suite, sizes or suite_sizes
        self.make_env = make_env
        device = open_device(config.device)
        torch.set_num_threads(config.torch_threads)
        torch.manual_seed(config.seed)
        self.learner = Learner(build_model(config, *sizes).to(device), config)
        tasks, rows = len(config.tasks), config.collect.envs_per_task
        self.scheduler = make_scheduler(config.schedule, tasks, config.replay.task_share)
        self.saturation = Saturation(tasks, config.collect.saturation)
        window = config.targets.unroll + config.targets.td_steps
        self.replay = Replay(tasks, most_rows(config), *sizes, window, config.replay)
        shown = demos.Demonstrations(config, window, sizes) if config.demos else None
        self.batches = Batches(config, self.replay, self.scheduler, shown)
        self.pace = Pace(config, window, self.batches.pretrain, shown is not None)
        self.task_index = np.repeat(np.arange(tasks), rows)
        self.planner = dataclasses.replace(
            PlannerConfig.of(config.search, config.proposals, config.targets),
            precision=config.precision, compile=config.optim.compile_search,
        )  # fmt: skip
        self.averages = Averages()
        self.engine = open_engine(
            config, make_env, self.learner.average, self.planner, self.batches, self.averages
        )
        self.segment = 0
        self.faults = Faults()  # since the last log line
        self.seconds = 0.0
        self._resume()
        parallel.begin_equal(self.learner.model, self.learner.updates)
        parallel.begin_equal(self.learner.average, self.learner.updates)
        self.metrics = MetricsFile(self.run_folder / "metrics.jsonl", self.learner.updates)
        self.display = Display(config.updates, self.learner.updates)

    @property
    def steps(self) -> int:
        """Environment steps of each task so far."""
        return self.pace.steps

    def _resume(self) -> None:
        self.run_folder.mkdir(parents=True, exist_ok=True)
        folder = parallel.resumable(self.run_folder)
        if folder is not None and not self.config.resume:
            raise ConfigError(
                f"out={self.config.out} holds a run, saved at {int(folder.name)} updates; "
                f"resume=true goes on with it, a new one needs another out="
            )
        if folder is not None:
            self._take_up(folder)
            return
        if self.config.init:
            checkpoint.load_weights(Path(self.config.init), self.learner)
        text = checkpoint.json.dumps({"config": to_dict(self.config), "git": git_sha()}, indent=1)
        files.write_text(self.run_folder / "config.json", text)

    def _take_up(self, folder: Path) -> None:
        """Go on from a checkpoint of this run."""
        state = checkpoint.load_run(folder, self.learner, self.replay)
        self.pace.load(state)
        self.segment, self.seconds = int(state["segment"]), float(state["seconds"])
        self.engine.restarts = int(state.get("restarts", 0))
        self.learner.skipped = int(state.get("skipped", 0))
        self.scheduler.load(state.get("schedule", {}))
        self.saturation.load(state.get("saturation", {}))
        self.averages.load(state.get("averages", {}))
        print(f"resumed {folder} at {self.learner.updates} updates, {self.steps} steps a task")
        if not state.get("replay", True):
            self.pace.emptied()
            print(f"it has no replay (replay.save=false): first {self.pace.fill} steps a task")
        now, then = self.batches.files, state.get("demos", self.batches.files)
        if then != now:  # a folder may have grown
            same = [path for path, size in now.items() if then.get(path) == size]
            print(
                f"demos={self.config.demos}: {len(now)} files now, {len(then)} when it was saved, "
                f"{len(same)} of them the same"
            )
        changed = checkpoint.freely_changed(folder, self.learner)
        if changed:
            print(f"changed: {sentence(changed)}")
        run_folder.note_resume(self.run_folder, self.learner.updates, changed, git_sha())

    def run(self) -> None:
        """Train to the configured number of updates."""
        self.display = Display(self.config.updates, self.learner.updates)
        with self.display:
            try:
                self._run()
            finally:
                self.engine.close()

    def _run(self) -> None:
        config, started = self.config, time.monotonic()
        if self.learner.updates and self.learner.updates % config.evaluate_every == 0:
            self._evaluate()  # what an interruption left of it
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
        self._spread_rows()
        long = self.learner.updates >= collect.long_episodes_after * self.config.online_updates
        longer = self.saturation.reached[self.task_index] | long
        limits = np.where(longer, LONG, collect.episode_steps)
        duty = Duty.of(self.config, self.task_index, limits)
        first = self.engine.begin(duty, self.segment)
        recorder = Recorder(self.config, self.task_index) if self.config.record else None
        self.episodes = Episodes(
            self.config, self.replay, self.scheduler, self.averages, self.task_index, first,
            duty.step_limit, self.saturation, recorder,
        )  # fmt: skip
        self.until = until
        while self.learner.updates < until:
            if self._owed(1):
                self._learn()
            else:
                self._collect(self.pace.random and not self.learner.updates)
        self.episodes.close()
        self.engine.end()
        if recorder:  # before the checkpoint: what is interrupted here is collected again
            file = self.run_folder / "episodes" / f"{self.learner.updates:08d}.safetensors"
            recorder.write(file, {"policy": f"run: {self.run_folder.name}", "git": git_sha()})

    def _owed(self, limit: int) -> int:
        """Return how many updates may follow one another now, `limit` at most."""
        return self.pace.owed(self.learner.updates, limit, self.replay.ready)

    def _spread_rows(self) -> None:
        """Give each task rows of the environment for the next segment."""
        schedule, even = self.config.schedule, self.config.collect.envs_per_task
        if schedule.moves_rows:
            total = even * len(self.config.tasks)
            rows = allot(self.scheduler.shares(), total, most=most_rows(self.config))
            self.task_index = np.repeat(np.arange(len(self.config.tasks)), rows)
            for buffer, count in zip(self.replay.buffers, rows, strict=True):
                buffer.active = int(count)

    def _collect(self, random: bool) -> None:
        """One round: a step of every environment, or as many as the engine takes at once."""
        found = self.engine.collect(random, self.learner.updates)
        for rows, observation in found.replaced:
            self.episodes.begin(rows, observation)
        names = [self.config.tasks[index] for index in self.task_index]
        for moment in found.moments:
            self.episodes.add(moment, random)
            self.faults.drop(moment.failed, moment.fault, names)
            self.pace.step()

    def _learn(self) -> None:
        """One update."""
        began = time.perf_counter()
        limit = min(self.engine.ahead, self.until - self.learner.updates)
        owed = self._owed(limit)
        batch, training_batch, fresh = self.engine.targets(
            self.learner.updates, owed, hungry=owed < limit
        )
        searched = time.perf_counter()
        metrics, error = self.learner.update(training_batch)
        learned = time.perf_counter()
        guilty = self.learner.guilty
        if guilty is None:
            self.batches.keep(batch, error.cpu().numpy(), fresh, self.learner.updates)
            self.averages.add(metrics | fresh.facts | {"ms_update": 1e3 * (learned - searched)})
        else:
            self.replay.drop(batch, guilty.cpu().numpy())
            self.faults.skip(self.learner.reason)
        self.seconds += time.perf_counter() - began
        self.display.at(self.learner.updates)
        if self.learner.updates % self.config.log_every == 0:
            self._log()

    def _log(self) -> None:
        means = self.averages.take()
        row = {"updates": self.learner.updates, "steps": self.steps, "time": time.time(), **means}
        if self.config.schedule.kind != "balanced":
            shares = self.scheduler.shares()
            row |= {f"share/{n}": float(s) for n, s in zip(self.config.tasks, shares, strict=True)}
        if self.config.engine != "local":
            row["actor_restarts"] = self.engine.restarts
        facts, lines = self.faults.take()
        self.metrics.write(row | facts)
        for line in lines:
            print(line, flush=True)
        returns = " ".join(
            f"{name} {means[f'train_return/{name}']:.0f}/{means[f'train_length/{name}']:.0f}"
            for name in self.config.tasks
            if f"train_return/{name}" in means
        )
        total = sum(means.get(f"ms_{part}", 0.0) for part in ("sample", "reanalyse", "update"))
        named = ("loss", "value_target", "value_error")  # nan: all updates were skipped
        loss, value, error = (means.get(name, math.nan) for name in named)
        text = (
            f"update {self.learner.updates:6d}  steps {self.steps:7d}  loss {loss:.3f}  "
            f"value {value:.1f}±{error:.2f}  {total:.0f} ms"
        )
        self.display.line(self.learner.updates, text, returns)

    def _save(self) -> None:
        state = {
            "updates": self.learner.updates,
            **self.pace.state(),
            "segment": self.segment,
            "seconds": self.seconds,
            "restarts": self.engine.restarts,
            "skipped": self.learner.skipped,
            "schedule": self.scheduler.state(),
            "saturation": self.saturation.state(),
            "averages": self.averages.state(),
            "demos": self.batches.files,
        }
        checkpoint.save_run(self.run_folder, self.learner, self.replay, state, parallel.meet)

    def _evaluate(self) -> None:
        """Score planner and policy mean with the acting weights, where the metrics lack that."""
        config, updates = self.config, self.learner.updates
        agent = Agent(self.learner.average, config, {})
        for name, act in (
            ("search", lambda o, t: agent.plan(o, t).action),
            ("mean", agent.policy_mean),
        ):
            if self._evaluated(name):
                continue
            scores = evaluate(
                act,
                config.tasks,
                episodes=config.evaluate_episodes,
                seed=10_000 + config.seed,
                action_map=config.collect.action_map,
                terminate=config.collect.terminate,
                make_env=self.make_env,
            )
            if name == "search":  # before its row, which says that all this is done
                returns = {task: round(score.mean, 1) for task, score in scores.items()}
                run_folder.note_evaluation(self.run_folder, updates, worth(scores), returns)
            row = {f"eval_{name}/{task}": score.mean for task, score in scores.items()}
            self.metrics.write({"updates": updates, "time": time.time(), **row})
            text = "  ".join(
                f"{t} {s.mean:.0f}±{s.std:.0f}/{s.length:.0f}" for t, s in scores.items()
            )
            print(f"evaluation at {updates}: {name:6s} {text}", flush=True)

    def _evaluated(self, name: str) -> bool:
        """Tell whether the run that was taken up had evaluated these weights already."""
        at_start = self.learner.updates == self.metrics.resumed_at
        return at_start and any(key.startswith(f"eval_{name}/") for key in self.metrics.names)


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
