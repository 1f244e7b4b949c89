"""Ready configurations by name, and `preset=name key=value …` made into one.

`debug` ends in seconds; `h1_small` is for two cores; `hb_medium` and `hb_hard` are EZ-M's, with the
constants of its released code (docs/ezm_release.md has where we differ from it, and the switches).
"""

import dataclasses

from training.cli import choose
from training.config import (
    CollectConfig,
    ImitationConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    ProposalConfig,
    ReplayConfig,
    TargetConfig,
    TrainConfig,
)
from training.mcts import SearchConfig

_MEDIUM = ("stand", "walk", "run", "stair", "crawl", "pole", "slide", "hurdle", "maze")

_HB_MEDIUM = TrainConfig(
    preset="hb_medium",
    tasks=_MEDIUM,
    updates=220_000,  # the first 2e5 with new data: 1e6 steps of each task
    offline_updates=20_000,
    out="runs/hb_medium",
    collect=CollectConfig(saturation=0.1),
)

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

# From nothing as well, but every transition trains every task and is its mirror image too: stands
# after 15,000 updates what h1_small did after 36,000 (docs/training_log.md).
_H1_SHARED = dataclasses.replace(
    _H1_SMALL,
    preset="h1_shared",
    tasks=("stand", "walk", "run"),
    out="runs/h1_shared",
    updates=60_000,
    evaluate_every=5000,
    replay=dataclasses.replace(_H1_SMALL.replay, shared=True, mirrored=True),
    collect=dataclasses.replace(_H1_SMALL.collect, observation="body"),
)

# The same, but half of the values are what the model foresees of today's policy (old data judge
# whoever made them), and the policy goes up its own Q: begins to walk (docs/training_log.md).
_H1_ASCENT = dataclasses.replace(
    _H1_SHARED,
    preset="h1_ascent",
    out="runs/h1_ascent",
    targets=dataclasses.replace(_H1_SHARED.targets, lookahead=2, imagined_share=0.5),
    loss=dataclasses.replace(_H1_SHARED.loss, ascent=1.0, policy=0.005),
)

# From demonstrations (`demos=`) to a planner of stand, walk and run, on one core in about an hour.
_H1_DEMOS = dataclasses.replace(
    _H1_SMALL,
    preset="h1_demos",
    tasks=("stand", "walk", "run"),
    updates=18_000,
    out="runs/h1_demos",
    segment=2000,
    evaluate_every=2000,
    # the mean and two steps up the model's gradient: on good demonstrations samples around the
    # mean, however near (sigma 0.06), lose to it as often as they gain
    proposals=ProposalConfig(mean=1, narrow=0, wide=0, gradient=2, gradient_step=0.07),
    optim=dataclasses.replace(_H1_SMALL.optim, drop_at=0.75),
    replay=dataclasses.replace(_H1_SMALL.replay, mirrored=True),
    collect=dataclasses.replace(
        _H1_SMALL.collect,
        observation="body",
        noise=0.1,
        noise_end=0.05,
        delay_substeps=(0, 5),
    ),
    imitation=ImitationConfig(pretrain=8000, share=0.5, share_end=0.4, weight_end=0.5),
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

# Robots with hands: 61 actuators, observations of up to 177 numbers. Ours has none, so the rows are
# those of the humanoid_bench package (docs/real_humanoidbench.md). Six of BRC's 20 tasks are not
# among EZ-M's 14: do not compare means over the two sets.
_HARD = tuple(
    f"h1hand-{name}"
    for name in (
        "stand", "walk", "run", "stair", "crawl", "pole", "slide", "hurdle", "maze",
        "sit_simple", "sit_hard", "balance_simple", "balance_hard", "reach",
    )
)  # fmt: skip

PRESETS: dict[str, TrainConfig] = {
    "debug": _DEBUG,
    "h1_small": _H1_SMALL,
    "h1_shared": _H1_SHARED,
    "h1_ascent": _H1_ASCENT,
    "h1_demos": _H1_DEMOS,
    "hb_medium": _HB_MEDIUM,
    "hb_hard": TrainConfig(
        preset="hb_hard",
        suite="real",
        tasks=_HARD,
        updates=620_000,
        update_ratio=0.3,  # 6e5 updates with new data, for 2e6 steps of each task
        offline_updates=20_000,
        out="runs/hb_hard",
        collect=CollectConfig(saturation=0.1),
    ),
}


def load_config(arguments: list[str]) -> TrainConfig:
    """Build the configuration from `key=value` words, e.g. `preset=debug optim.lr=1e-3`."""
    return choose(arguments, PRESETS, "h1_small")
