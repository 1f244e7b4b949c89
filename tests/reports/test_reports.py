"""Reports say what the files say: from real small runs, and from files whose answer is known."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports import anchors, campaign, charts, page, trainings
from training.tasks import TASKS

ROOT = Path(__file__).parents[2]


def run(*words: object) -> tuple[int, dict[str, Any], str]:
    """Run the door; return its code, its last line, and what it complained of."""
    command = [sys.executable, "reports/run.py", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    lines = done.stdout.strip().splitlines()
    facts = json.loads(lines[-1]) if done.returncode == 0 else {}
    return done.returncode, facts, done.stderr


class Reader(HTMLParser):
    """The cells of every table, and the names of open elements that should have been closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.text = path.read_text()
        self._cell = False
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data

    def row(self, first: str) -> list[str]:
        return next(row for row in self.rows if row and row[0] == first)

    def plots(self) -> list[ET.Element]:
        return [ET.fromstring(text) for text in re.findall(r"<svg.*?</svg>", self.text, re.DOTALL)]


def a_training(folder: Path, seed: int, returns: list[float]) -> Path:
    folder.mkdir()
    config = {"preset": "toy", "tasks": ["walk"], "seed": seed}
    (folder / "config.json").write_text(json.dumps(config))
    rows = [
        {"updates": 100 * i, "steps": 10 * i, "time": 3600.0 * i, "loss": 1.0 / (i + 1),
         "eval_search/walk": value, "train_return/walk": value / 2}
        for i, value in enumerate(returns)
    ]  # fmt: skip
    lines = [json.dumps(row) for row in rows]
    (folder / "metrics.jsonl").write_text("\n".join([*lines, lines[-1][:20]]))  # cut short
    return folder


def test_several_seeds_make_one_table_and_a_mean_beside_the_anchors(tmp_path):
    first = a_training(tmp_path / "s0", 0, [10.0, 30.0, 20.0])
    second = a_training(tmp_path / "s1", 1, [10.0, 50.0, 60.0])
    out = tmp_path / "report.html"
    code, facts, _ = run(first, second, f"out={out}")
    assert code == 0 and facts["kind"] == "training" and facts["tasks"] == ["walk"]
    read = Reader(out)
    row = read.row("walk: eval_search")
    assert row[1:4] == ["40 (20 … 60)", "60", "2"]
    assert row[4:] == ["700", "2", "801", "814", "58"]
    assert read.row("s1") == ["s1", "toy", "walk", "1", "200", "20", "2.00"]
    names = {text.text for plot in read.plots() for text in plot.iter() if text.text}
    assert {"s0", "s1", "mean", "walk: eval_search", "loss"} <= names


def test_the_mean_of_seeds_is_taken_where_all_have_points():
    runs = {"a": [(0.0, 0.0), (10.0, 10.0)], "b": [(5.0, 1.0), (20.0, 1.0)]}
    mean = charts.with_mean(runs)["mean"]
    assert (mean[0][0], mean[-1][0]) == (5.0, 10.0)
    for x, y in mean:
        assert y == pytest.approx((x + 1.0) / 2.0)
    assert "mean" not in charts.with_mean({"a": runs["a"]})


def test_smoothing_keeps_a_straight_line_straight_and_its_length():
    line = [(float(i), 2.0 * i) for i in range(40)]
    smooth = charts.smooth(line)
    assert len(smooth) == len(line)
    np.testing.assert_allclose(smooth[5:-5], line[5:-5])


def test_every_task_has_an_anchor_and_their_bars_are_the_tasks_own():
    assert set(anchors.ANCHORS) == set(TASKS)
    for name, anchor in anchors.ANCHORS.items():
        assert anchor.bar == TASKS[name].success_bar, name
    assert anchors.cells("h1-walk") == anchors.cells("walk")
    assert set(anchors.cells("no such task")) == {"-"}


def test_the_card_of_the_shipped_student_becomes_a_report_with_its_own_figures(tmp_path):
    card = json.loads((ROOT / "models" / "h1" / "card.json").read_text())
    out = tmp_path / "student.html"
    code, facts, _ = run(ROOT / "models" / "h1", f"out={out}")
    assert code == 0 and facts["kind"] == "distillation"
    read = Reader(out)
    for task in facts["tasks"]:
        score = card["results"]["student"][task]
        row = read.row(f"{task}: student")
        assert row[1] == f"{score['mean']:.0f} ± {score['std']:.0f}"
        assert row[4] == f"{TASKS[task].success_bar:.0f}"
    assert len(read.plots()) >= len(facts["tasks"]), "the rounds of each task"


