"""CURVE keys for a wire that leaves the machine: `python -m runtime.keys dir=keys`.

The directory holds a pair for the robot process and one for its clients; copy it to both machines.
The server lets in only clients whose public key lies there.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
import zmq.auth

from runtime.cli import parse_or_exit

SERVER, CLIENT = "robot", "commander"


class KeyFileError(RuntimeError):
    """A key file is missing."""


@dataclass(frozen=True)
class KeysConfig:
    """Where to put the keys."""

    dir: str = "keys"  # folder of the keys


def make(directory: Path) -> None:
    """Write both pairs, readable by the owner alone; existing keys are kept."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in (SERVER, CLIENT):
        if not (directory / f"{name}.key_secret").exists():
            zmq.auth.create_certificates(str(directory), name)
        (directory / f"{name}.key_secret").chmod(0o600)


def secure_server(socket: zmq.Socket, directory: Path) -> None:
    """Make a socket speak CURVE as the robot process."""
    socket.curve_publickey, socket.curve_secretkey = _pair(directory, SERVER)
    socket.curve_server = True


def secure_client(socket: zmq.Socket, directory: Path) -> None:
    """Make a socket speak CURVE as a client of the robot process."""
    socket.curve_publickey, socket.curve_secretkey = _pair(directory, CLIENT)
    socket.curve_serverkey = zmq.auth.load_certificate(_file(directory, f"{SERVER}.key"))[0]


def authenticator(context: zmq.Context, directory: Path) -> Any:
    """Start the thread that lets in the clients whose keys lie in the directory."""
    from zmq.auth.thread import ThreadAuthenticator

    _file(directory, f"{CLIENT}.key")
    auth = ThreadAuthenticator(context)
    auth.start()
    auth.configure_curve(domain="*", location=str(directory))
    return auth


def _pair(directory: Path, name: str) -> tuple[bytes, bytes | None]:
    return zmq.auth.load_certificate(_file(directory, f"{name}.key_secret"))


def _file(directory: Path, name: str) -> str:
    path = directory / name
    if not path.is_file():
        raise KeyFileError(f"key file {path} is missing; `python -m runtime.keys dir={directory}`")
    return str(path)


def main() -> None:
    """Make the keys."""
    config = parse_or_exit(KeysConfig(), sys.argv[1:], "runtime.keys", __doc__ or "")
    make(Path(config.dir))
    print(f"keys for robot process and clients are in {config.dir}")


if __name__ == "__main__":
    main()
