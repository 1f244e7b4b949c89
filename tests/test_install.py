"""The install steps of the images, as far as a test may run them: no root, no network."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def collect(root: Path, target: Path) -> str:
    script = ROOT / "docker" / "install" / "tensorrt.sh"
    done = subprocess.run([str(script), str(root), str(target)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_tensorrt_is_collected_whole_or_not_at_all(tmp_path):
    root, target = tmp_path / "root", tmp_path / "target"
    libraries = root / "usr/lib/aarch64-linux-gnu"
    libraries.mkdir(parents=True)
    for name in ("libnvinfer.so.10.3.0", "libnvonnxparser.so.10.3.0", "libother.so.1"):
        (libraries / name).write_text(name)
    (libraries / "libnvinfer.so.10").symlink_to("libnvinfer.so.10.3.0")
    assert "engine=ort" in collect(root, target), "no Python package"
    assert not list(target.iterdir())
    package = root / "usr/lib/python3.10/dist-packages/tensorrt"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    collect(root, target)
    assert (target / "python/tensorrt/__init__.py").is_file()
    assert {path.name for path in (target / "lib").iterdir()} == {
        "libnvinfer.so.10",
        "libnvinfer.so.10.3.0",
        "libnvonnxparser.so.10.3.0",
    }
    assert (target / "lib/libnvinfer.so.10").is_symlink(), "links stay links"


def test_an_unknown_role_is_refused_with_those_that_exist():
    script = ROOT / "docker" / "install" / "system.sh"
    done = subprocess.run([str(script), "robto"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "runtime, build or dev, got 'robto'" in done.stderr


def test_the_cuda_runtime_comes_along_and_a_broken_link_stops_the_build(tmp_path):
    root, target = tmp_path / "root", tmp_path / "target"
    libraries, cuda = root / "usr/lib/x86_64-linux-gnu", root / "usr/local/cuda-13.2/targets/x/lib"
    package = root / "usr/lib/python3.12/dist-packages/tensorrt"
    for folder in (libraries, cuda, package):
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    resource = "libnvinfer_builder_resource_sm110.so.10.16.2"
    for name in ("libnvinfer.so.10", "libnvonnxparser.so.10", resource):
        (libraries / name).write_text(name)
    (cuda / "libcudart.so.13").write_text("cudart")
    assert "no CUDA runtime" not in collect(root, target)
    assert {resource, "libcudart.so.13"} <= {path.name for path in (target / "lib").iterdir()}
    (libraries / "libnvinfer.so").symlink_to("libnvinfer.so.9")
    script = ROOT / "docker" / "install" / "tensorrt.sh"
    words = [str(script), str(root), str(tmp_path / "other")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    assert "libnvinfer.so -> libnvinfer.so.9 leads nowhere" in done.stderr
    assert not list((tmp_path / "other").iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["user.sh"], "expected NAME UID, got '' ''"),
        (["user.sh", "Robot!", "10001"], "expected NAME UID, got 'Robot!'"),
        (["user.sh", "robot", "0"], "uid 0 is root's"),
        (["ezm.sh", ".", "x"], "expected SRC PREFIX EXTRAS, got 2 words"),
        (["ezm.sh", "docs", "nowhere/else", "sim"], "docs is no checkout of ezm"),
        (["ezm.sh", ".", "{tmp}/ezm", "sim"], "no /opt/ros/nautilus/setup.bash"),
    ],
)
def test_install_steps_refuse_with_what_was_given(words, says, tmp_path):
    name, *rest = (word.replace("{tmp}", str(tmp_path)) for word in words)
    done = subprocess.run(
        [str(ROOT / "docker" / "install" / name), *rest],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "ROS_PREFIX"} | {"ROS_DISTRO": "nautilus"},
    )
    assert done.returncode == 1
    assert f"{name}: " in done.stderr and says in done.stderr
    assert not (ROOT / "nowhere").exists()
