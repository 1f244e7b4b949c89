"""The live view as a person meets it: a real Chromium, a real robot process, a real policy."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import h1
from runtime.command_link import CommandClient
from runtime.link import RobotClient
from runtime.modes import Mode
from runtime.policy import load_policy

ROOT = Path(__file__).parents[2]
_SPEC = spec_from_file_location("ezm_chromium", Path(__file__).with_name("chromium.py"))
assert _SPEC is not None and _SPEC.loader is not None
chromium = module_from_spec(_SPEC)
_SPEC.loader.exec_module(chromium)

pytestmark = pytest.mark.skipif(chromium.find() is None, reason=chromium.MISSING)
TASKS = load_policy("models/h1/policy.onnx").spec.tasks
NAMED = "[...document.querySelectorAll('[data-task]')].map((e) => e.dataset.task).join()"
BUTTONS = f"{NAMED} === '{','.join(TASKS)}'"
PATIENCE = 120.0  # s for what a busy machine does late; a pass never waits for it
SHOTS = os.environ.get("EZM_SCREENSHOTS", "")  # a folder, to renew the pictures in docs/


def text(selector: str) -> str:
    return f"document.querySelector('{selector}').textContent"


class Scene:
    """One run with its page open."""

    def __init__(self, endpoint: str, wait_until: Callable[..., bool]) -> None:
        self.wait_until = wait_until
        words = ["duration=600", "status=false", "view=browser", f"endpoint={endpoint}"]
        self.run = subprocess.Popen(
            [sys.executable, "runtime/run.py", *words], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self.robot = RobotClient(endpoint, "test")
        assert self.run.stdout is not None
        line = self.run.stdout.readline()
        found = re.match(r"live view: (\S+#key=\S+)", line)
        assert found, line
        self.url = found.group(1)

    def mode_is(self, mode: Mode, timeout: float = PATIENCE) -> bool:
        return self.wait_until(lambda: self.robot.wait(60.0).mode is mode, timeout)

    def in_policy(self) -> bool:
        """Reset an ESTOP that a test left, ask for POLICY, and again: a late wish is void."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.mode_is(Mode.POLICY, 10.0):
                return True
            wishes = CommandClient(self.robot.endpoint)
            if self.robot.wait(60.0).mode is Mode.ESTOP:
                wishes.request_mode(Mode.DAMPING)
            wishes.request_mode(Mode.POLICY)
            wishes.close()
        return False

    def press(self, browser: Any, selector: str, fact: Callable[[], Any]) -> None:
        """Click until it is so, as a person would: a wish that a busy machine delays is void."""
        for _ in range(6):
            browser.click(selector)
            if self.wait_until(fact, 15.0):
                return
        now = self.robot.wait(60.0)
        raise AssertionError(
            f"{selector}: {now.mode.name}, on the way to {now.goal.name}, task {now.task}, "
            f"{now.reason} {now.fault}; the page says: {browser.run(text('#banner'))}"
        )

    def press_mode(self, browser: Any, selector: str, mode: Mode) -> None:
        """Click until the robot process is in that mode."""
        self.press(browser, selector, lambda: self.robot.wait(60.0).mode is mode)

    def close(self) -> str:
        self.robot.close()
        self.run.terminate()
        out, _ = self.run.communicate(timeout=120)
        return out


@pytest.fixture(scope="module")
def scene(tmp_path_factory, wait_until) -> Iterator[Scene]:
    made = Scene(f"ipc://{tmp_path_factory.mktemp('live')}/h1", wait_until)
    yield made
    made.close()


@pytest.fixture
def browser(scene) -> Iterator[Any]:
    assert scene.in_policy()
    page = chromium.Browser(scene.url)
    page.wait("document.body.dataset.ready")
    yield page
    page.close()


def shoot(browser: Any, name: str) -> None:
    if SHOTS:
        time.sleep(2.0)
        browser.screenshot(Path(SHOTS) / f"{name}.png")


def test_a_person_looks_changes_the_task_stops_the_robot_and_starts_it_again(scene, browser):
    browser.wait(f"{text('#mode')} === 'POLICY'")
    browser.wait(BUTTONS)
    assert browser.run(text("#task")) == "stand"
    time.sleep(5.0 if SHOTS else 0.5)
    shoot(browser, "live_stand")

    scene.press(browser, "[data-task=walk]", lambda: scene.robot.wait(60.0).task == "walk")
    browser.wait(f"{text('#task')} === 'walk'")
    scene.press(browser, "[data-task=stand]", lambda: scene.robot.wait(60.0).task == "stand")

    browser.click("#estop")
    assert scene.mode_is(Mode.ESTOP)
    browser.wait(f"{text('#mode')} === 'ESTOP'")
    confirmed = "document.querySelector('#estop').dataset.confirmed"
    browser.wait(f"{confirmed} !== undefined")  # the mode may be seen before the answer
    assert browser.run(confirmed) == "true"
    assert np.abs(scene.robot.wait(60.0).state.joint_torque).max() < 45.0, "damping, nothing stiff"
    shoot(browser, "live_estop")

    browser.click("[data-mode=POLICY]")  # latched: not without a reset
    browser.wait(f"{text('#banner')}.includes('cannot follow ESTOP')")
    assert scene.robot.wait(60.0).mode is Mode.ESTOP
    assert browser.run(text("#damp")) == "Reset to damping"
    scene.press_mode(browser, "#damp", Mode.DAMPING)
    scene.press_mode(browser, "[data-mode=POLICY]", Mode.POLICY)
    refused = [error for error in browser.errors if "409 (Conflict)" in error]
    assert browser.errors == refused and refused, "the refusal above, and nothing else"


