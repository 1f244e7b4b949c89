"""Start the robot process as a child, and end it properly. Knows no ROS and no policy."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path


class RobotProcess:
    """A robot process of our own: `python -m runtime.server`, on a private ipc endpoint.

    It has its own process group, so that Ctrl-C reaches the parent first, which then stops it; and
    it ends by itself, damping, when this process is gone.
    """

    def __init__(self, robot: str = "mujoco", *words: str, endpoint: str = "") -> None:
        self._directory = "" if endpoint else tempfile.mkdtemp(prefix="ezm-")
        self.endpoint = endpoint or f"ipc://{self._directory}/h1"
        command = [sys.executable, "-m", "runtime.server", f"robot={robot}"]
        command += [f"endpoint={self.endpoint}", f"parent={os.getpid()}", *words]
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 lives as long as the process
        self._process = subprocess.Popen(command, start_new_session=True, stderr=self._stderr)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Return True while the process runs."""
        return self._process.poll() is None

    def complaint(self) -> str:
        """Return what the process has written to stderr, the end of it."""
        self._stderr.seek(0)
        return self._stderr.read().decode("utf-8", "replace").strip()[-2000:]

    def stop(self, timeout: float = 10.0) -> int:
        """Ask the process to damp and end; return its exit code. Kills it after `timeout` s."""
        if self.alive():
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)
        return self._process.returncode

    def __enter__(self) -> RobotProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def endpoint_in(directory: Path) -> str:
    """Return the ipc endpoint of a robot process whose sockets lie in `directory`."""
    return f"ipc://{directory}/h1"
