"""The same Python package as the `ezm` distribution carries, laid out as ROS 2 tools expect it.

`runtime` itself comes from the `ezm` distribution (`pip install -e .` at the repository's top).
"""

from glob import glob

from setuptools import setup

PACKAGE = "ezm_runtime"

setup(
    name=PACKAGE,
    version="0.1.0",
    packages=[PACKAGE],
    package_data={PACKAGE: ["*.xml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/launch", glob("launch/*.launch.py")),
        (f"share/{PACKAGE}/config", glob("config/*.yaml")),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    maintainer="The ezm authors",
    maintainer_email="ezm@example.org",
    description="Runs a distilled ezm policy on a Unitree H1 through ROS 2",
    license="MIT",
    entry_points={
        "console_scripts": [
            f"policy_node = {PACKAGE}.policy_node:main",
            f"bringup = {PACKAGE}.bringup:main",
        ]
    },
)
