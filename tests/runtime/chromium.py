"""A real Chromium without a screen, driven over its debugging pipe: no driver library needed."""

from __future__ import annotations

import base64
import functools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = "no Chromium here, so the page was NOT tried in a browser: apt-get install chromium"
PATIENCE = 180.0  # s for anything a browser does on a busy machine; a pass never waits for it
STARTS = 3  # a Chromium that dies or says nothing at its start is started anew
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",  # 64 MB in a container
    "--use-angle=swiftshader",  # WebGL without a GPU
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


@functools.cache
def find() -> str | None:
    """Return the browser's path, None if there is none; Ubuntu's stub without its snap is none."""
    for path in filter(None, map(shutil.which, NAMES)):
        try:
            done = subprocess.run([path, "--version"], capture_output=True, timeout=PATIENCE)
        except OSError:
            continue
        if done.returncode == 0 and b"Chrom" in done.stdout:
            return path
    return None


class ChromiumError(RuntimeError):
    """Chromium has ended, or has said nothing for `PATIENCE` seconds."""


class Browser:
    """One page. `run` evaluates, `click` presses a real mouse button where the element is."""

    def __init__(self, url: str, width: int = 1280, height: int = 1000) -> None:
        for tries in range(1, STARTS + 1):
            self._start(width, height)
            try:
                self._attach()
                break
            except ChromiumError:
                self.close()
                if tries == STARTS:
                    raise
        self.call("Page.navigate", url=url)

    def _start(self, width: int, height: int) -> None:
        """Start a Chromium of our own, with a profile of its own."""
        self._profile = tempfile.mkdtemp(prefix="ezm-chromium-")
        down, up = os.pipe(), os.pipe()

        def attach() -> None:  # Chromium reads its orders from 3 and answers on 4
            os.dup2(os.dup2(down[0], 100), 3)
            os.dup2(os.dup2(up[1], 101), 4)

        words = (find() or "", *FLAGS, f"--window-size={width},{height}")
        self._log = Path(self._profile, "stderr")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*words, f"--user-data-dir={self._profile}", "about:blank"],
                preexec_fn=attach,
                close_fds=False,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        os.close(down[0])
        os.close(up[1])
        self._orders, self._answers, self._rest = down[1], up[0], b""
        self._count, self._session = 0, ""
        self.errors: list[str] = []  # exceptions and refused loads on the page

    def _attach(self) -> None:
        """Wait for the first page, which may come later than the first answer."""
        deadline = time.monotonic() + PATIENCE
        pages: list[str] = []
        while not pages:
            if time.monotonic() > deadline:
                raise ChromiumError("Chromium opened no page")
            targets = self.call("Target.getTargets")["targetInfos"]
            pages = [target["targetId"] for target in targets if target["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=pages[0], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give an order and return its result."""
        self._count += 1
        order: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            order["sessionId"] = self._session
        try:
            os.write(self._orders, json.dumps(order).encode() + b"\0")
        except BrokenPipeError:
            raise ChromiumError(self._story(method)) from None
        while True:
            answer = self._next(method)
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _story(self, method: str) -> str:
        """Return what is known of a browser that does not answer."""
        said = self._log.read_bytes()[-1500:].decode(errors="replace")
        return f"no answer to {method}; exit code {self._process.poll()}; it said: {said}"

    def _next(self, method: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], PATIENCE)
            data = os.read(self._answers, 1 << 20) if ready else b""
            if not data:
                raise ChromiumError(self._story(method))
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(line)
        kind, given = message.get("method"), message.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(given)[:600])
        if kind == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.errors.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
        return message

    def run(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; promises are awaited."""
        given = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        result = self.call("Runtime.evaluate", **given)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str, timeout: float = PATIENCE) -> Any:
        """Return the expression's value once it is true."""
        deadline = time.monotonic() + timeout
        safely = f"(() => {{ try {{ return {expression}; }} catch {{ return null; }} }})()"
        while not (value := self.run(safely)):
            assert time.monotonic() < deadline, (
                f"not true within {timeout} s: {expression}; page errors: {self.errors}; "
                f"the page says: {self.run('document.body.innerText')[:600]!r}"
            )
            time.sleep(0.05)
        return value

    def click(self, selector: str) -> None:
        """Press and release the left button at the middle of an element, whatever lies there."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({selector!r}); "
            "if (!e || e.disabled) throw Error('not there, or disabled'); "
            "e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect(); "
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            place = {"x": box[0], "y": box[1], "button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, **place)

    def press(self, key: str, code: str) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=code)

    def screenshot(self, path: Path) -> None:
        """Write what the page looks like now as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        """End the browser."""
        self._process.kill()
        self._process.wait()
        os.close(self._orders)
        os.close(self._answers)
        shutil.rmtree(self._profile, ignore_errors=True)
