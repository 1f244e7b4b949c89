"""The other search that `training/bench.py` times beside ours: mctx, in a Python of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.agent import build_model
from training.bench_table import CLOCKS, Rate
from training.cli import ConfigError, to_dict
from training.config import TrainConfig

PEER = Path(__file__).parents[1] / "tools" / "mctx_peer.py"


@dataclass(frozen=True)
class Peer:
    """What mctx did, and which."""

    rate: Rate  # roots per second
    versions: dict[str, str]  # of mctx and jax


def check(python: str) -> None:
    """Refuse a path or name of a program that does not exist, before anything is measured.

    Raises:
        ConfigError: there is no such program.
    """
    if shutil.which(python) is None:
        raise ConfigError(
            f"peer={python!r} is no program; expected the python of an environment with mctx"
        )


def peer_rate(python: str, config: TrainConfig, roots: int, rounds: int) -> Peer:
    """Let mctx search in a process of its own: same sizes, roots, simulations and candidates.

    Raises:
        ConfigError: `python` is not one, has no mctx, or answers something else than rates.
    """
    model = build_model(config)
    question = {
        "config": to_dict(config), "roots": roots, "rounds": rounds,
        "observation": len(model.obs_norm.mean), "action": model.action_mask.shape[1],
    }  # fmt: skip
    try:
        answer = subprocess.run(
            [python, str(PEER), json.dumps(question)], capture_output=True, text=True, check=True
        )
    except OSError as error:
        raise ConfigError(f"peer={python!r}: {error}") from None
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:] or ["no word"]
        raise ConfigError(f"peer={python!r} could not run mctx: {last[0]}") from None
    return _read(python, answer.stdout)


def compared(search: Rate, peer: Peer, clock: str) -> dict[str, Any]:
    """Return how many times as fast `search` is, by one of CLOCKS, and as what."""
    at = CLOCKS.index(clock)
    return {"times_mctx": search[at] / peer.rate[at], "mctx_versions": peer.versions}


def show(table: Mapping[str, Any], config: TrainConfig) -> None:
    """Print the comparison; say where it is not one of like with like."""
    versions = table["mctx_versions"]
    print(f"search: {table['times_mctx']:.2f} times as fast as mctx {versions['mctx']} "
          f"(jax {versions['jax']}, float32, on the CPU)")  # fmt: skip
    if config.device != "cpu" or config.precision != "float32":
        print(f"NOT ALIKE: ours ran in {config.precision} on {config.device}", file=sys.stderr)


def _read(python: str, output: str) -> Peer:
    """Return what the last line of the peer's output says."""
    last = "".join(output.strip().splitlines()[-1:])
    try:
        said: dict[str, Any] = json.loads(last)
        rate = float(said["per_s"]), float(said["per_cpu_s"])
        return Peer(rate, {name: str(said[name]) for name in ("mctx", "jax")})
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"peer={python!r} ends in {last!r}, not in rates as JSON") from None
