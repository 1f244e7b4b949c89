"""The wheel is the whole product: commands, robot and shipped policy, without the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from runtime.session import TOO_SLOW

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
TOPS = {name.partition(".")[0] for name in PACKAGES}
COMMANDS = {
    "ezm-train",
    "ezm-distill",
    "ezm-run",
    "ezm-robot",
    "ezm-view",
    "ezm-report",
    "ezm-study",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built from a copy of the tree: setuptools leaves build/ behind."""
    pytest.importorskip("setuptools", reason="NOT TESTED HERE: setuptools builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info", "runs", "tests")
    shutil.copytree(ROOT, source, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "-w", str(folder), str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return next(folder.glob("ezm-*.whl"))


def test_the_wheel_carries_every_module_the_robot_and_the_shipped_policy(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in TOPS - {"ezm_runtime"}:
        for path in (ROOT / package).rglob("*.py"):
            assert str(path.relative_to(ROOT)) in names
    data = {"runtime/h1.xml", "runtime/models/h1/policy.onnx", "runtime/models/h1/card.json"}
    data |= {"ezm_runtime/policy_node.py", "ezm_runtime/config/h1.yaml"}
    data |= {"ezm_runtime/fastdds_loopback.xml"}
    data |= {f"runtime/page/{path.name}" for path in (ROOT / "runtime" / "page").iterdir()}
    data |= {f"runtime/{path.name}" for path in (ROOT / "runtime").glob("*.json")}
    assert data <= names
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == TOPS


def test_the_wheel_s_commands_are_the_doors(wheel):
    assert set(PROJECT["scripts"]) >= COMMANDS
    archive = zipfile.ZipFile(wheel)
    names = archive.namelist()
    listed = next(name for name in names if name.endswith("entry_points.txt"))
    text = archive.read(listed).decode()
    for command, target in PROJECT["scripts"].items():
        module, _, function = target.partition(":")
        assert f"{command} = {target}" in text
        assert f"{module.replace('.', '/')}.py" in names, f"{command}: no {module}"
        assert f"def {function}(" in archive.read(f"{module.replace('.', '/')}.py").decode()


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the commands of a fresh environment: the wheel; what it needs, from this one."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    target = next((folder / "lib").glob("python*/site-packages"))
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-compile"]
    command += ["--prefix", str(folder), "--ignore-installed", str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    for script in (folder / "bin").glob("ezm-*"):  # --prefix names the installing interpreter
        lines = script.read_text().splitlines(keepends=True)
        script.write_text(f"#!{folder / 'bin' / 'python'}\n" + "".join(lines[1:]))
    here = next(Path(sys.prefix, "lib").glob("python*/site-packages"))
    for item in here.iterdir():  # links, not a path entry: the editable install must not win
        ours = item.name.startswith(("__editable__", "ezm-")) or (target / item.name).exists()
        if not ours and not item.name.endswith(".pth"):
            (target / item.name).symlink_to(item)
    return folder / "bin"


def run_in(folder: Path, *words: str, timeout: float = 300.0) -> subprocess.CompletedProcess:
    """Run a command in `folder`, as a person would who has no checkout."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        words, capture_output=True, text=True, cwd=folder, env=environment, timeout=timeout
    )


def test_installed_commands_come_from_the_wheel_and_not_from_this_checkout(installed, tmp_path):
    code = "import runtime, training; print(runtime.__file__, training.__file__)"
    done = run_in(tmp_path, str(installed / "python"), "-c", code)
    assert done.returncode == 0, done.stderr
    assert all(str(installed.parent) in word for word in done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_lists_its_keys_in_an_empty_folder(installed, tmp_path, command):
    done = run_in(tmp_path, str(installed / command), "--help")
    assert done.returncode == 0, done.stderr
    assert "(str)" in done.stdout
    assert not list(tmp_path.iterdir()), "help writes nothing"


@pytest.mark.slow
def test_the_shipped_policy_stands_in_an_empty_folder(installed, tmp_path):
    pytest.importorskip("mujoco")
    done = run_in(tmp_path, str(installed / "ezm-run"), "duration=2", "task=stand")
    assert done.returncode in (0, TOO_SLOW), done.stderr
    last = json.loads(done.stdout.strip().splitlines()[-1])
    assert last["task"] == "stand"
    assert last["control_hz"] > 40.0 or last["deadline_misses"]  # kept the pace, or says so


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        ("ezm-train", "torch", "train"),
        ("ezm-study", "torch", "train"),
        ("ezm-distill", "torch", "distill"),
    ],
)
def test_a_missing_library_is_named_with_the_extra_that_brings_it(command, module, extra):
    target = PROJECT["scripts"][command].partition(":")[0]
    code = f"import sys; sys.modules[{module!r}] = None; import {target} as door"
    code += "; sys.exit(door.main())"
    done = run_in(ROOT, sys.executable, "-c", code)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"pip install 'ezm[{extra}]'" in done.stderr


def test_a_model_s_name_means_the_file_here_before_the_one_that_is_shipped(tmp_path, monkeypatch):
    from runtime.policy import find_policy

    name = Path("models/h1/policy.onnx")
    monkeypatch.chdir(tmp_path)
    assert find_policy(name) == ROOT / name
    assert find_policy("models/h1/none.onnx") == Path("models/h1/none.onnx")
    assert find_policy("other/policy.onnx") == Path("other/policy.onnx")
    name.parent.mkdir(parents=True)
    name.touch()
    assert find_policy(name) == name


@pytest.mark.parametrize("door", ["training/run.py", "distill/run.py", "runtime/run.py"])
def test_a_door_in_a_checkout_that_nobody_installed_says_what_to_do(door):
    """-S: without site-packages, so without our editable install and its libraries."""
    done = run_in(ROOT, sys.executable, "-S", str(ROOT / door))
    assert done.returncode != 0
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr
