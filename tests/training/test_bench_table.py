"""The table's figures follow from the rates, by the clock that counts."""

import pytest

from training import bench_table
from training.bench_table import Matrix

NEEDS = {"environment": 8.0, "acting": 8.0, "sample": 1.0, "re-analysis": 4.0, "update": 1.0}
RATES = {  # of the clock, of CPU time: a GPU is fast while its CPU is idle, or spins
    "environment": (80.0, 160.0), "acting": (80.0, 40.0), "sample": (10.0, 10.0),
    "re-analysis": (40.0, 20.0), "update": (10.0, 2.5),
}  # fmt: skip
FLOP = {"acting": 1e6, "re-analysis": 2e6, "update": 84e6}  # 8 + 8 + 84 MFLOP per update
MATRIX = Matrix(64, "bfloat16", (8e9, 1e9))


def table(clock, rates=RATES, needs=NEEDS):
    return bench_table.tabulate(rates, FLOP, needs, MATRIX, clock)


def test_by_the_wall_clock_shares_and_matrix_rate_are_the_wall_s():
    told = table("per_s")
    assert told["parts"]["update"]["of_matrix_rate"] == pytest.approx(84e6 * 10.0 / 8e9)
    assert told["parts"]["update"]["ms_per_update"] == pytest.approx(100.0)
    assert [row["share"] for row in told["parts"].values()] == pytest.approx([0.2] * 5)
    assert told["updates_per_s"] == pytest.approx(2.0)  # 5 parts of 0.1 s


def test_by_cpu_time_they_are_those_of_cpu_time_and_the_wall_s_totals_are_there_too():
    told = table("per_cpu_s")
    assert told["parts"]["update"]["of_matrix_rate"] == pytest.approx(84e6 * 2.5 / 1e9)
    assert told["parts"]["update"]["share"] == pytest.approx(0.4 / 0.95)
    seconds = 0.05 + 0.2 + 0.1 + 0.2 + 0.4
    assert told["updates_per_cpu_s"] == pytest.approx(1 / seconds)
    assert told["searches_per_cpu_s"] == pytest.approx(12 / seconds)
    assert told["env_steps_per_cpu_s"] == pytest.approx(8 / seconds)
    assert told["updates_per_s"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("clock", "floor", "achieved"), [("per_s", 80.0, 2.0), ("per_cpu_s", 10.0, 1 / 0.95)]
)
def test_the_floor_is_the_matrix_rate_over_the_flop_of_an_update_with_its_searches(
    clock, floor, achieved, capsys
):
    told = table(clock)
    assert told["flop_per_update"] == pytest.approx(100e6)
    assert told["floor_updates_per_s"] == pytest.approx(floor)
    assert told["achieved_updates_per_s"] == pytest.approx(achieved)
    bench_table.show(told)
    said = f"arithmetic floor: {floor:.1f} updates/s, achieved: {achieved:.1f}"
    assert said in capsys.readouterr().out


def test_on_a_cpu_the_reader_gets_the_totals_of_both_clocks_on_a_gpu_those_of_its_own(capsys):
    bench_table.show(table("per_cpu_s"))
    said = capsys.readouterr().out
    assert "second of CPU time, all together: 1.05 updates" in said
    assert "second of the clock, all together: 2.00 updates" in said
    bench_table.show(table("per_s"))
    said = capsys.readouterr().out
    assert "second of the clock, all together: 2.00 updates" in said
    assert "CPU time" not in said
    assert "matrix product, 64 x 64, bfloat16: 8.0 GFLOP per second of the clock" in said


def test_a_part_that_no_update_needs_has_no_share_and_leaves_the_totals_alone(capsys):
    told = table("per_s", RATES | {"mctx": (1.0, 1.0)})
    assert "share" not in told["parts"]["mctx"]
    assert told["updates_per_s"] == pytest.approx(2.0)
    alone = table("per_s", {"update": (10.0, 2.5)}, needs={})
    assert "updates_per_s" not in alone
    bench_table.show(alone)
    assert "floor" not in capsys.readouterr().out
