"""One run of the demonstrator: collect, learn, evaluate, save; resumes to the same numbers."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from runtime import h1
from training import features, mirror, schedules
from training.checkpoint import CheckpointError
from training.cli import ConfigError, to_dict
from training.demonstrator import FORMAT, DemonstratorConfig, actions, under
from training.demonstrator_checks import check_same
from training.door import reason
from training.evaluation import Score, evaluate
from training.files import replacing, write_text
from training.h1_env import H1Env
from training.handover import sources
from training.metrics import Averages, MetricsFile
from training.physics import RESET_NOISE
from training.prices import MEASURES, PricedEnv, measure
from training.randomization import Randomization
from training.sac import Sac
from training.shared_replay import Samples, SharedReplay
from training.tasks import task

PELVIS_HEIGHT = 2  # column of the observation, m


class Demonstrator:
    """Owns networks, replay and counters of one run."""

    def __init__(self, config: DemonstratorConfig):
        torch.set_num_threads(config.torch_threads)
        torch.manual_seed(config.seed)
        self.config, self.folder = config, Path(config.out)
        self.tasks = [task(name) for name in config.tasks]
        self.task_index = np.repeat(np.arange(len(self.tasks)), config.envs_per_task)
        self.sac = Sac(features.SIZE, h1.NUM_JOINTS, len(self.tasks), config.sac)
        self.replay = SharedReplay(
            len(self.task_index), config.capacity, features.SIZE, h1.NUM_JOINTS, len(self.tasks),
            self.task_index, len(MEASURES),
        )  # fmt: skip
        self.prices = config.prices()
        self.steps, self.segment, self.best = 0, 0, -np.inf
        self.judged_by: list[list[float]] = []  # the prices that `best` was paid at
        self.averages = Averages()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        self.metrics = MetricsFile(self.folder / "metrics.jsonl", self.sac.updates)

    def run(self) -> None:
        """Train to the configured number of updates."""
        while self.sac.updates < self.config.updates:
            self._segment()
            self.segment += 1
            scores = self._evaluate()
            self._save(scores)

    def _segment(self) -> None:
        """Collect and learn until the next evaluation, in fresh environments."""
        config = self.config
        self.rng = np.random.default_rng((config.seed, self.segment))
        self.generator = torch.Generator().manual_seed(int(self.rng.integers(2**62)))
        names = [self.tasks[index].name for index in self.task_index]
        gentle = self.sac.updates >= config.gentle_after
        different = gentle and config.randomization != Randomization()
        lasting = np.resize(config.episode_steps, config.envs_per_task)
        place = np.arange(len(names)) % config.envs_per_task / config.envs_per_task
        env = H1Env(
            names, seed=int(self.rng.integers(2**62)), action_map=config.action_map,
            delay_substeps=config.delay_substeps,
            randomize=config.randomization if different else None,
            nominal=place < config.nominal,
            guarded=place >= 1.0 - config.guarded if gentle else None,
            reset_noise=config.start_noise if gentle else RESET_NOISE,
            max_steps=np.tile(lasting, len(self.tasks)).tolist(),
        )  # fmt: skip
        until = min(self.sac.updates + config.evaluate_every, config.updates)
        observation = env.reset()
        totals, lengths = np.zeros(len(names)), np.zeros(len(names), int)
        began = time.monotonic()
        while self.sac.updates < until:
            now = features.features(observation)
            self.sac.normalizer.update(torch.from_numpy(now))
            action = self._act(now)
            step = env.step(action)
            readings = env.readings()
            rewards = np.stack([entry.reward(readings)[0] for entry in self.tasks], axis=1)
            low = step.obs[:, PELVIS_HEIGHT] < config.fall_height
            terminal = step.terminated | low
            done = terminal | step.truncated
            broken = np.zeros_like(done) if step.failed is None else step.failed
            self.replay.add(now, action, np.where(broken[:, None], 0.0, rewards),
                            np.where(broken[:, None], 0.0, measure(readings)))  # fmt: skip
            self.steps += len(names)
            totals, lengths, observation = totals + step.reward, lengths + 1, step.obs
            if done.any():
                rows = np.flatnonzero(done)
                self.replay.finish(rows, features.features(step.obs)[rows], terminal[rows])
                for row in rows:
                    self.averages.add({f"return/{names[row]}": float(totals[row]),
                                       f"length/{names[row]}": float(lengths[row])})  # fmt: skip
                like = sources(env, done, config.handover if gentle else 0.0, self.rng)
                observation = env.reset(done, like)
                totals[done], lengths[done] = 0.0, 0
            while self.steps > config.random_steps and schedules.due(
                self.sac.updates, config.update_ratio, self.steps - config.random_steps
            ):
                self._learn()
                if self.sac.updates % config.log_every == 0:
                    self._log(time.monotonic() - began)
                    began = time.monotonic()
                if self.sac.updates >= until:
                    break
        rows = np.arange(len(names))
        self.replay.finish(rows, features.features(observation), np.zeros(len(names), bool))
        env.close()

    def _act(self, now: np.ndarray) -> np.ndarray:
        if self.steps < self.config.random_steps:
            shape = (len(now), h1.NUM_JOINTS)
            return (self.config.random_scale * self.rng.uniform(-1, 1, shape)).astype(np.float32)
        task_index = torch.from_numpy(self.task_index)
        return self.sac.act(torch.from_numpy(now), task_index, self.generator).numpy()

    def _learn(self) -> None:
        config = self.config
        gentle = self.sac.updates >= config.gentle_after
        batch = self.replay.sample(
            config.batch, config.steps, config.discount, config.own_share, self.rng,
            self.prices if gentle else None,
        )  # fmt: skip
        if config.mirrored:
            batch = mirrored(batch, self.rng)
        facts = self.sac.update(batch, self.generator, config.smooth if gentle else 0.0)
        if facts:
            self.averages.add(facts)

    def _log(self, seconds: float) -> None:
        means = self.averages.take()
        self.metrics.write({"updates": self.sac.updates, "steps": self.steps, **means})
        if not np.isfinite(means["critic_loss"]):
            raise FloatingPointError(f"the critics' loss is {means['critic_loss']}")
        returns = " ".join(
            f"{entry.name} {means[f'return/{entry.name}']:.0f}/{means[f'length/{entry.name}']:.0f}"
            for entry in self.tasks
            if f"return/{entry.name}" in means
        )
        print(
            f"update {self.sac.updates:7d} of {self.config.updates}  steps {self.steps:8d}  "
            f"critic {means['critic_loss']:.3f}  q {means['q']:.1f}  alpha {means['alpha']:.4f}  "
            f"entropy {means['entropy']:.1f}  {self.config.log_every / seconds:.0f}/s  "
            f"return/length {returns}",
            flush=True,
        )

    def _evaluate(self) -> dict[str, Score]:
        """Return every task's scores less what was paid for; the benchmark's own are printed too.

        Once a run is gentle, every other episode is another robot's, pushed, late, and guarded if
        rows of the run are.
        """
        config = self.config
        gentle = self.sac.updates >= config.gentle_after
        different = gentle and config.randomization != Randomization()
        made: list[PricedEnv] = []

        def make(rows: Sequence[str], **others: Any) -> PricedEnv:
            odd = np.arange(len(rows)) % 2 == 1
            env = PricedEnv(
                rows, randomize=config.randomization if different else None,
                nominal=~odd, guarded=odd if gentle and config.guarded else None, **others,
            )  # fmt: skip
            each = np.repeat(self.prices, config.evaluate_episodes, axis=0)
            env.charge(each if gentle else np.zeros_like(each))
            made.append(env)
            return env

        scores = evaluate(
            lambda o, t: actions(self.sac, o, t), config.tasks, episodes=config.evaluate_episodes,
            seed=10_000 + config.seed, action_map=config.action_map, make_env=make,
        )  # fmt: skip
        paid = dict(
            zip(scores, made[0].paid.reshape(len(scores), -1).mean(1).tolist(), strict=True)
        )
        row = {f"eval/{name}": score.mean + paid[name] for name, score in scores.items()}
        row |= {f"eval_paid/{name}": cost for name, cost in paid.items()}
        self.metrics.write({"updates": self.sac.updates, "steps": self.steps, **row})
        text = "  ".join(
            f"{n} {s.mean + paid[n]:.0f}-{paid[n]:.0f}±{s.std:.0f}/{s.length:.0f}"
            for n, s in scores.items()
        )
        print(f"evaluation at {self.sac.updates} (return - paid ± / length): {text}", flush=True)
        return scores

    def _save(self, scores: dict[str, Score]) -> None:
        """Save what a resumed run needs, and the weights that act if they are the best so far."""
        prices = self.prices.tolist() if self.sac.updates >= self.config.gentle_after else []
        if prices != self.judged_by:  # returns before and after do not compare
            self.best, self.judged_by = -np.inf, prices
        worth = float(np.mean([s.mean / task(n).success_bar for n, s in scores.items()]))
        facts = {
            "config": json.dumps(to_dict(self.config)),
            "updates": str(self.sac.updates),
            "returns": json.dumps({name: score.mean for name, score in scores.items()}),
            "format": FORMAT,
        }
        acting = {
            f"{part}.{name}": tensor.contiguous()
            for part in ("normalizer", "average")
            for name, tensor in self.sac.modules()[part].state_dict().items()
        }
        if worth > self.best:
            self.best = worth
            _write(self.folder / "best.safetensors", acting, facts)
        _write(self.folder / f"actor_{self.sac.updates:07d}.safetensors", acting, facts)
        state = {"updates": self.sac.updates, "steps": self.steps, "segment": self.segment,
                 "best": self.best, "judged_by": self.judged_by}  # fmt: skip
        facts["state"] = json.dumps(state)
        with _tidy(self.folder / "replay.part"):
            self.replay.save(self.folder / "replay.part")
            _write(self.folder / "resume.part", self._tensors(), facts)
        (self.folder / "replay.part").replace(self.folder / "replay.safetensors")
        (self.folder / "resume.part").replace(self.folder / "resume.safetensors")
        write_text(self.folder / "state.json", json.dumps(state))

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {"log_alpha": self.sac.log_alpha.detach()}
        for part, module in self.sac.modules().items():
            tensors |= {f"{part}.{k}": v.contiguous() for k, v in module.state_dict().items()}
        for part, optimizer in self.sac.optimizers.items():
            for index, values in optimizer.state_dict()["state"].items():
                tensors |= {f"adam.{part}.{index}.{k}": v for k, v in values.items()}
        return {name: tensor.clone() for name, tensor in tensors.items()}

    def _resume(self) -> None:
        if not (self.folder / "state.json").is_file():
            text = json.dumps({"config": to_dict(self.config)}, indent=1)
            write_text(self.folder / "config.json", text)
            return
        try:
            self._take_up()
        except (OSError, SafetensorError, KeyError, TypeError, RuntimeError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise CheckpointError(
                f"cannot resume {self.folder}: {reason(error)}; another out= begins anew"
            ) from error
        print(f"resumed {self.folder} at {self.sac.updates} updates, {self.steps} steps")

    def _take_up(self) -> None:
        """Restore what `_save` saved last."""
        check_same(self.folder / "resume.safetensors", self.config)
        state = json.loads((self.folder / "state.json").read_text())
        tensors = load_file(self.folder / "resume.safetensors")
        self.sac.log_alpha.data.copy_(tensors["log_alpha"])
        for part, module in self.sac.modules().items():
            module.load_state_dict(under(tensors, f"{part}."))
        for part, optimizer in self.sac.optimizers.items():
            saved = under(tensors, f"adam.{part}.")
            slots: dict[int, dict[str, Tensor]] = {}
            for name, tensor in saved.items():
                index, key = name.split(".", 1)
                slots.setdefault(int(index), {})[key] = tensor
            whole = optimizer.state_dict()
            optimizer.load_state_dict({"state": slots, "param_groups": whole["param_groups"]})
        self.replay.load(self.folder / "replay.safetensors")
        self.sac.updates, self.steps = int(state["updates"]), int(state["steps"])
        self.segment, self.best = int(state["segment"]), float(state["best"])
        self.judged_by = state.get("judged_by", [])


def mirrored(batch: Samples, rng: np.random.Generator) -> Samples:
    """Return the batch with half of its transitions, drawn at random, left-right mirrored."""
    flip = (rng.random(len(batch.task)) < 0.5)[:, None]

    def turn(x: np.ndarray, index: np.ndarray, sign: np.ndarray) -> np.ndarray:
        return np.where(flip, x[:, index] * sign, x)

    return Samples(
        turn(batch.observation, features.MIRROR_INDEX, features.MIRROR_SIGN),
        turn(batch.action, mirror.JOINT_INDEX, mirror.JOINT_SIGN),
        batch.task, batch.reward,
        turn(batch.next_observation, features.MIRROR_INDEX, features.MIRROR_SIGN),
        batch.next_discount,
    )  # fmt: skip


@contextlib.contextmanager
def _tidy(part: Path) -> Iterator[None]:
    """Delete a half-written file where writing fails: a full disk gets its room back."""
    try:
        yield
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _write(path: Path, tensors: dict[str, Tensor], facts: dict[str, str]) -> None:
    with replacing(path) as part:
        save_file(tensors, part, metadata=facts)
