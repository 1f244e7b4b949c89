"""The bench of a training step counts what it says it counts."""

import dataclasses
import json

import pytest
import torch

from training import bench, bench_train
from training.cli import ConfigError
from training.presets import PRESETS


@pytest.fixture(scope="module")
def step():
    built = bench_train.Step(PRESETS["debug"])
    yield built
    built.env.close()


def test_what_all_ends_in_json_whose_shares_sum_to_one(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench.py", "what=all", "config=debug", "rounds=1"])
    assert bench.main() == 0
    table = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert sum(part["share"] for part in table["parts"].values()) == pytest.approx(1.0)
    ratio = table["env_steps_per_cpu_s"] / table["updates_per_cpu_s"]
    assert ratio == pytest.approx(2 / PRESETS["debug"].update_ratio)  # two tasks


def test_searches_of_an_update_are_rows_times_positions(step):
    # debug: batch 16, half of it searched, one position
    assert step.roots == 8
    full = bench_train.levers(PRESETS["debug"])["all 3 positions, whole batch"]
    assert full.targets.reanalyse_positions == 3 and full.targets.reanalyse_share == 1.0


def test_of_every_fourth_batch_that_is_searched_the_rest_cost_no_search():
    levers = bench_train.levers(PRESETS["debug"])
    half, fourth = (
        bench_train.Step(levers[f"the root position, half of {name}"])
        for name in ("it", "every 4th")
    )
    assert (half.batches(), fourth.batches()) == (1, 4)
    assert fourth.per_update()["re-analysis"] == half.per_update()["re-analysis"] / 4
    encoding = bench_train.flop(lambda: half._reanalyse(1) and 1)  # searched as well
    searched, mixed = bench_train.flop(half.batches), bench_train.flop(fourth.batches)
    unsearched = bench_train.flop(lambda: fourth._reanalyse(1) and 1)
    assert encoding == searched > unsearched > 0
    assert mixed == (searched + 3 * unsearched) / 4
    half.env.close()
    fourth.env.close()


def test_flop_of_a_matrix_product_are_twice_its_three_sizes():
    a, b = torch.randn(3, 5), torch.randn(5, 7)
    assert bench_train.flop(lambda: len(a @ b)) == 2 * 3 * 5 * 7 / 3


def test_a_search_costs_as_many_flop_one_by_one_as_in_rounds(step):
    one = dataclasses.replace(PRESETS["debug"].search, parallel=False)
    planner = dataclasses.replace(step.planner, search=one)
    together, alone = (bench_train.flop(step.searched(p, roots=4)) for p in (None, planner))
    assert alone == together


def test_a_peer_that_is_no_python_with_mctx_is_named():
    with pytest.raises(ConfigError, match="peer='/nowhere/python'"):
        bench_train.peer_rate("/nowhere/python", PRESETS["debug"], 2, 1)
    with pytest.raises(ConfigError, match="could not run mctx"):
        bench_train.peer_rate("false", PRESETS["debug"], 2, 1)
