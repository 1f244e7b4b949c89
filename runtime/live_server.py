"""The live view's web server: files, the stream, and what a page may ask. Standard library only.

Everybody on the machine may look and press the e-stop; anything else needs the key that the view
printed when it started. Requests that another web site makes a browser send are refused: by Host
(DNS rebinding) and by Origin.
"""

from __future__ import annotations

import functools
import hmac
import json
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from runtime import shape
from runtime.live_feed import Feed

PAGE = Path(__file__).with_name("page")
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
POLICY = (  # what the page may load, and who may frame it
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
ROBOT = ("/robot.json", "/robot.bin")
LONGEST_BODY = 4096  # bytes
MOST_PAGES = 16  # streams at once
Answer = tuple[bool, str]
Action = Callable[[dict[str, Any]], Answer]


class LiveServer(ThreadingHTTPServer):
    """Serves pages; `actions` by path, those in `open_to_all` without the key."""

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        feed: Feed,
        actions: dict[str, Action],
        *,
        key: str,
        open_to_all: frozenset[str] = frozenset({"/estop"}),
    ) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, Handler)
        self.feed, self.files, self.actions = feed, page_files(), actions
        self.key, self.open_to_all = key, open_to_all
        self.pages = threading.BoundedSemaphore(MOST_PAGES)
        port, host = self.server_address[1], address[0]
        names = {"localhost", "127.0.0.1", "[::1]", f"[{host}]" if ":" in host else host}
        self.hosts = {f"{name}:{port}" for name in names}
        self.any_host = host in ("0.0.0.0", "::")  # bound to every name: the name proves nothing

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that closes in the middle is no error."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: LiveServer  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = 10.0  # s for a client that stalls
    server_version, sys_version = "ezm", ""

    def do_GET(self) -> None:
        """Send a file, or the stream."""
        path = self.path.partition("?")[0]
        if not self._from_here():
            return
        if path == "/stream":
            self._stream()
        elif path in self.server.files or path in ROBOT:
            kind, data = robot_file(path) if path in ROBOT else self.server.files[path]
            self._send(HTTPStatus.OK, kind, data)
        else:
            self._say(HTTPStatus.NOT_FOUND, False, f"no {path}; there are {self._places()}")

    def do_POST(self) -> None:
        """Do what is asked, if it may be."""
        if not self._from_here():
            return
        action = self.server.actions.get(self.path)
        if action is None:
            self._say(HTTPStatus.NOT_FOUND, False, f"no {self.path}; there are {self._places()}")
        elif self.path not in self.server.open_to_all and not self._has_key():
            said = "this page only looks: it was opened without the key that the view printed"
            self._say(HTTPStatus.FORBIDDEN, False, said)
        else:
            body = self._body()
            if body is not None:
                self._act(action, body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing about each request."""

    def _act(self, action: Action, body: dict[str, Any]) -> None:
        try:
            done, said = action(body)
        except (KeyError, TypeError, ValueError) as error:
            problem = f"{self.path}: {type(error).__name__} {error}; given {json.dumps(body)[:200]}"
            self._say(HTTPStatus.BAD_REQUEST, False, problem)
            return
        self._say(HTTPStatus.OK if done else HTTPStatus.CONFLICT, done, said)

    def _from_here(self) -> bool:
        """True if the browser was sent here by ourselves, not by another site."""
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        ours = host in self.server.hosts or self.server.any_host
        if ours and origin in (None, f"http://{host}"):
            return True
        self._say(HTTPStatus.FORBIDDEN, False, f"asked for Host '{host}' by Origin '{origin}'")
        return False

    def _has_key(self) -> bool:
        given = self.headers.get("X-Ezm-Key", "")
        return bool(self.server.key) and hmac.compare_digest(
            given.encode(), self.server.key.encode()
        )

    def _body(self) -> dict[str, Any] | None:
        """Return the JSON object that was sent, an empty one for none; None after a refusal."""
        length = self.headers.get("Content-Length") or "0"
        if not length.isdecimal() or int(length) > LONGEST_BODY:
            self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, False, f"a body of {length} bytes")
            return None
        data = self.rfile.read(int(length))
        if self.path in self.server.open_to_all:
            return {}  # the stop does not depend on what was written beside it
        try:
            body = json.loads(data or b"{}")
        except ValueError:
            body = None
        if not isinstance(body, dict):
            self._say(HTTPStatus.BAD_REQUEST, False, f"expected a JSON object, got {data[:80]!r}")
            return None
        return body

    def _stream(self) -> None:
        """Send messages (server-sent events) until the page goes."""
        if not self.server.pages.acquire(blocking=False):
            said = f"{MOST_PAGES} pages look already"
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, False, said)
            return
        try:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            number, feed = 0, self.server.feed
            while not feed.stopped:
                number, data = feed.next(number, 1.0)
                self.wfile.write(b"data: " + data + b"\n\n")
        except OSError:  # the page has gone
            pass
        finally:
            self.server.pages.release()

    def _places(self) -> list[str]:
        return sorted([*ROBOT, *self.server.files, *self.server.actions, "/stream"])

    def _say(self, status: HTTPStatus, done: bool, text: str) -> None:
        data = json.dumps({"done": done, "said": text}).encode()
        self._send(status, "application/json", data)

    def _send(self, status: HTTPStatus, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(data)


@functools.cache
def _robot() -> tuple[bytes, bytes]:
    links = shape.bodies()  # takes a second
    triangles = np.concatenate([body.vertices for body in links]).astype("<f4").tobytes()
    return json.dumps(shape.description(links)).encode(), triangles


_ROBOT_LOCK = threading.Lock()


def robot_file(path: str) -> tuple[str, bytes]:
    """Return what the robot is, or its triangles [V, 9] float32; made when first asked for."""
    with _ROBOT_LOCK:
        description, triangles = _robot()
    if path == "/robot.json":
        return "application/json", description
    return "application/octet-stream", triangles


def page_files() -> dict[str, tuple[str, bytes]]:
    """Return the page's files by path, with their kinds."""
    found = {
        f"/{path.name}": (f"{KINDS[path.suffix]}; charset=utf-8", path.read_bytes())
        for path in sorted(PAGE.iterdir())
        if path.suffix in KINDS
    }
    found["/"] = found["/index.html"]
    return found
