"""What a training run can be told: frozen dataclasses. Which values fit: `training.checks`.

Ready ones: `training.presets`. How words become them: `training.cli`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from training.checks import check
from training.cli import ConfigError, rebuild
from training.mcts import SearchConfig
from training.randomization import Randomization
from training.scheduler import ScheduleConfig


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the networks; the defaults are the published ones (16 M parameters)."""

    latent: int = 512  # numbers in the latent state
    width: int = 512  # of the representation, dynamics and reward networks
    blocks: int = 3  # residual blocks of the dynamics
    reward_blocks: int = 3  # residual blocks of the reward network
    task_embedding: int = 128  # numbers per task
    action_embedding: int = 64  # enters the reward network only
    head_hidden: tuple[int, ...] = (512, 512)  # layer sizes of reward and value heads
    policy_hidden: tuple[int, ...] = (512, 512)  # layer sizes
    value_heads: int = 5  # all trained on the same target
    head_norm: str = "batch"  # or "layer"
    projector: int = 1024  # width of the consistency projector
    bins: int = 51  # of the categorical reward and value
    support: str = "h"  # or "linear"
    reward_range: tuple[float, float] = (-299.0, 299.0)  # of the reward's bins
    value_range: tuple[float, float] = (-299.0, 299.0)  # of the value's bins
    value_slope: float = 0.0  # initial value logits fall by this much per bin (0: published)
    value_floor: float = 0.0  # decoded values are clipped to at least this
    log_std_range: tuple[float, float] = (-10.0, 2.0)  # equal ends: a fixed sigma


@dataclass(frozen=True)
class ProposalConfig:
    """Which root candidates a search is given. Published: 4 narrow + 12 wide."""

    mean: int = 0  # the policy mean itself, 0 or 1
    narrow: int = 4  # samples of the policy
    wide: int = 12  # samples with sigma times wide_scale
    wide_scale: float = 3.0  # times the policy's sigma
    gradient: int = 0  # steps up the model's Q from the mean, each a candidate (ours)
    gradient_step: float = 0.1  # root-mean-square step in u = atanh(a)
    gradient_floor: float = 1.0  # dQ/du below this is not scaled up to a whole step

    @property
    def count(self) -> int:
        return self.mean + self.narrow + self.wide + self.gradient


@dataclass(frozen=True)
class TargetConfig:
    """Unroll, bootstrapping and re-analysis."""

    unroll: int = 5  # steps of the model per sample
    td_steps: int = 5  # n of the n-step return
    search_value_after: int = 50_000  # T1, updates: before it every value target is n-step TD
    search_value_newest: int = 200_000  # T2, transitions per task that keep the TD target
    reanalyse_positions: int = 6  # unroll positions searched at batch time
    reanalyse_share: float = 1.0  # of the batch; the oldest stored results first
    reanalyse_every: int = 1  # updates; of so many batches the first is searched, the others not
    policy_staleness: int = 0  # updates for which a search's action and value count; 0: never
    lookahead: int = 0  # steps of the model under its own policy before a value counts; 0: none
    imagined_share: float = 0.0  # of the samples, those whose value target is lookahead alone
    policy_target: str = "best"  # or "weighted": softmax-weighted mean of the candidates
    value_reduce: str = "min2"  # of 2 heads per search; "min2_each": per call; "min", "mean": all


@dataclass(frozen=True)
class LossConfig:
    """Loss coefficients (EZ-M)."""

    reward: float = 1.0  # weight
    value: float = 0.5  # weight
    policy: float = 1.0  # weight
    ascent: float = 0.0  # weight of the policy's own Q under the average model, to be raised
    consistency: float = 5.0  # weight, latent against the next state's encoding
    path_consistency: float = 0.5  # weight, V(s) against r + discount V(s')
    entropy: float = 5e-3  # weight
    entropy_mode: str = "as-released"  # shrinks sigma; "off"; "bonus" widens it; "target"
    entropy_target: float = -0.5  # nats per joint of the squashed policy, for "target"
    head_weight: float = 0.5  # the inactive expectile weight of the release
    path_target: str = "mean"  # of the heads in path consistency's target; or "min"


@dataclass(frozen=True)
class OptimConfig:
    """Adam, and the moving average that acts and makes targets."""

    batch: int = 504  # samples, over all tasks
    lr: float = 1e-4  # learning rate
    l2: float = 2e-5  # weight decay
    clip: float = 5.0  # gradient norm
    drop_at: float = 0.9  # fraction of the updates after which lr is multiplied by 0.1
    ema: float = 0.01  # step of the moving average
    ema_every: int = 5  # updates
    compile: bool = False  # torch.compile of the loss (needs a C++ compiler)
    compile_search: bool = False  # torch.compile of the search as well, as one graph
    average_start: str = "copy"  # the average begins as the model; "own": elsewhere, as released
    decay: str = "adam"  # l2 inside Adam on everything, as released; "adamw": not on norms, tasks
    freeze_norm_after: int = 0  # updates after which observation statistics stay; 0: never


