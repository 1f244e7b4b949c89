"""What a distillation can be told: frozen dataclasses, presets, and `key=value` overrides."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from distill.targets import TARGETS
from training.cli import ConfigError, choose


@dataclass(frozen=True)
class LabelConfig:
    """How visited states are labelled; -1: as the teacher itself was trained to search."""

    target: str = "best"  # or another of distill/targets.py, which says what they are
    simulations: int = -1  # model steps per search
    mean: int = -1  # candidates by kind, see training.config.ProposalConfig
    narrow: int = -1  # samples of the teacher's policy
    wide: int = -1  # samples with a wider sigma
    gradient: int = -1  # steps up the model's Q
    value_reduce: str = "mean"  # all value heads; or "min2"
    repeats: int = 1  # searches averaged per state


@dataclass(frozen=True)
class NoiseConfig:
    """What the student's sensors get wrong in roll-outs: standard deviations."""

    tilt: float = 0.01  # rad, of the orientation, every tick
    tilt_bias: float = 0.02  # rad, constant over an episode
    angular_velocity: float = 0.1  # rad/s
    joint_position: float = 0.01  # rad
    joint_velocity: float = 0.5  # rad/s


NO_NOISE = NoiseConfig(0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class RolloutConfig:
    """Who drives the robots, where, and for how long."""

    rounds: int = 10  # of DAgger
    envs_per_task: int = 16  # simulated robots
    steps: int = 300  # control steps per environment and round
    episode_steps: tuple[int, ...] = (100, 300, 1000)  # of 20 ms; robots take them in turn: starts
    beta_rounds: int = 1  # the teacher's share falls from 1 (round 0) to 0 (this round), linearly
    mix: str = "episode"  # who drives is drawn per episode, or per "step"
    action_noise: float = 0.1  # upper end; each episode draws its own standard deviation
    quiet: float = 0.25  # share of the episodes without: what a shake would free may lean and fall
    delay_substeps: tuple[int, int] = (0, 10)  # a new control acts so many 2 ms ticks late
    randomize: bool = True  # another robot in every episode, and pushes
    push_speed: float = 0.3  # m/s, the most that one changes along x and along y
    push_interval: float = 4.0  # s between pushes, on average
    nominal: float = 0.25  # share of the robots that are the benchmark's own: never late, no errors
    guarded: float = 0.0  # share of the robots, of the others, under a real one's limits
    start_noise: float = 0.01  # m, rad: half width of the noise on the start pose
    handover: float = 0.0  # share of the episodes that begin where another task was going on
    held: float = 0.1  # share of the environments whose episodes are for validation only
    capacity: int = 200_000  # states kept for fitting, the newest
    noise: NoiseConfig = field(default_factory=NoiseConfig)


@dataclass(frozen=True)
class StudentConfig:
    """The student's network and how far back it looks."""

    history: int = 8  # frames of what it senses; base velocity has to be inferred
    hidden: tuple[int, ...] = (256, 256)  # layer sizes
    activation: str = "elu"  # or "relu"
    layer_norm: bool = True  # after every hidden layer
    clip: float = 5.0  # of normalised inputs


@dataclass(frozen=True)
class FitConfig:
    """Supervised learning in action space, after every round."""

    updates: int = 300  # after each round
    final_updates: int = 3000  # after the last round
    average: int = 0  # last rounds whose students' mean is kept, instead of the best round's
    batch: int = 512  # samples
    lr: float = 1e-3  # falls to a hundredth over the updates of a fit, by a cosine
    weight_decay: float = 1e-5  # of AdamW
    loss: str = "mse"  # or "huber"
    huber: float = 0.1  # where the Huber loss turns linear
    mirror: bool = True  # on level floor every state is also its left-right mirror image
    smooth: float = 0.0  # weight of the squared change of action from one step to the next
    value: float = 0.0  # weight of the search's value (T6), a second output while fitting


@dataclass(frozen=True)
class ReportConfig:
    """How teacher and student are measured."""

    episodes: int = 20  # per task; of the student, the teacher's own search and a demonstrator
    side_episodes: int = 5  # of what else is compared: random, home, the policy without search, …
    steps: int = 1000  # control steps of an episode
    round_episodes: int = 8  # after every round, clean and randomised; the best is kept; 0: none
    runtime_episodes: int = 3  # of the policy in the robot's own loop, guard included
    push_sizes: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)  # m/s; none: no curve
    push_episodes: int = 20  # per size
    turn_episodes: int = 10  # per change from one task to another; 0: not measured
    parity_states: int = 10_000  # on which torch and ONNX must agree
    seed: int = 90_000  # of the first episodes' start; nothing else uses these
    latency_calls: int = 2000  # inferences timed


