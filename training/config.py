"""What a training run can be told: frozen dataclasses, presets, and `key=value` overrides."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from training.mcts import SearchConfig
from training.randomization import Randomization

Config = TypeVar("Config")


class ConfigError(ValueError):
    """A key, value or preset that does not exist or does not fit."""


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the networks; the defaults are the published ones (16 M parameters)."""

    latent: int = 512
    width: int = 512
    blocks: int = 3
    reward_blocks: int = 3
    task_embedding: int = 128
    action_embedding: int = 64  # enters the reward network only
    head_hidden: tuple[int, ...] = (512, 512)
    policy_hidden: tuple[int, ...] = (512, 512)
    value_heads: int = 5
    head_norm: str = "batch"  # or "layer"
    projector: int = 1024
    bins: int = 51
    support: str = "h"  # or "linear"
    reward_range: tuple[float, float] = (-299.0, 299.0)
    value_range: tuple[float, float] = (-299.0, 299.0)
    value_slope: float = 0.0  # initial value logits fall by this much per bin (0: published)
    value_floor: float = 0.0  # decoded values are clipped to at least this
    log_std_range: tuple[float, float] = (-10.0, 2.0)  # equal ends: a fixed sigma


@dataclass(frozen=True)
class ProposalConfig:
    """Which root candidates a search is given. Published: 4 narrow + 12 wide."""

    mean: int = 0  # the policy mean itself, 0 or 1
    narrow: int = 4  # samples of the policy
    wide: int = 12  # samples with sigma times wide_scale
    wide_scale: float = 3.0
    gradient: int = 0  # steps up the model's Q from the mean, each a candidate (ours)
    gradient_step: float = 0.1  # root-mean-square step in u = atanh(a)
    gradient_floor: float = 1.0  # dQ/du below this is not scaled up to a whole step

    @property
    def count(self) -> int:
        return self.mean + self.narrow + self.wide + self.gradient


@dataclass(frozen=True)
class TargetConfig:
    """Unroll, bootstrapping and re-analysis."""

    unroll: int = 5
    td_steps: int = 5
    search_value_after: int = 50_000  # T1, updates: before it every value target is n-step TD
    search_value_newest: int = 200_000  # T2, transitions per task that keep the TD target
    reanalyse_positions: int = 6  # unroll positions searched at batch time
    reanalyse_share: float = 1.0  # of the batch; the oldest stored results first
    policy_staleness: int = 0  # updates for which a stored search result still counts; 0: never
    policy_target: str = "best"  # or "weighted": softmax-weighted mean of the candidates
    value_reduce: str = "min2"  # or "mean": how the heads become one value


@dataclass(frozen=True)
class LossConfig:
    """Loss coefficients (EZ-M)."""

    reward: float = 1.0
    value: float = 0.5
    policy: float = 1.0
    consistency: float = 5.0
    path_consistency: float = 0.5
    entropy: float = 5e-3
    entropy_mode: str = "as-released"  # "as-released" shrinks sigma; "off"; "bonus" widens it
    head_weight: float = 0.5  # the inactive expectile weight of the release


@dataclass(frozen=True)
class OptimConfig:
    """Adam, and the moving average that acts and makes targets."""

    batch: int = 504
    lr: float = 1e-4
    l2: float = 2e-5
    clip: float = 5.0
    drop_at: float = 0.9  # fraction of the updates after which lr is multiplied by 0.1
    ema: float = 0.01
    ema_every: int = 5  # updates
    compile: bool = False  # torch.compile of the loss (needs a C++ compiler)


@dataclass(frozen=True)
class ReplayConfig:
    """Independent prioritised replay, one buffer per task."""

    capacity: int = 1_000_000  # transitions per task
    priority_exponent: float = 1.0
    correction_exponent: float = 1.0
    weight_floor: float = 0.1
    task_share: tuple[float, ...] = ()  # of every batch; empty: equal, as published
    recent_share: float = 0.0  # share of every batch drawn from the newest transitions
    recent: int = 30_000  # how many of them, per task


@dataclass(frozen=True)
class CollectConfig:
    """Environments and exploration."""

    envs_per_task: int = 16
    action_map: str = "benchmark"  # or "home", "stance"; see runtime/h1.py
    terminate: bool = False  # False: EZ-M's protocol; True: HumanoidBench's
    fall_height: float = 0.0  # m; below it a training episode ends as terminal (evaluation: never)
    episode_steps: int = 500
    long_episodes_after: float = 0.4  # share of the updates after which episodes last 1000 steps
    random_steps: int = 1000  # per task, uniform random actions first
    random_scale: float = 1.0  # amplitude of those
    noise: float = 0.0  # std of Gaussian noise on executed actions
    noise_spread: float = 1.0  # rows differ: noise times spread^-1 … spread^1, evenly in the log
    noise_end: float = 0.0  # its value at the end of training (linear)
    delay_substeps: tuple[int, int] = (0, 0)
    threads: int = 1
    randomization: Randomization = field(default_factory=Randomization)  # off; not in evaluations


@dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    preset: str = "hb_medium"
    tasks: tuple[str, ...] = ("stand", "walk", "run")
    seed: int = 0
    updates: int = 220_000
    update_ratio: float = 0.2  # updates per environment step of one task (UTD), a hard constraint
    out: str = "runs/default"
    device: str = "cpu"  # nothing else yet
    torch_threads: int = 1
    segment: int = 5000  # updates between checkpoints
    evaluate_every: int = 5000  # updates; a multiple of segment
    evaluate_episodes: int = 5
    log_every: int = 100
    max_minutes: float = 0.0  # stop at the first segment end after this; 0: no limit
    init: str = ""  # start from this checkpoint's weights (empty replay)
    model: ModelConfig = field(default_factory=ModelConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    targets: TargetConfig = field(default_factory=TargetConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    collect: CollectConfig = field(default_factory=CollectConfig)

    def __post_init__(self) -> None:
        if self.search.simulations < self.proposals.count:
            raise ConfigError(
                f"search.simulations={self.search.simulations} is less than the "
                f"{self.proposals.count} root candidates of proposals.*"
            )
        shares = self.replay.task_share
        if shares and (len(shares) != len(self.tasks) or min(shares) <= 0):
            raise ConfigError(
                f"replay.task_share={list(shares)}: expected one positive number for each of "
                f"{list(self.tasks)}"
            )
        if self.device != "cpu":
            raise ConfigError(f"device={self.device!r}: training runs on the CPU so far")
        if self.evaluate_every % self.segment:
            raise ConfigError(
                f"evaluate_every={self.evaluate_every} is no multiple of segment={self.segment}"
            )
        for key, allowed in _CHOICES.items():
            section, name = key.split(".")
            value = getattr(getattr(self, section), name)
            if value not in allowed:
                raise ConfigError(f"{key}={value!r}; there are {', '.join(allowed)}")
        positions = self.targets.unroll + 1
        if not 1 <= self.targets.reanalyse_positions <= positions:
            raise ConfigError(
                f"targets.reanalyse_positions={self.targets.reanalyse_positions} is not in "
                f"1..{positions}, the positions of targets.unroll={self.targets.unroll}"
            )
        if not self.tasks or self.optim.batch < len(self.tasks):
            raise ConfigError(
                f"optim.batch={self.optim.batch} gives no sample to each of tasks={self.tasks}"
            )


_CHOICES = {
    "targets.policy_target": ("best", "weighted"),
    "targets.value_reduce": ("min2", "mean"),
    "loss.entropy_mode": ("as-released", "off", "bonus"),
    "model.head_norm": ("batch", "layer"),
    "model.support": ("h", "linear"),
}


_MEDIUM = ("stand", "walk", "run", "stair", "crawl", "pole", "slide", "hurdle", "maze")

_SMALL_MODEL = ModelConfig(
    latent=128,
    width=256,
    blocks=1,
    reward_blocks=0,
    task_embedding=16,
    action_embedding=32,
    head_hidden=(128,),
    policy_hidden=(256,),
    head_norm="layer",
    projector=128,
    bins=41,
    reward_range=(0.0, 1.2),
    value_range=(0.0, 220.0),
    value_slope=0.2,
    support="linear",
    log_std_range=(-1.6, -1.6),
)

_H1_SMALL = TrainConfig(
    preset="h1_small",
    tasks=("stand", "walk"),
    updates=80_000,
    update_ratio=0.25,
    out="runs/h1_small",
    segment=2500,
    evaluate_every=10_000,
    evaluate_episodes=4,
    model=_SMALL_MODEL,
    # 0.99 sees 2 s: there, diving forward is worth more to `walk` than standing is (25 to 17)
    search=SearchConfig(simulations=8, discount=0.995),
    proposals=ProposalConfig(mean=1, narrow=4, wide=1, gradient=2, gradient_step=0.15),
    targets=TargetConfig(
        unroll=2,
        td_steps=5,
        search_value_after=10**9,
        reanalyse_positions=1,
        reanalyse_share=0.5,
        policy_staleness=200,
    ),
    # sigma is fixed at 0.2, so the policy's NLL is an MSE times 25: without a small weight it owns
    # the shared trunk and the values cannot rank actions (seen: README, "what did not work")
    loss=LossConfig(
        reward=2.0,
        value=4.0,
        policy=0.05,
        consistency=1.0,
        path_consistency=1.0,
        entropy=0.0,
        entropy_mode="off",
    ),
    optim=OptimConfig(batch=128, lr=5e-4, ema=0.01, ema_every=1, clip=10.0),
    replay=ReplayConfig(capacity=400_000, priority_exponent=0.5, recent_share=0.25),
    collect=CollectConfig(
        action_map="stance",
        terminate=True,
        fall_height=0.6,  # a kneeling robot earns next to nothing and fills the buffer
        episode_steps=500,
        long_episodes_after=0.5,
        random_steps=2500,
        random_scale=0.7,
        noise=0.15,
        noise_end=0.1,
        noise_spread=3.0,
        delay_substeps=(0, 2),
    ),
)

_DEBUG = dataclasses.replace(
    _H1_SMALL,
    preset="debug",
    updates=40,
    update_ratio=0.5,
    out="runs/debug",
    segment=20,
    evaluate_every=40,
    evaluate_episodes=1,
    log_every=10,
    model=dataclasses.replace(_SMALL_MODEL, latent=32, width=32, projector=32),
    search=SearchConfig(simulations=8),
    proposals=ProposalConfig(mean=1, narrow=2, wide=0, gradient=1),
    optim=OptimConfig(batch=16, lr=3e-4, ema=0.05, ema_every=1),
    collect=dataclasses.replace(
        _H1_SMALL.collect, envs_per_task=4, random_steps=120, episode_steps=40
    ),
)

PRESETS: dict[str, TrainConfig] = {
    "debug": _DEBUG,
    "h1_small": _H1_SMALL,
    "hb_medium": TrainConfig(preset="hb_medium", tasks=_MEDIUM, out="runs/hb_medium"),
}


def rebuild(kind: Any, values: dict[str, Any]) -> Any:
    """Rebuild the dataclass `kind` from plain containers (lists become tuples)."""
    kinds = get_type_hints(kind)
    unknown = set(values) - set(kinds)
    if unknown:
        raise ConfigError(f"unknown keys {sorted(unknown)}; there are {sorted(kinds)}")
    parts = {
        name: rebuild(kinds[name], item)
        if isinstance(item, dict)
        else (tuple(item) if isinstance(item, list) else item)
        for name, item in values.items()
    }
    try:
        return kind(**parts)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from None


def to_dict(config: Any) -> dict[str, Any]:
    """Return the configuration as JSON-ready containers."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(values: dict[str, Any]) -> TrainConfig:
    """Rebuild a configuration saved by `to_dict`; unknown keys are refused."""
    return rebuild(TrainConfig, values)


_YAML_BOOLEAN = re.compile(r"=(on|off|yes|no)$", re.IGNORECASE)  # words, until a field is a bool


def load_config(arguments: list[str]) -> TrainConfig:
    """Build the configuration from `key=value` words, e.g. `preset=debug optim.lr=1e-3`."""
    return choose(arguments, PRESETS, "h1_small")


def choose(arguments: list[str], presets: dict[str, Config], default: str) -> Config:
    """Return the preset that `preset=` names (or `default`) with `key=value` words merged in.

    Raises:
        ConfigError: a word without `=`, an unknown key or preset, or a value of another type.
    """
    for word in arguments:
        if "=" not in word:
            raise ConfigError(f"{word!r} is not key=value")
    cli = OmegaConf.from_dotlist([_YAML_BOOLEAN.sub(r"='\1'", word) for word in arguments])
    preset = cli.get("preset", default)
    if preset not in presets:
        raise ConfigError(f"unknown preset {preset!r}; there are {sorted(presets)}")
    base = OmegaConf.structured(presets[preset])
    _make_writable(base)
    kind = type(presets[preset])
    try:
        merged = OmegaConf.merge(base, cli)
    except OmegaConfBaseException as error:
        words = ", ".join(get_type_hints(kind))
        raise ConfigError(f"{str(error).splitlines()[0]} (keys: {words})") from None
    return rebuild(kind, OmegaConf.to_container(merged, resolve=True, enum_to_str=True))  # type: ignore[arg-type]


def _make_writable(node: Any) -> None:
    """Let what came from frozen dataclasses be overridden, at any depth."""
    OmegaConf.set_readonly(node, False)
    for name in node:
        if OmegaConf.is_dict(node[name]):
            _make_writable(node[name])


def describe(config: Any, prefix: str = "") -> list[str]:
    """Return one `key=value` line per leaf, for --help."""
    lines: list[str] = []
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            lines += describe(value, f"{prefix}{item.name}.")
        else:
            lines.append(f"  {prefix}{item.name}={value}  ({item.type})")
    return lines
