from distill.ship import HEADER, enter, row

CARD = {
    "date": "2026-01-01",
    "commit": "abc",
    "protocol": {"action_map": "home"},
    "latency": {"student": {"p50_us": 41.6}},
    "results": {
        who: {"walk": {"mean": value}}
        for who, value in (("student", 90.2), ("search", 100.0), ("random", 2.0))
    },
    "retention": {"walk": {"search": 0.9}},
}


def test_a_row_of_the_ledger_shows_student_planner_random_and_retention():
    assert row("h1", CARD) == (
        "| `h1` | 2026-01-01 | abc | home | walk: 90 / 100 / 2 (0.90) | 42 |\n"
    )


def test_a_model_shipped_again_replaces_its_row_and_no_other():
    text = enter(enter("# Models\n", "a", "| `a` | 1 |\n"), "b", "| `b` | 1 |\n")
    again = enter(text, "a", "| `a` | 2 |\n")
    assert again.count("`a`") == 1
    assert "| `a` | 2 |" in again and "| `b` | 1 |" in again
    assert again.count(HEADER) == 1