@dataclass(frozen=True)
class DistillConfig:
    """One distillation."""

    ckpt: str = ""  # run folder, checkpoint folder or agent file; must be given
    demonstrator: str = ""  # its file, to be measured beside the planner
    preset: str = "h1"  # h1, or debug: seconds
    init: str = ""  # student.safetensors of another distillation or of its round, to begin with
    name: str = "h1"  # written into the PolicySpec
    out: str = "runs/distill"  # folder; the same folder continues
    ship: str = ""  # also copy policy, card and teacher here, e.g. models/h1
    tasks: tuple[str, ...] = ()  # all that the teacher knows
    seed: int = 0  # of everything
    torch_threads: int = 1  # threads of one torch operation
    label: LabelConfig = field(default_factory=LabelConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    report: ReportConfig = field(default_factory=ReportConfig)

    def __post_init__(self) -> None:
        """Refuse words that name nothing, and sizes that cannot be."""
        _one_of("label.target", self.label.target, TARGETS)
        if self.fit.value and self.label.target == "mean":
            raise ConfigError("fit.value needs a search, and label.target=mean has none")
        _one_of("label.value_reduce", self.label.value_reduce, ("mean", "min2"))
        _one_of("rollout.mix", self.rollout.mix, ("episode", "step"))
        _one_of("student.activation", self.student.activation, ("elu", "relu"))
        _one_of("fit.loss", self.fit.loss, ("mse", "huber"))
        for name, value in (
            ("rollout.rounds", self.rollout.rounds),
            ("rollout.steps", self.rollout.steps),
            ("rollout.envs_per_task", self.rollout.envs_per_task),
            ("student.history", self.student.history),
            ("label.repeats", self.label.repeats),
            ("report.episodes", self.report.episodes),
        ):
            if value < 1:
                raise ConfigError(f"{name}={value} must be at least 1")
        if self.fit.average < 0:
            raise ConfigError(f"fit.average={self.fit.average} must be at least 0")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name}={value!r}; there are {', '.join(known)}")


_H1 = DistillConfig()

PRESETS: dict[str, DistillConfig] = {
    "h1": _H1,
    "debug": dataclasses.replace(
        _H1,
        preset="debug",
        out="runs/distill_debug",
        rollout=RolloutConfig(
            rounds=2, envs_per_task=3, steps=30, episode_steps=(25,), beta_rounds=1
        ),
        student=StudentConfig(history=3, hidden=(32, 32)),
        fit=FitConfig(updates=20, final_updates=40, batch=64),
        report=ReportConfig(
            episodes=2,
            steps=40,
            round_episodes=1,
            runtime_episodes=1,
            push_sizes=(0.5,),
            push_episodes=1,
            turn_episodes=1,
            latency_calls=50,
        ),
    ),
}


def load_config(arguments: list[str]) -> DistillConfig:
    """Build the configuration from `key=value` words; see `training.cli.choose` for errors."""
    config = choose(arguments, PRESETS, "h1")  # first: a misspelt key is not a missing one
    if not config.ckpt:
        raise ConfigError("ckpt= is missing: a run folder, a checkpoint folder or an agent file")
    return config
