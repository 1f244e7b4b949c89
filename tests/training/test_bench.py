"""The bench runs, compares like with like, and ends in a line a program can read."""

import json
import subprocess
import sys


def bench(*words):
    command = [sys.executable, "-m", "training.bench", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_env_bench_ends_in_json_with_all_three_rates():
    result = bench("what=env", "envs=4", "steps=5", "rounds=1")
    assert result.returncode == 0, result.stderr
    rates = json.loads(result.stdout.splitlines()[-1])["steps_per_s"]
    assert set(rates) == {"batched", "one environment", "bare mj_step"}
    assert min(rates.values()) > 0


def test_a_misspelt_key_is_refused_with_the_keys_that_exist():
    result = bench("evns=4")
    assert result.returncode == 2
    assert "evns" in result.stderr
    assert "envs" in result.stderr


def test_an_unknown_measurement_is_refused_with_those_that_exist():
    result = bench("what=nothing")
    assert result.returncode == 2
    assert "nothing" in result.stderr
    assert "env" in result.stderr