@dataclass(frozen=True)
class ReplayConfig:
    """Independent prioritised replay, one buffer per task."""

    capacity: int = 1_000_000  # transitions per task
    priority_exponent: float = 1.0  # alpha of prioritised replay
    correction_exponent: float = 1.0  # beta of its importance weights
    weight_floor: float = 0.1  # smallest importance weight
    task_share: tuple[float, ...] = ()  # of every batch; empty: equal, as published
    recent_share: float = 0.0  # share of every batch drawn from the newest transitions
    recent: int = 30_000  # how many of them, per task
    drop_tail: int = 0  # steps per block whose last one of an episode is left out; released: 100
    shared: bool = False  # every transition trains every task, with that task's reward
    mirrored: bool = False  # half of every batch left-right mirrored (level floor only)
    save: bool = True  # in checkpoints; False: small ones, but a resumed run has to collect first


@dataclass(frozen=True)
class CollectConfig:
    """Environments and exploration."""

    envs_per_task: int = 16  # simulated robots
    action_map: str = "benchmark"  # or "home", "stance"; see runtime/h1.py
    observation: str = "benchmark"  # or "body": without x, y, in the robot's own frame
    terminate: bool = False  # False: EZ-M's protocol; True: HumanoidBench's
    fall_height: float = 0.0  # m; below it a training episode ends as terminal (evaluation: never)
    episode_steps: int = 500  # control steps of 20 ms
    long_episodes_after: float = 0.4  # share of the updates after which episodes last 1000 steps
    saturation: float = 0.0  # or once a task's last 10 returns spread by less than this share
    random_steps: int = 1000  # per task, uniform random actions first
    random_scale: float = 1.0  # amplitude of those
    random_stores: str = "executed"  # action of the random phase; "planned": as released
    noise: float = 0.0  # std of Gaussian noise on executed actions
    noise_spread: float = 1.0  # rows differ: noise times spread^-1 … spread^1, evenly in the log
    noise_end: float = 0.0  # its value at the end of training (linear)
    delay_substeps: tuple[int, int] = (0, 0)  # 2 ms ticks (from, to) by which a control acts late
    threads: int = 1  # of the simulator
    randomization: Randomization = field(default_factory=Randomization)  # off; not in evaluations


@dataclass(frozen=True)
class ImitationConfig:
    """How the episodes of `demos` are used (after Newt: pretrain, then keep a share for good)."""

    pretrain: int = 10_000  # updates on demonstrations alone, before the first own step
    share: float = 0.5  # of every batch after that
    share_end: float = 0.25  # its value at the end of training (linear)
    weight: float = 1.0  # of the cloning term: times loss.policy, on demonstrations
    weight_end: float = 0.2  # its value at the end of training (linear)


@dataclass(frozen=True)
class RayConfig:
    """Who works for engine=ray, and how often the learner meets them (training/actors.py)."""

    address: str = ""  # of a running cluster, or "auto"; empty: one on this machine, for this run
    collectors: int = 2  # actors that step the environments, each its share of the rows
    reanalysers: int = 1  # actors that make targets; 0: the learner makes them
    steps: int = 4  # environment steps of every row between two meetings
    batches: int = 8  # updates between two meetings, at most

    def __post_init__(self) -> None:
        for name, least in (("collectors", 1), ("reanalysers", 0), ("steps", 1), ("batches", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"ray.{name}={getattr(self, name)} is less than {least}")


@dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    preset: str = "hb_medium"  # a key given beside it wins
    suite: str = "ours"  # environments: ours, or "real": the humanoid_bench package
    tasks: tuple[str, ...] = ("stand", "walk", "run")  # names of docs/tasks.md
    seed: int = 0  # of everything
    updates: int = 220_000  # of the learner, in all
    update_ratio: float = 0.2  # updates per environment step of one task (UTD), a hard constraint
    offline_updates: int = 0  # the last ones, without new data; no part of a schedule's progress
    out: str = "runs/default"  # run folder
    resume: bool = True  # go on with the run that `out` holds; False: refuse to
    device: str = "cpu"  # of networks and search; or "cuda", "cuda:1"
    engine: str = "local"  # collection and re-analysis: in this process, or "ray": in actors
    precision: str = "float32"  # or "bfloat16": autocast of search and losses
    torch_threads: int = 1  # threads of one torch operation
    segment: int = 5000  # updates between checkpoints
    evaluate_every: int = 5000  # updates; a multiple of segment
    evaluate_episodes: int = 5  # per task
    language: str = ""  # phrase vectors (training/language.py) that tell tasks; empty: learnt ones
    cosine_every: int = 0  # updates between gradient cosines of pairs of tasks; 0: never
    log_every: int = 100  # updates
    max_minutes: float = 0.0  # stop at the first segment end after this; 0: no limit
    init: str = ""  # start from this checkpoint's weights (empty replay)
    demos: str = ""  # episodes to imitate first: files, folders; see training/demonstrate.py
    record: bool = False  # write the run's own episodes to out/episodes, for demos= of another
    model: ModelConfig = field(default_factory=ModelConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    targets: TargetConfig = field(default_factory=TargetConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    collect: CollectConfig = field(default_factory=CollectConfig)
    imitation: ImitationConfig = field(default_factory=ImitationConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    ray: RayConfig = field(default_factory=RayConfig)

    def __post_init__(self) -> None:
        check(self)

    @property
    def online_updates(self) -> int:
        """How many updates have new data: what learning rate, noise and shares go by."""
        return self.updates - self.offline_updates


def from_dict(values: dict[str, Any]) -> TrainConfig:
    """Rebuild a configuration saved by `to_dict`; unknown keys are refused."""
    return rebuild(TrainConfig, values)
