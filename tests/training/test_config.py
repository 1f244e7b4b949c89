"""What a run can be told, and how it refuses the rest."""

import dataclasses

import pytest

from training.cli import ConfigError, describe, to_dict
from training.config import ProposalConfig, TrainConfig, from_dict
from training.presets import PRESETS, load_config


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_survives_a_trip_through_json(preset):
    config = PRESETS[preset]
    assert from_dict(to_dict(config)) == config
    assert load_config([f"preset={preset}"]) == config
    assert config.preset == preset


def test_words_override_the_preset_and_nothing_else():
    config = load_config(["preset=debug", "optim.lr=1e-3", "tasks=[walk]", "seed=7"])
    assert config.optim.lr == 1e-3
    assert config.tasks == ("walk",)
    assert config.seed == 7
    back = dataclasses.replace(
        config, optim=PRESETS["debug"].optim, tasks=PRESETS["debug"].tasks, seed=0
    )
    assert back == PRESETS["debug"]


def test_tuples_stay_tuples():
    config = load_config(["model.head_hidden=[64,32]", "collect.delay_substeps=[0,3]"])
    assert config.model.head_hidden == (64, 32)
    assert config.collect.delay_substeps == (0, 3)


def test_off_is_a_word_where_a_word_is_wanted_and_false_where_a_truth_is():
    config = load_config(["preset=hb_medium", "loss.entropy_mode=off", "collect.terminate=yes"])
    assert config.loss.entropy_mode == "off"
    assert config.collect.terminate is True
    assert load_config(["collect.terminate=off"]).collect.terminate is False


@pytest.mark.parametrize(
    ("word", "match"),
    [
        ("optim.lrr=1", "'lrr' not in 'OptimConfig'"),
        ("updtes=3", "updtes.*keys:.*updates"),
        ("updates=many", "'many'.*Integer"),
        ("updates=1.5", "'1.5'.*Integer"),
        ("collect.terminate=perhaps", "not a valid bool"),
        ("seed", "'seed' is not key=value"),
        ("demos=,a.safetensors", "'demos=,a.safetensors' cannot be read: .*quote it"),
        ("tasks=[walk", r"'tasks=\[walk' cannot be read"),
        ("preset=h1_smal", r"unknown preset 'h1_smal'; there are \['debug',.*'h1_small'"),
        ("targets.policy_target=mode", "'mode'; there are best, weighted"),
        ("targets.value_reduce=max", "'max'; there are min2, min2_each, min, mean"),
        ("loss.entropy_mode=on", "'on'; there are as-released, off, bonus"),
        ("model.head_norm=group", "'group'; there are batch, layer"),
        ("model.support=log", "'log'; there are h, linear"),
        ("targets.reanalyse_positions=9", "reanalyse_positions=9 is not in 1..3"),
        ("targets.reanalyse_every=0", "reanalyse_every=0 is less than 1"),
        ("targets.imagined_share=0.5", "imagined_share=0.5 needs targets.lookahead=1 or more"),
        ("optim.batch=1", "batch=1 gives no sample to each"),
        ("tasks=[]", "no sample to each of tasks=\\(\\)"),
        ("search.simulations=2", "simulations=2 is less than the .* root candidates"),
        ("segment=3000", "evaluate_every=.* is no multiple of segment=3000"),
    ],
)
def test_a_word_that_does_not_fit_is_refused_with_what_would(word, match):
    with pytest.raises(ConfigError, match=match):
        load_config([word])


def test_unknown_keys_in_a_saved_configuration_are_refused():
    values = to_dict(PRESETS["debug"])
    values["optim"]["momentum"] = 0.9
    with pytest.raises(ConfigError, match=r"unknown keys \['momentum'\]; there are .*'lr'"):
        from_dict(values)


def test_configurations_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["debug"].seed = 3  # type: ignore[misc]


def test_help_has_a_line_for_every_leaf():
    def leaves(config):
        return sum(
            leaves(getattr(config, f.name)) if dataclasses.is_dataclass(getattr(config, f.name))
            else 1
            for f in dataclasses.fields(config)
        )  # fmt: skip

    lines = describe(PRESETS["h1_small"])
    assert len(lines) == leaves(PRESETS["h1_small"])
    assert any(line.strip().startswith("optim.batch=") for line in lines)


def test_the_published_constants_are_the_defaults():
    config = TrainConfig()
    assert (config.search.simulations, config.proposals.count) == (32, 16)
    assert (config.proposals.narrow, config.proposals.wide, config.proposals.mean) == (4, 12, 0)
    assert config.proposals.wide_scale == 3.0
    assert (config.search.c_visit, config.search.c_scale) == (50.0, 0.1)
    assert (config.search.discount, config.search.leaf_actions) == (0.99, 2)
    assert (config.targets.unroll, config.targets.td_steps) == (5, 5)
    assert (config.targets.search_value_after, config.targets.search_value_newest) == (
        50_000,
        200_000,
    )
    assert (config.optim.lr, config.optim.l2, config.optim.clip) == (1e-4, 2e-5, 5.0)
    assert (config.optim.ema, config.optim.ema_every, config.optim.batch) == (0.01, 5, 504)
    assert (config.loss.reward, config.loss.value, config.loss.policy) == (1.0, 0.5, 1.0)
    assert (config.loss.consistency, config.loss.path_consistency) == (5.0, 0.5)
    assert (config.replay.priority_exponent, config.replay.correction_exponent) == (1.0, 1.0)


def test_candidates_are_counted_over_all_kinds():
    assert ProposalConfig(mean=1, narrow=4, wide=1, gradient=2).count == 8
