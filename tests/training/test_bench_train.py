"""The bench of a training step counts what it says it counts."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from training import bench, bench_train, planner
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
    assert table["filled"] >= 2 * 4 * 7 and table["clock"] == "per_cpu_s"
    assert table["floor_updates_per_s"] > table["achieved_updates_per_s"] > 0
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


def test_what_a_part_makes_once_and_keeps_is_not_among_its_flop():
    a, kept = torch.randn(4, 4), []

    def part():
        if not kept:
            kept.append(a @ a @ a)
        return len(kept[0] @ a) and 1

    assert bench_train.flop(part) == 2 * 4**3


def test_an_update_s_flop_hold_no_search(step):
    alone = bench_train.flop(step.update)
    del step.__dict__["_training_batch"]
    assert bench_train.flop(step.update) == alone


def test_the_matrix_product_is_of_the_run_s_precision_and_fills_a_gpu():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert bench_train.matrix_kind(cpu, "float32") == (1024, torch.float32)
    assert bench_train.matrix_kind(gpu, "float32") == (8192, torch.float32)
    assert bench_train.matrix_kind(gpu, "bfloat16") == (8192, torch.bfloat16)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_matrix_product_computes_in_the_type_it_is_told_and_counts_mflop(kind):
    seen = []

    class Types(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten.mm.default:
                seen.append(args[0].dtype)
            return func(*args, **(kwargs or {}))

    with Types():
        units = bench_train.matrix_rate(100, kind, torch.device("cpu"))()
    assert seen == [kind] * 4
    assert units == 4 * 2


def test_a_filled_replay_holds_as_many_frames_of_each_task_and_draws_from_all_of_them():
    step = bench_train.Step(PRESETS["debug"])
    step.fill(4000)
    assert [len(buffer) for buffer in step.replay.buffers] == [4000, 4000]
    assert step.replay.buffers[0].columns == PRESETS["debug"].replay.capacity // 4
    columns = np.concatenate([
        step.replay.sample(256, np.random.default_rng(seed)).place[2] for seed in range(4)
    ])  # fmt: skip
    assert columns.max() < 1000 - step.replay.window  # complete windows only
    assert columns.min() < 100 and columns.max() > 900
    batch = step.replay.sample(16, np.random.default_rng(0))
    assert np.abs(batch.observation).sum(-1).min() > 0  # frames, not empty memory
    step.collect()
    assert len(step.replay.buffers[0]) == 4004
    step.env.close()


@pytest.mark.parametrize("frames", [5, 10**7])
def test_a_replay_that_cannot_hold_what_it_is_told_says_what_it_can(step, frames):
    with pytest.raises(ConfigError, match=rf"filled={frames} frames of each task is not in \d+..4"):
        step.fill(frames)


def test_half_done_is_half_of_a_run_s_steps_as_far_as_they_fit(step, monkeypatch):
    config = dataclasses.replace(PRESETS["debug"], updates=10_000, update_ratio=0.5)
    monkeypatch.setattr(step, "config", config)
    assert bench_train.half_done(step) == 10_000
    long = dataclasses.replace(config, updates=10**8)
    monkeypatch.setattr(step, "config", long)
    assert bench_train.half_done(step) == long.replay.capacity
    monkeypatch.setattr(bench_train, "FILL_BYTES", 10**6)
    assert 500 < bench_train.half_done(step) < 5000  # about 400 bytes a frame, two tasks
    monkeypatch.setattr(bench_train, "FILL_BYTES", 0)
    assert bench_train.half_done(step) == len(step.replay.buffers[0])


def test_where_tasks_share_every_buffer_is_filled_from_every_row():
    debug = PRESETS["debug"]
    store = dataclasses.replace(debug.replay, shared=True)
    step = bench_train.Step(dataclasses.replace(debug, replay=store, updates=1000))
    assert all(buffer.written.min() > 0 for buffer in step.replay.buffers)
    assert bench_train.half_done(step) == 2 * 1000  # the steps of both tasks
    step.fill(2000)
    assert [len(buffer) for buffer in step.replay.buffers] == [2000, 2000]
    step.env.close()


@pytest.fixture
def compiled_names(monkeypatch):
    """Return the names of what was handed to torch.compile, which hides it from counters."""
    names = []

    def fake(function, **options):
        names.append(function.__name__)

        def hidden(*arguments):
            with _disable_current_modes():
                return function(*arguments)

        return hidden

    monkeypatch.setattr(torch, "compile", fake)
    planner._compiled.cache_clear()
    yield names
    planner._compiled.cache_clear()


def test_the_compiled_search_is_the_one_that_is_timed_beside_mctx(compiled_names):
    debug = PRESETS["debug"]
    optim = dataclasses.replace(debug.optim, compile_search=True)
    step = bench_train.Step(dataclasses.replace(debug, optim=optim))
    assert step.bare_search(debug.search, roots=2)() == 2
    assert compiled_names == ["choose"]
    step.act()
    assert compiled_names == ["choose", "_plan"]
    step.env.close()


def test_flop_of_a_compiled_step_are_those_of_its_source(compiled_names, monkeypatch, capsys):
    tables = []
    for words in ([], ["compile=true", "compile_search=true"]):
        monkeypatch.setattr(
            "sys.argv", ["bench.py", "what=all", "config=debug", "rounds=1", *words]
        )
        assert bench.main() == 0
        tables.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert tables[0]["flop_per_update"] == tables[1]["flop_per_update"] > 0
    assert [table["compile"] for table in tables] == [False, True]
    assert set(compiled_names) == {"unrolled_losses", "_plan"}
