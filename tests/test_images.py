"""Images and compose files: they parse, name what exists, and ask for no privilege.

What only a Docker engine can tell is not tested; tools/try_image.sh builds the image without one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.cli import parse
from runtime.policy import load_policy
from runtime.processes import RobotProcess
from runtime.server import base_config

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted([*ROOT.glob("docker/**/*.sh"), *ROOT.glob("tools/*.sh")])
COMPOSE = sorted(ROOT.glob("docker/compose.*.yaml"))
INSTRUCTIONS = {
    *("ARG", "FROM", "COPY", "RUN", "ENV", "USER", "WORKDIR", "VOLUME"),
    *("STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
}


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions with their words; a backslash continues a line."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = [line.partition(" ") for line in joined.splitlines()]
    return [(name, words.strip()) for name, _, words in pairs]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Return the instructions of each stage by its name; '' holds what precedes the first."""
    found: dict[str, list[tuple[str, str]]] = {"": []}
    name = ""
    for instruction, words in instructions():
        if instruction == "FROM":
            name = words.split()[-1]
            found[name] = []
        found[name].append((instruction, words))
    return found


def only(stage: str, instruction: str) -> str:
    """Return the words of the one instruction of this kind in a stage."""
    words = [words for name, words in stages()[stage] if name == instruction]
    assert len(words) == 1, f"{stage}: {instruction} {words}"
    return words[0]


def test_the_dockerfile_uses_known_instructions_and_names_every_stage():
    assert {name for name, _ in instructions()} <= INSTRUCTIONS
    froms = [words.split() for name, words in instructions() if name == "FROM"]
    assert all(len(words) == 3 and words[1] == "AS" for words in froms)
    arguments = {words.split("=")[0] for name, words in stages()[""] if name == "ARG"}
    known: set[str] = set()
    for base, _, name in froms:
        assert base in known or base.strip("${}") in arguments, base
        known.add(name)
    assert {"robot", "dev"} <= known


def test_what_the_dockerfile_copies_exists_and_is_not_ignored():
    ignored = {line.strip("/") for line in (ROOT / ".dockerignore").read_text().split("\n")}
    for name, stage in stages().items():
        for instruction, words in stage:
            if instruction != "COPY":
                continue
            *sources, _ = words.split()
            if sources[0].startswith("--from="):
                assert sources[0].removeprefix("--from=") in stages()
                continue
            for source in sources:
                assert (ROOT / source).exists(), f"{name}: {source}"
                assert source not in ignored


def test_every_package_of_the_wheel_is_copied_into_the_image():
    copied = {words.split()[0] for name, words in stages()["source"] if name == "COPY"}
    listed = (ROOT / "pyproject.toml").read_text().split("packages = [")[1].split("]")[0]
    tops = {name.partition(".")[0] for name in re.findall(r'"([\w.]+)"', listed)}
    assert tops - {"ezm_runtime"} <= copied, "ezm_runtime lies in ros2_ws"


def test_the_robot_image_runs_as_an_ordinary_user_with_a_health_check_and_ends_by_sigint():
    assert only("robot", "USER") == "robot"
    assert only("robot", "STOPSIGNAL") == "SIGINT"
    assert "runtime.health" in only("robot", "HEALTHCHECK")
    assert json.loads(only("robot", "ENTRYPOINT")) == ["/opt/ezm/entrypoint.sh"]
    assert isinstance(json.loads(only("robot", "CMD")), list)


def test_only_the_dev_image_gets_the_trainer_s_libraries():
    steps = {name: [w for i, w in stage if i == "RUN"] for name, stage in stages().items()}
    trainers = {name for name, words in steps.items() if re.search(r"train|distill", str(words))}
    assert trainers == {"dev"}
    extras = next(words for name, words in stages()["build"] if name == "ARG")
    assert extras == "EXTRAS=sim"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_executable_stops_on_errors_and_parses(path):
    text = path.read_text()
    assert text.startswith("#!/usr/bin/env bash\n#")
    assert os.access(path, os.X_OK)
    assert re.search(r"^set -.*o pipefail", text, re.MULTILINE)
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path):
    if shutil.which("shellcheck") is None:
        pytest.skip("NOT TESTED HERE: apt-get install shellcheck")
    done = subprocess.run(
        ["shellcheck", "--severity=warning", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose_files_ask_for_no_privilege(path):
    text = path.read_text()
    for name, service in yaml.safe_load(text)["services"].items():
        if path.name == "compose.jetson.yaml":  # an overlay: all the rest is the robot file's
            assert set(service) == {"runtime", "environment"}
            continue
        assert "privileged" not in service, name
        assert "cap_add" not in service, name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["ulimits"]["rtprio"] >= 50, "runtime.realtime asks for 50"
        assert service["stop_signal"] == "SIGINT"
        config = base_config("unitree")
        assert int(service["stop_grace_period"].rstrip("s")) > config.exit_damping + 2.0


def words_of(name: str, service: str) -> list[str]:
    """Return a service's command with every ${NAME:-value} and ${NAME:?why} filled in."""
    content = yaml.safe_load((ROOT / "docker" / name).read_text())
    filled = (
        re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", w) for w in content["services"][service]["command"]
    )
    return [re.sub(r"\$\{\w+:\?[^}]*\}", "eth0", word) for word in filled]


def test_the_robot_service_is_a_real_robot_that_starts_nothing_by_itself():
    command, *words = words_of("compose.robot.yaml", "robot")
    assert command == "ezm-robot"
    config = parse(base_config("unitree"), words)
    assert config.robot == "unitree"
    assert not config.modes.autostart
    assert not config.modes.auto_reset
    assert f"EZM_ENDPOINT={config.endpoint} " in only("robot", "ENV")
    assert f"endpoint:={config.endpoint}" in words_of("compose.robot.yaml", "policy")
    assert "autostart:=false" in words_of("compose.robot.yaml", "policy")


def test_the_simulated_service_s_words_are_bringup_s_own():
    pytest.importorskip("rclpy", reason="NOT TESTED HERE: the ROS wheels are not installed")
    from ezm_runtime.session import BringupOptions

    python, flag, module, *words = words_of("compose.sim.yaml", "h1")
    assert (python, flag, module) == ("python", "-m", "ezm_runtime.bringup")
    options = parse(BringupOptions(), words)
    assert f"EZM_ENDPOINT={options.endpoint} " in only("robot", "ENV")


# what runs inside


@pytest.fixture
def prefix(tmp_path):
    """Return an installation whose Python is this one, and a ROS with a setup file."""
    bin_folder = tmp_path / "ezm" / "venv" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (bin_folder / "python").chmod(0o755)
    ros = tmp_path / "ros"
    ros.mkdir()
    (ros / "setup.bash").write_text('[ -n "$NEVER_SET" ] || export SOURCED=ros\n')
    return tmp_path


def enter(prefix: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the entrypoint."""
    variables = {"EZM_PREFIX": str(prefix / "ezm"), "ROS_PREFIX": str(prefix / "ros")}
    return subprocess.run(
        [str(ROOT / "docker" / "entrypoint.sh"), *words],
        capture_output=True,
        text=True,
        env=os.environ | variables | environment,
        cwd=ROOT,
    )


def test_the_entrypoint_sources_ros_and_becomes_the_command(prefix):
    done = enter(prefix, "sh", "-c", "echo $SOURCED; cat /proc/$$/comm")
    assert done.stdout.split() == ["ros", "sh"], done.stderr
    assert enter(prefix, "sh", "-c", "exit 7").returncode == 7


def test_the_entrypoint_stops_with_a_reason_where_the_engine_cannot_be_built(prefix):
    environment = {"EZM_ENGINE": "tensorrt", "EZM_POLICY": str(ROOT / "models/h1/policy.onnx")}
    done = enter(prefix, "echo", "started", **environment)
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        assert done.returncode != 0
        assert "started" not in done.stdout
        assert "tensorrt" in done.stderr
        assert "Traceback" not in done.stderr
    else:
        pytest.skip("TensorRT is here: the engine may be built")


def python(*words: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
    )


def test_health_is_a_state_on_the_wire_and_sickness_is_silence(tmp_path):
    pytest.importorskip("mujoco")
    silent = f"ipc://{tmp_path}/nobody"
    sick = python("-m", "runtime.health", f"endpoint={silent}", "patience=0.3")
    assert (sick.returncode, sick.stdout) == (1, "")
    assert f"nothing from {silent} within 0.3 s" in sick.stderr
    with RobotProcess("mujoco") as process:
        well = python("-m", "runtime.health", "patience=20", EZM_ENDPOINT=process.endpoint)
    assert well.returncode == 0, well.stderr
    assert well.stdout.startswith("ZERO_TORQUE")


def test_preparing_a_policy_tells_its_tasks_and_its_time():
    done = python("-m", "runtime.prepare", "policy=models/h1/policy.onnx", "calls=20")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.strip().splitlines()[-1])
    assert report["tasks"] == list(load_policy("models/h1/policy.onnx").spec.tasks)
    assert 0.0 < report["infer_us_p50"] <= report["infer_us_p99"]
    refused = python("-m", "runtime.prepare", "policy=models/none.onnx")
    assert refused.returncode == 2
    assert "models/none.onnx does not exist" in refused.stderr


def test_git_keeps_every_script_and_everything_the_dockerfile_copies():
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT)
    if listed.returncode != 0:
        pytest.skip("NOT TESTED HERE: no git, or no checkout")
    kept = set(listed.stdout.splitlines())
    for path in SCRIPTS:
        assert str(path.relative_to(ROOT)) in kept, "an ignore rule once swallowed docker/install"
    for name, words in (pair for stage in stages().values() for pair in stage):
        if name != "COPY" or words.startswith("--from="):
            continue
        for source in words.split()[:-1]:
            assert any(name == source or name.startswith(f"{source}/") for name in kept), source
