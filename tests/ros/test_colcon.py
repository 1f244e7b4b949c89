"""pip's colcon builds the package; what it installs is found: node, launch files, parameters."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MISSING = [
    name
    for name in ("colcon_core", "colcon_ros", "colcon_python_setup_py", "colcon_recursive_crawl")
    if not importlib.util.find_spec(name)
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"NOT TESTED HERE: no colcon (missing: {MISSING})"),
]


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the install folder of a workspace built by the colcon of this environment."""
    folder = tmp_path_factory.mktemp("ws")
    words = ["--log-base", str(folder / "log"), "build", "--merge-install"]
    words += ["--base-paths", str(ROOT / "ros2_ws" / "src")]
    words += ["--build-base", str(folder / "build"), "--install-base", str(folder / "install")]
    done = subprocess.run(
        [sys.executable, "-m", "colcon", *words], capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "install"


def inside(install: Path, code: str) -> str:
    """Return what Python prints in a shell that has sourced the workspace."""
    done = subprocess.run(
        ["bash", "-c", f'. "{install}/local_setup.bash" && exec "{sys.executable}" -c "$0"', code],
        capture_output=True,
        text=True,
        env=os.environ | {"AMENT_PREFIX_PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_executables_name_the_python_that_ran_colcon(install):
    for name in ("policy_node", "bringup"):
        script = install / "lib" / "ezm_runtime" / name
        assert os.access(script, os.X_OK)
        assert script.read_text().splitlines()[0] == f"#!{sys.executable}"


def test_the_index_leads_to_launch_files_and_parameters(install):
    code = "from ament_index_python.packages import get_package_share_directory as share"
    code += "; print(share('ezm_runtime'))"
    folder = Path(inside(install, code))
    assert folder == install / "share" / "ezm_runtime"
    assert (folder / "launch" / "h1_sim.launch.py").is_file()
    assert (folder / "launch" / "h1_real.launch.py").is_file()
    assert (folder / "config" / "h1.yaml").is_file()


def test_the_sourced_package_comes_before_the_checkout_and_finds_its_parameters(install):
    code = "import ezm_runtime.describe as d; print(d.__file__); print(d.share() / 'config')"
    file, config = inside(install, code).splitlines()
    assert file.startswith(str(install))
    assert Path(config) == install / "share" / "ezm_runtime" / "config"