def test_markdown_has_the_same_tables_and_its_plots_beside_it(tmp_path):
    out = tmp_path / "student.md"
    code, facts, _ = run(ROOT / "models" / "h1", f"out={out}")
    text = out.read_text()
    links = re.findall(r"!\[plot\]\((.+?)\)", text)
    assert code == 0 and len(links) == facts["files"] - 1 > 0
    for link in links:
        assert ET.parse(tmp_path / link).getroot().tag.endswith("svg")
    assert "| stand: student |" in text


def test_a_campaign_s_saved_output_becomes_a_table_of_faults(tmp_path):
    saved = tmp_path / "faults.txt"
    words = ["seeds=1", "only=policy stopped", "processes=false"]
    done = subprocess.run(
        [sys.executable, "-m", "runtime.faults", *words], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    saved.write_text(done.stdout)
    out = tmp_path / "faults.html"
    code, facts, _ = run(saved, f"out={out}")
    assert code == 0 and facts == facts | {"kind": "faults", "rows": 2, "broken": []}
    read = Reader(out)
    assert read.row("policy stopped 0.1 s")[3:] == ["POLICY", "-", "continued"]
    assert read.row("policy stopped 0.5 s")[3] == "DAMPING"
    assert "Everything went as promised" in read.text


CAMPAIGN = """\
fault                            seeds  limits  ends in          damped after  then
NaN target                           3       0  POLICY                      -  continued
limits tightened while running       3       2  DAMPING|ESTOP          131 ms  latched
    NOT AS PROMISED: damped 131 ms after it was due
policy process SIGKILL               1          DAMPING                412 ms*
"""


def test_a_campaign_that_broke_a_promise_says_so_first(tmp_path):
    saved = tmp_path / "faults.txt"
    last = {"faults": 3, "trials": 7, "writes": 9, "limit_exceeded": 2, "damped_ms_max": 131.0}
    saved.write_text(CAMPAIGN + json.dumps(last | {"broken": ["a fault"]}))
    title, parts, facts = campaign.report(saved)
    assert title == "Fault campaign" and facts["rows"] == 3
    assert isinstance(parts[0], str) and parts[0].startswith("**NOT everything")
    assert "damped 131 ms after it was due" in str(parts[1])
    table = next(part for part in parts if isinstance(part, page.Table))
    first = ["limits tightened while running", "3", "2", "DAMPING|ESTOP", "131 ms", "latched"]
    assert list(table.rows[1]) == first
    assert list(table.rows[2])[1:] == ["1", "-", "DAMPING", "412 ms*", "-"]


def test_a_recording_becomes_modes_latencies_and_joints(tmp_path, record_run):
    file = tmp_path / "run.mcap"
    record_run(file, ROOT / "models" / "h1" / "policy.onnx", seconds=2.0)
    out = tmp_path / "run.html"
    code, facts, said = run(file, f"out={out}")
    assert code == 0, said
    assert facts["kind"] == "recording" and facts["states"] > 100
    read = Reader(out)
    modes = [row[1] for row in read.rows if len(row) == 3 and row[1].isupper()]
    assert "POLICY" in modes
    assert len(read.plots()) >= 9


def test_a_histogram_counts_every_positive_value_once():
    values = np.array([1.0, 10.0, 10.0, 100.0, 1000.0, np.nan, -1.0])
    drawing = ET.fromstring(charts.histogram("x", values, "us"))
    found = [rect.get("height", "") for rect in drawing.iter() if rect.tag.endswith("rect")]
    tall = [float(height) for height in found if "%" not in height]
    assert sum(tall) / max(tall) * 2 == pytest.approx(5.0, abs=0.01)  # the tallest holds two
    assert "n 5, p50 10" in "".join(drawing.itertext())
    assert charts.histogram("x", np.array([np.nan]), "us") == ""


def test_what_is_written_in_a_run_cannot_run_in_the_page():
    evil = "<script>alert(1)</script>"
    text = page.html(evil, [evil, f"# {evil}", page.Table((evil,), [(f"`{evil}`",)])])
    assert "<script" not in text and text.count("&lt;script&gt;") == 6


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["README.md"], "the last line is no JSON object"),
        (["docs"], "expected a training folder"),
        (["models/h1", "models/h1"], "each must be a training folder"),
        (["models/h1", "out=x.pdf"], "ends in .html or .md"),
        (["models/h1", "otu=x.html"], "did you mean 'out'"),
        (["out=x.html"], "nothing to report on"),
        (
            ["models/h1", "out=/proc/x.html"],
            "out=/proc/x.html: expected a file that can",
        ),
    ],
)
def test_bad_input_ends_with_code_2_and_a_sentence(words, says):
    code, _, err = run(*words)
    assert code == 2 and says in err and "Traceback" not in err


def test_an_empty_training_says_so(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("")
    with pytest.raises(ValueError, match="no whole line yet"):
        trainings.report([folder])
