"""Pictures of the tasks: files that others can read, of every task, not one colour."""

import struct
import zlib
from pathlib import Path

import numpy as np

from training.pictures import png
from training.tasks import TASKS

FOLDER = Path(__file__).parents[2] / "docs" / "tasks"


def decode(data):
    """Read a PNG of one data chunk without row filters, independently of its writer."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT") + 4
    (size,) = struct.unpack(">I", data[start - 8 : start - 4])
    assert zlib.crc32(data[start - 4 : start + size]) == struct.unpack(
        ">I", data[start + size : start + size + 4]
    )[0]  # fmt: skip
    rows = np.frombuffer(zlib.decompress(data[start : start + size]), np.uint8)
    return rows.reshape(height, 1 + 3 * width)[:, 1:].reshape(height, width, 3)


def test_an_image_survives_its_file():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(decode(png(image)), image)


def test_every_task_has_a_picture_with_something_in_it_and_they_stay_small():
    files = {path.stem: path for path in FOLDER.glob("*.png")}
    assert set(files) == set(TASKS)
    assert sum(path.stat().st_size for path in files.values()) < 1_000_000
    for path in files.values():
        assert decode(path.read_bytes()).std() > 10
