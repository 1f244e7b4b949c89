"""Plots and pages made of a card."""

import xml.etree.ElementTree as ElementTree

import pytest

from distill.plots import line_plot, ticks
from distill.readable import content, write_reports

CELL = {
    "mean": 700.0, "std": 20.0, "length": 990.0, "falls": 1, "action_rate": 0.2, "torque": 30.0,
    "power": 250.0, "speed": 1.1, "transport": 0.45,
    "returns": [700.0, 680.0], "lengths": [1000, 980],
    "ezm": {"mean": 710.0, "std": 5.0},
}  # fmt: skip
PUSH = {"size": 0.5, "episodes": 4, "pushed": 4, "recovered": 3, "share": 0.75}


def card(**changes) -> dict:
    return {
        "name": "h1",
        "warnings": [],
        "reference": "search",
        "commit": "abc",
        "date": "2026-01-01",
        "seed": 0,
        "command": "python distill/run.py ckpt=<x>",
        "teacher": {"kind": "planner", "updates": "7", "tasks": ["walk"], "sha256": "0" * 64},
        "results": {name: {"walk": dict(CELL)} for name in ("random", "search", "student")},
        "retention": {"walk": {"search": 0.97, "label": None}},
        "pushes": {"student": {"walk": [PUSH, {**PUSH, "size": 1.0, "share": None}]}},
        "turns": {"student": {"walk > stand": {"told": 10, "up": 9}}},
        "rounds": [
            {"round": i, "beta": 1.0 - i, "states": 100, "falls": 2, "returns": {"walk": 5.0 + i},
             "randomised": {"walk": 4.0}, "worth": 0.1} for i in range(2)
        ],
        "best_round": 1,
        "latency": {"student": {"p50_us": 40.0, "p99_us": 60.0}, "planner": {"p50_us": 8000.0}},
        "parity": {"states": 10_000, "torch, ONNX Runtime": 1.2e-6, "TensorRT": "not run: no GPU"},
        "protocol": {"pushes": "one jump", "turns": "told another",
                     "termination": "HumanoidBench's"},
        **changes,
    }  # fmt: skip


def test_a_student_that_loses_to_random_is_the_reports_first_line(tmp_path):
    write_reports(tmp_path, card(warnings=["WARNING: on walk the student loses to random"]))
    first = (tmp_path / "report.md").read_text().splitlines()[0]
    assert first.startswith("WARNING: on walk the student")
    page = (tmp_path / "report.html").read_text()
    assert page.index("loses to random") < page.index("<h1>")


def test_the_page_shows_returns_retention_effort_pushes_parity_and_speed(tmp_path):
    write_reports(tmp_path, card())
    text = (tmp_path / "report.md").read_text()
    for words in ("700 ± 20, 1/2 falls", "710 ± 5", "0.97", "250 (5.0)", "3 of 4", "9 of 10",
                  "1.2e-06", "200 times as long", "10000", "not run: no GPU",
                  "round 1"):  # fmt: skip
        assert words in text, words


def test_every_plot_beside_the_page_exists_and_is_xml(tmp_path):
    write_reports(tmp_path, card())
    text = (tmp_path / "report.md").read_text()
    plots = sorted((tmp_path / "plots").iterdir())
    assert len(plots) == 2
    for plot in plots:
        assert f"(plots/{plot.name})" in text
        ElementTree.fromstring(plot.read_text())


def test_what_comes_from_outside_is_escaped_in_html(tmp_path):
    write_reports(tmp_path, card())
    assert "ckpt=<x>" not in (tmp_path / "report.html").read_text()


def test_a_card_of_a_runtime_score_without_effort_is_a_page_too():
    plain = {key: CELL[key] for key in ("mean", "std", "length", "falls", "returns", "lengths")}
    results = card()["results"] | {"student_runtime": {"walk": plain}}
    assert content(card(results=results, pushes={}, turns={}))


def test_a_line_goes_through_its_points_and_skips_what_is_missing():
    plot = line_plot("t", "x", "y", {"a": [(0, 0.0), (1, None), (2, 1.0)]})
    lines = [e for e in ElementTree.fromstring(plot).iter() if e.tag.endswith("polyline")]
    points = [tuple(map(float, p.split(","))) for p in lines[0].attrib["points"].split()]
    assert len(points) == 2
    assert points[0][0] < points[1][0]
    assert points[0][1] > points[1][1]  # up is less in SVG


def test_no_points_make_no_plot():
    assert line_plot("t", "x", "y", {"a": [(0, None)]}) == ""


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0, 900, [0, 200, 400, 600, 800]), (3, 3, [3])],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)
