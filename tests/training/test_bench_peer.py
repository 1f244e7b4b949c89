"""mctx is asked for the same search; what it answers is read, compared and refused if odd.

The real one needs jax. Its place is taken by a program that takes what tools/mctx_peer.py takes and
prints what it prints.
"""

import ast
import json
import sys
from functools import partial

import pytest

from training import bench, bench_peer
from training.cli import ConfigError
from training.presets import PRESETS

ANSWER = {"per_s": 50.0, "per_cpu_s": 40.0, "mctx": "0.0.71", "jax": "0.10.2"}
LAST = json.dumps(ANSWER)


@pytest.fixture
def stand_in(tmp_path):
    """Return `make(last_line)`: the path of a program that keeps what it was asked."""

    asked = tmp_path / "asked"

    def make(last=LAST):
        path = tmp_path / "python"
        path.write_text(
            f"#!{sys.executable}\nimport json, pathlib, sys\n"
            f"pathlib.Path({str(asked)!r}).write_text(json.dumps(sys.argv[1:]))\n"
            f"print('jax says something first')\nprint({last!r})\n"
        )
        path.chmod(0o755)
        return str(path)

    make.asked = asked
    return make


@pytest.fixture
def run(call_door):
    return partial(call_door, bench.main, "config=debug", "rounds=1")


def test_the_peer_s_rates_and_versions_are_read_from_its_last_line(stand_in):
    peer = bench_peer.peer_rate(stand_in(), PRESETS["debug"], 5, 2)
    assert peer.rate == (50.0, 40.0)
    assert peer.versions == {"mctx": "0.0.71", "jax": "0.10.2"}


def test_the_peer_is_asked_for_the_same_search_in_the_words_it_reads(stand_in):
    bench_peer.peer_rate(stand_in(), PRESETS["debug"], 5, 2)
    script, question = json.loads(stand_in.asked.read_text())
    assert script == str(bench_peer.PEER)
    question = json.loads(question)
    assert question["roots"] == 5 and question["rounds"] == 2 and question["action"] == 19
    assert question["config"]["search"]["simulations"] == PRESETS["debug"].search.simulations
    tree = ast.parse(bench_peer.PEER.read_text())
    reads = {
        node.slice.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
        and isinstance(node.value, ast.Name) and node.value.id == "question"
    }  # fmt: skip
    assert reads <= set(question)


def test_the_stand_in_prints_what_the_real_peer_prints():
    source = bench_peer.PEER.read_text()
    for name in ANSWER:
        assert f'"{name}": ' in source


@pytest.mark.parametrize("what", ["search", "all"])
def test_the_comparison_is_a_row_a_ratio_and_json(run, stand_in, what):
    status, output, error = run(f"what={what}", f"peer={stand_in()}", "roots=4")
    assert status == 0, error
    table = json.loads(output.splitlines()[-1])
    assert table["parts"]["mctx"]["per_s"] == 50.0
    assert table["parts"]["mctx"]["per_cpu_s"] == 40.0
    assert table["mctx_versions"] == {"mctx": "0.0.71", "jax": "0.10.2"}
    ours = table["parts"]["search"]["per_cpu_s"]
    assert table["times_mctx"] == pytest.approx(ours / 40.0)
    said = f"search: {ours / 40.0:.2f} times as fast as mctx 0.0.71 (jax 0.10.2, float32"
    assert said in output
    assert json.loads(json.loads(stand_in.asked.read_text())[1])["roots"] == 4
    assert "NOT" not in error


def test_the_ratio_is_by_the_clock_that_counts():
    peer = bench_peer.Peer((50.0, 40.0), {})
    assert bench_peer.compared((100.0, 120.0), peer, "per_s")["times_mctx"] == 2.0
    assert bench_peer.compared((100.0, 120.0), peer, "per_cpu_s")["times_mctx"] == 3.0


def test_a_comparison_with_bfloat16_says_that_the_two_are_not_alike(run, stand_in):
    status, _, error = run("what=search", "precision=bfloat16", f"peer={stand_in()}", "roots=2")
    assert status == 0
    assert "NOT ALIKE: ours ran in bfloat16 on cpu" in error


def test_without_a_peer_the_search_says_loudly_what_was_not_measured(run):
    status, _, error = run("what=search", "roots=2")
    assert status == 0
    assert "NOT MEASURED: mctx" in error


@pytest.mark.parametrize("what", ["search", "all"])
def test_a_peer_that_does_not_exist_is_refused_before_anything_is_measured(run, what, monkeypatch):
    monkeypatch.setattr(bench, "measure", None)
    status, output, error = run(f"what={what}", "peer=/nowhere/python")
    assert (status, output) == (2, "")
    assert error == (
        "error: peer='/nowhere/python' is no program; expected the python of an environment with "
        "mctx\n"
    )


@pytest.mark.parametrize("last", ["", "done", "[1, 2]", '{"per_s": 3}', '{"per_s": null}'])
def test_a_peer_that_ends_in_something_else_is_named_with_its_words(stand_in, last):
    with pytest.raises(ConfigError, match="not in rates as JSON") as caught:
        bench_peer.peer_rate(stand_in(last), PRESETS["debug"], 2, 1)
    assert stand_in() in str(caught.value)


def test_a_peer_that_is_no_python_with_mctx_is_named():
    with pytest.raises(ConfigError, match="peer='/nowhere/python'"):
        bench_peer.peer_rate("/nowhere/python", PRESETS["debug"], 2, 1)
    with pytest.raises(ConfigError, match="could not run mctx"):
        bench_peer.peer_rate("false", PRESETS["debug"], 2, 1)
