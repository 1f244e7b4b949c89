"""Reading other people's data sets: .npz, HDF5 (D4RL's and Minari's), and Minari by its package.

Knows neither tasks nor what the arrays should hold: `training/convert.py` does. The packages h5py
and minari are imported where they are needed; they are the extra `convert`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from training.cli import ConfigError

Arrays = Mapping[str, Any]


def open_dataset(dataset: str) -> Iterator[tuple[str, Arrays]]:
    """Yield what to call a group of arrays in errors, and the arrays by name.

    Raises:
        ConfigError: there is no such data set, it cannot be read, or a package is missing.
    """
    path = Path(dataset)
    if path.suffix in _READERS:
        try:
            yield from _READERS[path.suffix](path)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"dataset={dataset} cannot be read: {error}") from None
    else:
        yield from _minari(dataset)


def _npz(path: Path) -> Iterator[tuple[str, Arrays]]:
    with np.load(path, allow_pickle=False) as file:
        yield f"dataset={path}", {name: file[name] for name in file.files}


def _hdf5(path: Path) -> Iterator[tuple[str, Arrays]]:
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise ConfigError(
            f"dataset={path} needs the package h5py: pip install h5py; a .npz needs nothing more"
        ) from None
    with h5py.File(path, "r") as file:
        names = [str(name) for name in file]
        numbers = [name.removeprefix("episode_") for name in names if name.startswith("episode_")]
        if not numbers:
            yield f"dataset={path}", _arrays_of(file)
        for number in sorted(numbers, key=lambda text: (len(text), text)):
            name = f"episode_{number}"
            yield f"dataset={path}, {name}", _arrays_of(file[name])


def _arrays_of(group: Any) -> Arrays:
    """Return an HDF5 group's arrays; a group among them (infos, dict observations) as a dict."""
    return {
        name: item[()] if hasattr(item, "shape") else dict(item) for name, item in group.items()
    }


_READERS: dict[str, Callable[[Path], Iterator[tuple[str, Arrays]]]] = {
    ".npz": _npz,
    ".hdf5": _hdf5,
    ".h5": _hdf5,
}


def _minari(dataset: str) -> Iterator[tuple[str, Arrays]]:
    """Yield the episodes of a Minari data set: its folder, or its id on this machine."""
    try:
        import minari  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"dataset={dataset} is no .npz or .hdf5 file, and a Minari data set needs the package "
            f"minari ({error.name} is missing): pip install 'minari[hdf5]'"
        ) from None
    folder = Path(dataset)
    try:
        if folder.is_dir():
            data = folder / "data" if (folder / "data").is_dir() else folder
            found = minari.MinariDataset(data)
        else:
            found = minari.load_dataset(dataset)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ConfigError(
            f"dataset={dataset} is no file, no folder and no Minari id on this machine "
            f"(minari list local; minari download ID): {error}"
        ) from None
    fields = ("observations", "actions", "rewards", "terminations", "truncations")
    for episode in found.iterate_episodes():
        arrays = {name: getattr(episode, name) for name in fields}
        yield f"dataset={dataset}, episode {episode.id}", arrays
