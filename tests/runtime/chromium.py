"""A real Chromium without a screen, driven over its debugging pipe: no driver library needed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = "no Chromium here, so the page was NOT tried in a browser: apt-get install chromium"
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-angle=swiftshader",  # WebGL without a GPU
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def find() -> str | None:
    """Return the browser's path, None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page. `run` evaluates, `click` presses a real mouse button where the element is."""

    def __init__(self, url: str, width: int = 1280, height: int = 1000) -> None:
        self._profile = tempfile.mkdtemp(prefix="ezm-chromium-")
        down, up = os.pipe(), os.pipe()

        def attach() -> None:  # Chromium reads its orders from 3 and answers on 4
            os.dup2(os.dup2(down[0], 100), 3)
            os.dup2(os.dup2(up[1], 101), 4)

        words = (find() or "", *FLAGS, f"--window-size={width},{height}")
        self._process = subprocess.Popen(
            [*words, f"--user-data-dir={self._profile}", "about:blank"],
            preexec_fn=attach,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(down[0])
        os.close(up[1])
        self._orders, self._answers, self._rest = down[1], up[0], b""
        self._count, self._session = 0, ""
        self.errors: list[str] = []  # exceptions and refused loads on the page
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give an order and return its result."""
        self._count += 1
        order: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            order["sessionId"] = self._session
        os.write(self._orders, json.dumps(order).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._answers, 1 << 20)
            assert data, "Chromium has gone"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(line)
        method, given = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(given)[:600])
        if method == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.errors.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
        return message

    def run(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; promises are awaited."""
        given = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        result = self.call("Runtime.evaluate", **given)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str, timeout: float = 90.0) -> Any:
        """Return the expression's value once it is true."""
        deadline = time.monotonic() + timeout
        safely = f"(() => {{ try {{ return {expression}; }} catch {{ return null; }} }})()"
        while not (value := self.run(safely)):
            assert time.monotonic() < deadline, f"never true: {expression}; {self.errors}"
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
