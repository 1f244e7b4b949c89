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
        assert type(value) is type(PARAMETERS[name][0]), name


def test_every_parameter_that_a_line_sets_exists_with_its_type(tmp_path):
    options = describe.Options(keys="keys")
    line = describe.describe("mujoco", options, folder=tmp_path, parent=1)
    for name, value in line.node_parameters.items():
        assert type(value) is type(PARAMETERS[name][0]), name


@pytest.mark.parametrize("name", ["policy_node", "bringup"])
def test_entry_points_exist(name):
    assert f"{name} = {{PACKAGE}}.{name}:main" in (PACKAGE / "setup.py").read_text()
    assert callable(import_module(f"ezm_runtime.{name}").main)
