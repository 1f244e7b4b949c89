"""Phrases to tasks: what is understood, what is refused, and that nothing else is needed for it."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.language import HashedNgrams, PhraseBook, held_out_phrases, known_phrases, words

TASKS = tuple(known_phrases())
# commands for other robots, talk, and sentences that share a word with a task
FOREIGN = (
    "make me a coffee", "what time is it", "open the door", "tell me a joke", "wave your hand",
    "pick up the red box", "dance for me", "turn left", "do a backflip", "sing a song",
    "bring me the newspaper", "kick the ball", "lie down", "sleep", "walk the dog",
    "run the dishwasher", "stand corrected", "look at the chair", "the stairs are nice",
    "hello", "go", "now", "fly to the moon", "jump", "", "   ", "123", "?!",
)  # fmt: skip


BOOK = PhraseBook.shipped(TASKS)


@pytest.fixture
def book():
    return BOOK


def test_every_task_has_phrases_and_no_phrase_stands_twice():
    every = [
        p for book in (known_phrases(), held_out_phrases()) for ps in book.values() for p in ps
    ]
    assert len({" ".join(words(phrase)) for phrase in every}) == len(every)
    assert {len(phrases) for phrases in known_phrases().values()} == {8}
    assert {len(phrases) for phrases in held_out_phrases().values()} == {4}
    assert set(known_phrases()) == set(held_out_phrases())


def test_the_instructions_are_those_of_the_fourteen_tasks():
    from training.tasks import TASKS as OURS

    assert set(TASKS) == set(OURS)


@pytest.mark.parametrize("task", TASKS)
def test_every_known_phrase_means_its_task(book, task):
    for phrase in known_phrases()[task]:
        match = book.match(phrase)
        assert match.task == task, match
        assert match.confidence == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_a_tasks_name_is_enough_however_it_is_written(book, task):
    for name in (task, task.upper(), task.replace("_", " "), f" {task.replace('_', '-')}! "):
        assert book.match(name).task == task


def test_no_held_out_phrase_is_taken_for_another_task_and_three_in_five_are_understood(book):
    pairs = [(task, phrase) for task, ps in held_out_phrases().items() for phrase in ps]
    found = [(task, book.match(phrase)) for task, phrase in pairs]
    assert all(match.task in (None, task) for task, match in found)
    understood = sum(match.task == task for task, match in found)
    assert understood >= 0.6 * len(pairs), understood
    nearest = sum(match.ranking[0][0] == task for task, match in found if match.ranking)
    assert nearest >= 0.9 * len(pairs), nearest


@pytest.mark.parametrize("phrase", FOREIGN)
def test_what_is_no_task_is_refused_with_a_reason(book, phrase):
    match = book.match(phrase)
    assert match.task is None, match
    assert "near no known phrase" in match.reason


@pytest.mark.parametrize("phrase", ["do not walk", "don't run!", "never jump over the hurdles",
                                    "Please do NOT go for a walk", "without walking"])  # fmt: skip
def test_a_prohibition_is_no_order(book, phrase):
    assert "says what not to do" in book.match(phrase).reason


@pytest.mark.parametrize("phrase", ["stop", "STOP!", "halt", "freeze", "emergency stop",
                                    "stop walking", "please stop"])  # fmt: skip
def test_to_stop_is_refused_and_says_what_stops_a_robot(book, phrase):
    assert "ESTOP" in book.match(phrase).reason


def test_a_task_that_the_policy_does_not_know_is_named_and_not_replaced():
    match = PhraseBook.shipped(("stand", "walk")).match("climb the stairs")
    assert match.task is None
    assert match.reason == "'climb the stairs' means stair; this policy knows ['stand', 'walk']"


def test_a_phrase_between_two_tasks_is_refused_with_both():
    book = PhraseBook({"a": ["lift the box"], "b": ["lift the crate"]}, ("a", "b"))
    reason = book.match("lift the barrel").reason
    assert "may mean" in reason or "near no known phrase" in reason
    twins = PhraseBook({"a": ["lift the box"], "b": ["the box lift"]}, ("a", "b"))
    assert "may mean" in twins.match("the box is to be lifted, lift the box").reason


def test_a_task_without_phrases_is_known_by_its_name_alone():
    book = PhraseBook.shipped(("stand", "moonwalk"))
    assert book.match("moonwalk").task == "moonwalk"
    assert book.match("do the moonwalk").task is None


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_gets_an_answer_and_vectors_of_length_one_or_zero(text):
    match = BOOK.match(text)
    assert (match.task is None) == bool(match.reason)
    length = np.linalg.norm(HashedNgrams().encode([text])[0])
    assert length == pytest.approx(1.0, abs=1e-5) or length == 0.0


@settings(deadline=None)
@given(st.lists(st.sampled_from(sorted(words(" ".join(FOREIGN)))), min_size=1, max_size=6))
def test_case_and_punctuation_change_nothing(spoken):
    encoder = HashedNgrams(64)
    one = encoder.encode([" ".join(spoken)])
    other = encoder.encode([f"  {', '.join(spoken).upper()}!"])
    assert np.array_equal(one, other)


def test_the_encoder_is_the_same_in_every_process_and_on_every_machine():
    """Python's own hash differs between processes; these figures were made once."""
    code = (
        "from runtime.language import HashedNgrams as H; print(H(8).encode(['walk'])[0].tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(HashedNgrams(8).encode(["walk"])[0].tolist())
    # of "w walk" and the nine pieces of "<walk>", by crc32, by hand
    import zlib

    expected = np.zeros(8)
    pieces = ["<wa", "wal", "alk", "lk>", "<wal", "walk", "alk>", "<walk", "walk>"]
    grams = [("w walk", 1.0), *((f"p {piece}", 1 / 3) for piece in pieces)]
    for gram, weight in grams:
        code = zlib.crc32(gram.encode())
        expected[code % 8] += weight if code >= 2**31 else -weight
    assert HashedNgrams(8).encode(["walk"])[0] == pytest.approx(
        expected / np.linalg.norm(expected), abs=1e-6
    )


def test_the_command_line_answers_every_phrase_and_fails_if_one_was_not_understood():
    def run(*phrases):
        return subprocess.run(
            [sys.executable, "-m", "runtime.language", *phrases], capture_output=True, text=True
        )

    assert run("walk forward").returncode == 0
    done = run("walk forward", "make me a coffee")
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "'walk forward': walk (1.00)"
