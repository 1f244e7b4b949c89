"""The bench runs, compares like with like, and ends in a line a program can read."""

import dataclasses
import json
import time
from functools import partial

import pytest
import torch

from training import bench
from training.presets import PRESETS


@pytest.fixture
def run(call_door):
    return partial(call_door, bench.main)


def test_env_bench_ends_in_json_with_the_rates_of_all_parts(run):
    status, output, _ = run("what=env", "envs=4", "steps=5", "rounds=1", "threads=3")
    assert status == 0
    rates = json.loads(output.splitlines()[-1])["steps_per_s"]
    threads = {"batched", "batched, 2 threads", "batched, 3 threads"}
    assert set(rates) - {"real humanoid_bench"} == threads | {"one environment", "bare mj_step"}
    assert min(rates.values()) > 0


@pytest.mark.parametrize(
    ("word", "named"),
    [
        ("evns=4", "envs"),
        ("what=nothing", "env"),
        ("task_set=all", "h1_small"),
        ("config=none", "hb_hard"),
        ("peer=python3", "all or search"),
        ("filled=5000", "all"),
        ("compile_search=true", "search"),
        ("precision=bfloat16", "update"),
    ],
)
def test_a_wrong_word_is_refused_with_what_exists(run, word, named):
    status, _, error = run(word)
    assert status == 2
    assert word.split("=")[1 if "evns" not in word else 0].lower() in error.lower()
    assert named in error


def test_a_precision_that_does_not_exist_is_refused_with_those_that_do(run):
    status, _, error = run("what=update", "config=debug", "precision=float16")
    assert status == 2
    assert "precision='float16'; there are float32, bfloat16" in error


def test_precision_and_compiling_reach_what_is_measured_and_else_stay_the_config_s():
    own = PRESETS["debug"]
    plain = bench.training_config(bench.load(["what=update", "config=debug"]))
    assert (plain.precision, plain.optim) == (own.precision, own.optim)
    words = ["precision=bfloat16", "compile=true", "compile_search=true", "threads=2"]
    told = bench.training_config(bench.load(["what=update", "config=debug", *words]))
    assert told.precision == "bfloat16"
    assert told.optim.compile and told.optim.compile_search
    assert told.collect.threads == 2


def test_what_a_compiled_config_has_can_be_switched_off(monkeypatch):
    own = PRESETS["debug"]
    compiled = dataclasses.replace(own, optim=dataclasses.replace(own.optim, compile=True))
    monkeypatch.setitem(bench.PRESETS, "debug", compiled)
    words = ["what=update", "config=debug"]
    assert bench.training_config(bench.load(words)).optim.compile
    assert not bench.training_config(bench.load([*words, "compile=false"])).optim.compile


def test_the_clock_stops_when_the_device_is_done_not_when_it_was_asked():
    asked = []  # work that a device was given and has not done

    def wait():
        time.sleep(0.02 * len(asked))
        asked.clear()

    def part():
        asked.append(1)
        return 1

    rates = bench.measure({"a": part, "b": part}, 3, wait)
    for wall, cpu in rates.values():
        assert wall <= 1 / 0.02
        assert cpu > wall


def test_a_gpu_is_waited_for_and_a_cpu_is_not(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    bench._wait(torch.device("cpu"))()
    assert waited == []
    bench._wait(torch.device("cuda:1"))()
    assert waited == [torch.device("cuda:1")]
