"""The house keeps its shape: who imports whom, what runs without what, which names are free."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NODE = ROOT / "ros2_ws" / "src" / "ezm_runtime" / "ezm_runtime"
PACKAGES = {"training": ROOT / "training", "distill": ROOT / "distill", "runtime": ROOT / "runtime"}
PACKAGES["ezm_runtime"] = NODE
PACKAGES["reports"] = ROOT / "reports"
OURS = frozenset(PACKAGES)
MAY_IMPORT = {
    "runtime": {"runtime"},
    "training": {"training", "runtime"},
    "distill": {"distill", "training", "runtime"},
    "ezm_runtime": {"ezm_runtime", "runtime"},
    "reports": {"reports", "distill", "runtime"},
}
ISLANDS = ("mcts", "support", "targets", "losses", "rewards", "tasks", "scenes", "schedules")
BRIDGES = {"tasks": {"training.rewards"}}  # the table names the rewards
WORDS = ("runtime.language", "runtime.encoders", "runtime.minilm", "runtime.meaning")
OWNERS = {
    "wordllama": {"encoders.py"},
    "mujoco": {"mujoco_robot.py", "record.py", "viewer.py"},
    "cyclonedds": {"unitree_dds.py", "unitree_api.py", "unitree_idl.py"},
    "mcap": {"recorder.py", "bag.py"},
    "tensorrt": {"trt_policy.py"},
}
HEAVY = ("torch", "omegaconf", "rclpy", "gymnasium", "humanoid_bench", "ray")


def modules(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the dotted names that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_packages_import_only_the_packages_below_them(package):
    for path in modules(package):
        above = (tops(path) & OURS) - MAY_IMPORT[package]
        assert not above, f"{path.relative_to(ROOT)} imports {sorted(above)}"


def test_training_uses_the_robot_s_figures_help_texts_and_words_and_nothing_else_of_runtime():
    for path in modules("training"):
        names = {name for name in imported(path) if name.startswith("runtime")}
        allowed = ("runtime.h1", "runtime.fields", *WORDS)
        strange = [n for n in names if n != "runtime" and not n.startswith(allowed)]
        assert not strange, f"{path}: {strange}"


@pytest.mark.parametrize("name", ISLANDS)
def test_the_islands_of_training_import_nothing_of_ours(name):
    single, folder = PACKAGES["training"] / f"{name}.py", PACKAGES["training"] / name
    paths = sorted(folder.rglob("*.py")) if folder.is_dir() else [single]
    home = f"training.{name}"
    for path in paths:
        names = {n for n in imported(path) if n.partition(".")[0] in OURS}
        near = (home, *BRIDGES.get(name, ()))
        strangers = {n for n in names if n != "training" and not n.startswith(near)}
        assert not strangers, f"{path.relative_to(ROOT)} imports {sorted(strangers)}"


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_heavy_libraries_stay_in_their_own_file_of_runtime(library):
    users = {path.name for path in modules("runtime") if library in tops(path)}
    assert users <= OWNERS[library]


def test_runtime_and_the_core_of_the_node_never_name_the_trainer_s_libraries():
    for path in modules("runtime"):
        assert not tops(path) & set(HEAVY), path
    for path in modules("ezm_runtime"):
        assert not tops(path) & (set(HEAVY) - {"rclpy"}), path


def test_runtime_imports_with_the_trainer_s_libraries_poisoned():
    paths = [path.relative_to(ROOT).with_suffix("") for path in modules("runtime")]
    paths = [path for path in paths if path.name != "__init__" and "faults" not in path.parts]
    names = [".".join(path.parts) for path in paths]  # faults: are the simulator's
    optional = {owner.removesuffix(".py") for files in OWNERS.values() for owner in files}
    # these are the simulator, the H1's double on it, and the bridge to a real one
    optional |= {"lockstep", "fitness", "double_body", "h1_double", "unitree_robot"}
    names = [name for name in names if name.partition(".")[2] not in optional]
    code = "\n".join(
        [
            "import sys, importlib",
            f"for name in {[*HEAVY, *OWNERS]!r}: sys.modules[name] = None",
            f"for name in {names!r}: importlib.import_module(name)",
        ]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_no_module_shadows_a_library_or_the_standard_library(package):
    """`python distill/run.py` puts `distill/` first on the path: `onnx.py` there would win."""
    taken = set(sys.stdlib_module_names) | set(packages_distributions())
    taken |= {"tensorrt", "humanoid_bench", "cyclonedds", "ray", "wandb", "tensorboard", "mcap"}
    taken -= OURS
    for path in PACKAGES[package].iterdir():
        name = path.stem if path.suffix == ".py" else path.name if path.is_dir() else ""
        if name.startswith("__") or not name:
            continue
        assert name not in taken, f"{path.relative_to(ROOT)} shadows the library '{name}'"


@pytest.mark.parametrize("package", ["training", "distill", "reports", "runtime"])
def test_the_doors_define_nothing_but_main(package):
    tree = ast.parse((PACKAGES[package] / "run.py").read_text())
    defined = [n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    assert defined == ["main"]


def tracked_text() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    binary = {".npz", ".onnx", ".safetensors", ".png", ".mp4", ".gif"}
    return [path for path in paths if path.is_file() and path.suffix not in binary]


def test_no_committed_text_names_a_place_on_one_machine_or_edits_the_path():
    place = re.compile(r"/(?:work|root|home/\w+|Users/\w+|tmp/pip)\b/\w")
    path_edit = re.compile(r"sys\.path\.(?:insert|append)|sys\.path *[+\[]")
    for path in tracked_text():
        text = path.read_text(errors="replace")
        found = place.search(text)
        assert not found, f"{path.relative_to(ROOT)}: {found.group() if found else ''}"
        if path.suffix == ".py" and path != Path(__file__):
            assert not path_edit.search(text), f"{path.relative_to(ROOT)} edits sys.path"


def test_no_init_file_makes_the_tests_a_package():
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_nothing_of_ours_pickles():
    for package in PACKAGES:
        for path in modules(package):
            assert not tops(path) & {"pickle", "cloudpickle", "dill", "joblib"}, path


def test_vdot_is_called_on_aligned_arrays_only():
    """numpy 1.26, which ROS's own packages need, crashes in it on what a wire leaves unaligned."""
    allowed = {"state.py": 1, "inside.py": 1}  # after a look at the flags; on a buffer of its own
    for package in ("runtime", "ezm_runtime"):
        for path in modules(package):
            nodes = ast.walk(ast.parse(path.read_text()))
            named = [n for n in nodes if isinstance(n, ast.Attribute) and n.attr == "vdot"]
            assert len(named) == allowed.get(path.name, 0), path
