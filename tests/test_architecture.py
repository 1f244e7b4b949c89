"""The house keeps its shape: who imports whom, what runs without what, names that shadow nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NODE = ROOT / "ros2_ws" / "src" / "ezm_runtime" / "ezm_runtime"
FOLDERS = {
    "runtime": ROOT / "runtime",
    "training": ROOT / "training",
    "distill": ROOT / "distill",
    "ezm_runtime": NODE,
}
MAY_IMPORT = {  # of ours
    "runtime": {"runtime"},
    "training": {"training", "runtime"},
    "distill": {"distill", "training", "runtime"},
    "ezm_runtime": {"ezm_runtime", "runtime"},
}
ALONE = ("mcts", "support", "targets", "losses", "tasks", "scenes", "schedules")
IN_ITS_OWN_FILE = {
    "mujoco": {
        "mujoco_robot",
        "record",
        "viewer",
        "draw",
        "film",
        "score",
        "h1",
        "model",
        "render",
    },
    "cyclonedds": {"unitree_robot", "unitree_types"},
    "tensorrt": {"trt_policy"},
}
MODULES = sorted(
    path for folder in FOLDERS.values() for path in folder.rglob("*.py") if path.name != "run.py"
)


def imports(path: Path) -> set[str]:
    """Return every dotted name that the file imports, wherever it does so."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {item.name for item in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module, *(f"{node.module}.{item.name}" for item in node.names)}
    return found


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("package", FOLDERS)
def test_imports_point_down_only(package):
    for path in FOLDERS[package].rglob("*.py"):
        ours = roots(path) & set(FOLDERS)
        assert ours <= MAY_IMPORT[package], f"{path} imports {ours - MAY_IMPORT[package]}"


def test_training_knows_the_robot_and_nothing_else_of_runtime():
    for path in FOLDERS["training"].rglob("*.py"):
        names = {name for name in imports(path) if name.split(".")[0] == "runtime"}
        assert all(name == "runtime" or name.startswith("runtime.h1") for name in names), path


@pytest.mark.parametrize("name", ALONE)
def test_the_pure_parts_of_training_import_nothing_of_ours(name):
    folder = FOLDERS["training"]
    module = folder / f"{name}.py"
    files = [module] if module.is_file() else sorted((folder / name).rglob("*.py"))
    for path in files:
        ours = {item for item in imports(path) if item.split(".")[0] in FOLDERS}
        allowed = (f"training.{name}", "runtime.h1")
        strange = {item for item in ours if not item.startswith(allowed)} - {"training", "runtime"}
        assert not strange, f"{path} imports {strange}"


def test_heavy_libraries_of_runtime_stay_in_their_own_files():
    for path in FOLDERS["runtime"].rglob("*.py"):
        for library, homes in IN_ITS_OWN_FILE.items():
            if library in roots(path):
                assert path.stem in homes, f"{path} imports {library}"


def import_poisoned(modules: list[str], poisoned: tuple[str, ...]) -> str:
    """Import the modules in a fresh interpreter where `poisoned` raise; return its complaint."""
    program = f"""
import importlib, sys
class Poison:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {poisoned!r}:
            raise ImportError(f"runtime must not import {{name}}")
sys.meta_path.insert(0, Poison())
for name in {modules!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return done.stderr if done.returncode else ""


def test_runtime_is_imported_without_torch_omegaconf_and_ros():
    elsewhere = {name for homes in IN_ITS_OWN_FILE.values() for name in homes} - {"h1"}
    modules = sorted(
        f"runtime.{path.stem}"
        for path in FOLDERS["runtime"].glob("*.py")
        if not path.stem.startswith("__") and path.stem not in elsewhere
    )
    assert not import_poisoned(modules, ("torch", "omegaconf", "rclpy", "gymnasium", "onnx"))


def test_the_robot_needs_no_simulator():
    modules = ["runtime.server", "runtime.session", "runtime.policy", "runtime.loop"]
    assert not import_poisoned(modules, ("torch", "mujoco", "cyclonedds", "tensorrt"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_carries_the_name_of_a_library(path):
    # `python distill/run.py` puts distill/ first on the path: distill/onnx.py would be `onnx`
    ours = set(FOLDERS) | {"ezm_runtime"}
    libraries = (set(sys.stdlib_module_names) | set(packages_distributions())) - ours
    assert path.stem not in libraries


def test_no_code_edits_the_search_path():
    for path in MODULES:
        assert "sys.path" not in path.read_text(), path
