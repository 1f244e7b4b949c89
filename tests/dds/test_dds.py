"""Everything that touches CycloneDDS runs in a pytest of its own: it must not meet ROS's DDS.

python -m pytest tests/dds/dds_chain.py -x        # one of them, directly
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("dds_*.py"))

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("cyclonedds") is None,
    reason="NOT TESTED HERE: the bridge to a real H1 and its double need CycloneDDS 0.10 "
    "(tools/make_cyclonedds.sh .venv)",
)


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_in_a_process_of_its_own(file):
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
