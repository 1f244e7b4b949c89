"""The bench runs, compares like with like, and ends in a line a program can read."""

import json
from functools import partial

import pytest

from training import bench


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
    ],
)
def test_a_wrong_word_is_refused_with_what_exists(run, word, named):
    status, _, error = run(word)
    assert status == 2
    assert word.split("=")[1 if "evns" not in word else 0] in error
    assert named in error
