"""The pages tell the truth: commands run, or say what they need; keys, files and tables exist.

A block of commands is fenced as ```sh and preceded by one of
    <!-- tested -->          every line is executed here, in a scratch copy of the checkout
    <!-- needs: ... -->      what a reader must have that a test has not, or which test does it
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.session import TOO_SLOW

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("docs/*.md"),
        *(ROOT / name for name in ("README.md", "ros2_ws/README.md", "models/README.md")),
    ]
)
IDS = [str(path.relative_to(ROOT)) for path in PAGES]
FENCE = re.compile(
    r"(?:<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.M | re.S
)
DOORS = {  # the words before the keys -> how the program is started
    "ezm-train": ["training/run.py"],
    "ezm-distill": ["distill/run.py"],
    "ezm-run": ["runtime/run.py"],
    "ezm-robot": ["-m", "runtime.server"],
    "ezm-view": ["-m", "runtime.live"],
    "ezm-report": ["reports/run.py"],
    "ezm-study": ["training/study.py"],
}
DOOR = re.compile(
    r"python3? (?:-m (?:runtime|training|distill|ezm_runtime)(?:\.\w+)+"
    r"|(?:training|distill|runtime)/\w+\.py)"
    r"|\bezm-(?:train|distill|run|robot|view|report|study)\b"
)


def blocks(path: Path) -> list[tuple[str, str, str]]:
    """Return (mark, language, body) of every fenced block of a page."""
    return [(m["mark"] or "", m["kind"], m["body"]) for m in FENCE.finditer(path.read_text())]


def lines(body: str) -> list[str]:
    """Return the commands of a block without comments; here-documents and continuations whole."""
    found: list[str] = []
    ends = ""
    for line in body.splitlines():
        if ends or (found and found[-1].endswith("\\")):
            found[-1] += "\n" + line
            ends = "" if line == ends else ends
            continue
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found.append(line)
        here = re.search(r"<<'?(\w+)'?", line)
        ends = here[1] if here else ""
    return [re.sub(r"\s+#\s.*$", "", line) if "\n" not in line else line for line in found]


def commands(path: Path) -> list[str]:
    """Return every command of ours on a page: in blocks, in code spans, and bare lines of code."""
    text = path.read_text()
    found = [line for _, kind, body in blocks(path) if kind == "sh" for line in lines(body)]
    rest = FENCE.sub("", text)
    found += [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", rest)]
    found += re.findall(r"^    (\S.*)$", rest, re.MULTILINE)
    return found


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_every_block_of_commands_is_tested_or_says_what_it_needs(path):
    for mark, kind, body in blocks(path):
        assert kind, f"{path.name}: a block without a language: {body[:60]!r}"
        if kind != "sh":
            continue
        assert mark == "tested" or re.match(r"needs: \S", mark), f"{path.name}: {body[:60]!r}"
        for named in re.findall(r"tests/[\w/]+\.py", mark):
            assert (ROOT / named).is_file(), f"{path.name}: {named}"


@functools.cache
def keys_of(door: str) -> frozenset[str] | str:
    """Return the keys that a program lists with --help, or what went wrong."""
    words = shlex.split(door)
    start = DOORS.get(words[0], words[1:])
    done = subprocess.run(
        [sys.executable, *start, "--help"], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    keys = re.findall(r"^  ([\w.]+)=", done.stdout, re.MULTILINE)
    return frozenset(keys) if done.returncode == 0 else done.stderr


def named_keys(command: str) -> list[tuple[str, str]]:
    """Return (door, key) of every program of ours in a command."""
    found = []
    for match in DOOR.finditer(command):
        rest = re.split(r"[|;&)]", command[match.end() :])[0]
        for word in rest.replace("\\\n", " ").split():
            key = re.match(r"([a-z][\w.]*)=", word)
            if key:
                found.append((match.group(), key[1]))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_every_key_on_a_page_is_a_key_of_its_program(path):
    for command in commands(path):
        for door, key in named_keys(command):
            keys = keys_of(door)
            if isinstance(keys, str) and "No module named" in keys:
                continue  # of an extra that is not installed; the modules exist: next test
            assert not isinstance(keys, str), f"{path.name}: `{door}`: {keys}"
            assert key in keys, f"{path.name}: `{door}` has no {key}="


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_every_program_and_verb_on_a_page_exists(path):
    makefile = (ROOT / "Makefile").read_text()
    verbs = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z]+) *\?=", makefile, re.MULTILINE))
    for command in commands(path):
        for match in DOOR.finditer(command):
            words = shlex.split(match.group())
            if words[0].startswith("ezm-"):
                assert words[0] in DOORS, f"{path.name}: {words[0]}"
                continue
            file = words[2].replace(".", "/") + ".py" if words[1] == "-m" else words[1]
            file = file.replace("ezm_runtime/", "ros2_ws/src/ezm_runtime/ezm_runtime/", 1)
            package = ROOT / file.removesuffix(".py") / "__main__.py"
            assert (ROOT / file).is_file() or package.is_file(), f"{path.name}: {match.group()}"
        made = re.match(r"make((?: +[\w=./\"'-]+)*)(?:$|[ ;&|…])", command)
        for word in made[1].split() if made else []:
            name, equals, _ = word.partition("=")
            if name.isidentifier() or "-" in name:
                assert name in (variables if equals else verbs), f"{path.name}: make {word}"


@pytest.mark.parametrize("path", PAGES, ids=IDS)
def test_every_link_and_every_script_on_a_page_leads_somewhere(path):
    text = path.read_text()
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (path.parent / target).exists(), f"{path.name}: {target}"
    for script in re.findall(r"\b((?:tools|docker)/[\w/.-]+\.(?:sh|py|yaml))\b", text):
        assert (ROOT / script).is_file(), f"{path.name}: {script}"


def test_the_tables_of_the_references_are_what_the_code_says():
    done = subprocess.run(
        [sys.executable, "tools/references.py", "--check"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def scratch(tmp_path):
    """Return a folder that looks like the checkout and takes what the commands write."""
    for item in ROOT.iterdir():
        if not item.name.startswith(".") and item.name not in ("runs", "build", "install", "log"):
            (tmp_path / item.name).symlink_to(item)
    return tmp_path


TESTED = [path for path in PAGES if any(mark == "tested" for mark, *_ in blocks(path))]


@pytest.mark.slow
@pytest.mark.parametrize("path", TESTED, ids=[path.stem for path in TESTED])
def test_the_tested_commands_of_a_page_run(path, scratch):
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for mark, _, body in blocks(path):
        if mark != "tested":
            continue
        for command in lines(body):
            if "ezm_runtime" in command:
                pytest.importorskip("rclpy", reason="NOT TESTED HERE: no ROS wheels")
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                capture_output=True,
                text=True,
                cwd=scratch,
                env=environment,
                timeout=300,
            )
            ran = (0, TOO_SLOW) if "duration=" in command else (0,)  # no page promises a rate
            assert done.returncode in ran, f"{path.name}: {command}\n{done.stdout}\n{done.stderr}"


def test_make_alone_lists_every_verb_and_an_unknown_verb_is_answered_with_the_list():
    text = (ROOT / "Makefile").read_text()
    hidden = {"help", "venv", "venv-run"}
    verbs = set(re.findall(r"^([a-z-]+):", text, re.MULTILINE)) - hidden
    listed = subprocess.run(["make"], capture_output=True, text=True, cwd=ROOT)
    assert listed.returncode == 0
    assert verbs == set(re.findall(r"^make ([a-z-]+)", listed.stdout, re.MULTILINE))
    unknown = subprocess.run(["make", "jump"], capture_output=True, text=True, cwd=ROOT)
    assert unknown.returncode == 2
    assert "no verb 'jump'" in unknown.stderr
    assert "make run" in unknown.stderr
