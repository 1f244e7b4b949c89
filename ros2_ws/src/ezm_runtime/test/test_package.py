"""What colcon installs is what the code expects: launch files, parameters, entry points."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("yaml")
pytest.importorskip("rclpy", reason="the ROS wheels are not installed")

import yaml

from ezm_runtime import describe
from ezm_runtime.parameters import PARAMETERS

PACKAGE = Path(__file__).resolve().parents[1]


def setup_words() -> dict[str, object]:
    """Return the keyword arguments of setup() that are literals."""
    tree = ast.parse((PACKAGE / "setup.py").read_text())
    call = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup"
    )
    return {
        item.arg: item.value.value
        for item in call.keywords
        if item.arg and isinstance(item.value, ast.Constant)
    }


def test_package_xml_and_setup_py_agree():
    root = ElementTree.parse(PACKAGE / "package.xml").getroot()
    assert root.findtext("name") == describe.PACKAGE
    assert root.findtext("version") == setup_words()["version"]
    assert root.findtext("license") == setup_words()["license"]
    assert (PACKAGE / "resource" / describe.PACKAGE).is_file()


def test_every_configured_parameter_exists_with_its_type():
    text = (describe.share() / "config" / "h1.yaml").read_text()
    values = yaml.safe_load(text)["/**"]["ros__parameters"]
    for name, value in values.items():
        assert type(value) is type(PARAMETERS[name].default), name


def test_every_parameter_that_a_line_sets_exists_with_its_type(tmp_path):
    options = describe.Options(keys="keys")
    line = describe.describe("mujoco", options, folder=tmp_path, parent=1)
    for name, value in line.node_parameters.items():
        assert type(value) is type(PARAMETERS[name].default), name


@pytest.mark.parametrize("name", ["policy_node", "bringup"])
def test_entry_points_exist(name):
    assert f"{name} = {{PACKAGE}}.{name}:main" in (PACKAGE / "setup.py").read_text()
    assert callable(import_module(f"ezm_runtime.{name}").main)


def test_every_ros_package_that_the_node_imports_is_declared_and_among_the_wheels():
    declared = {
        item.text for item in ElementTree.parse(PACKAGE / "package.xml").iter("exec_depend")
    }
    pins = (PACKAGE.parents[1] / "constraints_jazzy.txt").read_text()
    imported: set[str] = set()
    for path in (PACKAGE / "ezm_runtime").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    for name in imported:
        if name == "rclpy" or name.endswith(("_msgs", "_srvs", "_interfaces")):
            assert name in declared, f"package.xml: {name}"
            assert f"\nros-{name.replace('_', '-')}==" in pins, f"constraints: {name}"