def test_the_space_bar_stops_the_robot_wherever_the_focus_is(scene, browser):
    browser.run("document.querySelector('[data-mode=POLICY]').focus()")
    browser.press(" ", "Space")
    assert scene.mode_is(Mode.ESTOP)
    time.sleep(0.5)
    assert scene.robot.wait(60.0).mode is Mode.ESTOP, "and did not press the focused button"
    browser.wait(f"{text('#damp')} === 'Reset to damping'")
    scene.press_mode(browser, "#damp", Mode.DAMPING)
    scene.press_mode(browser, "[data-mode=POLICY]", Mode.POLICY)


def test_the_e_stop_is_on_top_at_every_place_of_the_page_and_on_a_narrow_screen(browser):
    on_top = (
        "(() => { const e = document.querySelector('#estop'), r = e.getBoundingClientRect(); "
        "return r.top >= 0 && r.right <= innerWidth && r.bottom <= innerHeight && "
        "document.elementFromPoint(r.x + r.width / 2, r.y + r.height / 2) === e; })()"
    )
    assert browser.run(on_top)
    browser.run("scrollTo(0, document.body.scrollHeight)")
    assert browser.run("scrollY > 0") and browser.run(on_top)
    size = {"width": 390, "height": 700, "deviceScaleFactor": 1, "mobile": True}
    browser.call("Emulation.setDeviceMetricsOverride", **size)
    assert browser.run(on_top)
    shoot(browser, "live_narrow")


def test_a_push_pushes_and_the_heading_slider_reaches_the_loop(scene, browser):
    def speed() -> float:
        return float(np.linalg.norm(scene.robot.wait(60.0).state.base_linear_velocity[:2]))

    browser.run("document.querySelector('#newton').value = 600")
    browser.wait("!document.querySelector('.push').disabled")
    scene.press(browser, ".push", lambda: speed() > 0.8)  # 600 N for 0.15 s on 51 kg: 1.7 m/s
    slide = (
        "(() => { const e = document.querySelector('#heading'); e.value = 90; "
        "e.dispatchEvent(new Event('change')); return true; })()"
    )
    assert browser.run(slide)
    browser.wait("Math.abs(ezm.state.message.loop.heading - Math.PI / 2) < 1e-3")
    assert browser.run("document.querySelector('#speed').disabled"), "no block 'velocity'"


def test_the_drawn_robot_is_where_mujoco_puts_it(scene, browser):
    mujoco = pytest.importorskip("mujoco")
    model = mujoco.MjModel.from_xml_path(str(h1.XML_PATH))
    data = mujoco.MjData(model)
    drawn = browser.run(
        "(() => { const m = ezm.state.message; ezm.scene.draw(m.base, m.q); return {base: m.base, "
        "q: m.q, world: ezm.scene.world.map((w) => [...w])}; })()"
    )
    data.qpos[:] = [*drawn["base"], *drawn["q"]]
    mujoco.mj_kinematics(model, data)
    names = browser.run("ezm.scene.robot.bodies.map((b) => b.name)")
    for name, world in zip(names, drawn["world"], strict=True):
        body = data.body(name)
        matrix = np.array(world).reshape(4, 4).T
        np.testing.assert_allclose(matrix[:3, 3], body.xpos, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(matrix[:3, :3], body.xmat.reshape(3, 3), atol=1e-3)


def test_without_the_key_every_control_but_the_e_stop_is_dead(scene):
    page = chromium.Browser(scene.url.partition("#")[0])
    try:
        page.wait("document.body.dataset.ready")
        page.wait(BUTTONS)
        assert page.run("[...document.querySelectorAll('.act')].every((e) => e.disabled)")
        assert "watching" in page.run(text("#rights"))
        assert not page.run("document.querySelector('#estop').disabled")
        shoot(page, "live_watching")
    finally:
        page.close()


def test_when_the_run_ends_the_page_says_that_what_it_shows_is_old(tmp_path, wait_until):
    made = Scene(f"ipc://{tmp_path}/h1", wait_until)
    page = chromium.Browser(made.url)
    try:
        page.wait("document.body.dataset.ready")
        made.close()
        page.wait(f"document.body.classList.contains('stale') && {text('#banner')}")
        page.click("#estop")
        page.wait(f"{text('#banner')}.includes('NOT CONFIRMED')")
        assert "hardware stop" in page.run(text("#banner"))
    finally:
        page.close()
