"""No module of ours can read or write a pickle."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = sorted(
    path
    for folder in ("training", "distill", "runtime", "ros2_ws/src", "tools")
    for path in (ROOT / folder).rglob("*.py")
)
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def names(tree):
    """Yield dotted names of imports and of attribute calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def test_there_are_modules_to_look_at():
    assert len(OURS) > 30


@pytest.mark.parametrize("path", OURS, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_knows_no_pickle(path):
    tree = ast.parse(path.read_text())
    used = set(names(tree))
    assert not {name for name in used if name.split(".")[0] in MODULES}
    assert not used & {"torch.load", "torch.save"}
    allowed = [n for n in ast.walk(tree) if isinstance(n, ast.keyword) and n.arg == "allow_pickle"]
    assert all(isinstance(k.value, ast.Constant) and k.value.value is False for k in allowed)
