// Joins the stream to the page: what comes in is shown, what is pressed is asked for.

import { Scene } from "./robot.js";
import * as plots from "./plots.js";

const $ = (id) => document.getElementById(id);
const SECONDS = 20, RATE = 20, PERIOD_US = 20000;  // of history; messages a second; a control tick
const key = new URLSearchParams(location.hash.slice(1)).get("key") ?? "";
const state = { message: null, at: 0, commander: false, chosen: 0, history: [], drawn: null, rest: 0 };
let robot = null, scene = null;

async function ask(path, body) {
  const headers = { "X-Ezm-Key": key, "Content-Type": "application/json" };
  try {
    const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
    const { done, said } = await answer.json();
    if (path !== "key") show(done ? "" : said, true);
    return done;
  } catch (error) {
    show("the view does not answer");
    return false;
  }
}

function build() {
  robot.joints.forEach((name, n) => {
    const row = document.createElement("div");
    row.className = "bar";
    row.title = `${robot.lower[n]} … ${robot.upper[n]} rad, ${robot.torque_limit[n]} Nm`;
    row.innerHTML = "<span></span><canvas></canvas><span></span>";
    row.firstChild.textContent = name;
    row.addEventListener("click", () => { state.chosen = n; });
    $("bars").append(row);
  });
  for (const button of document.querySelectorAll("[data-mode]"))
    button.addEventListener("click", () => ask("mode", { mode: button.dataset.mode }));
  for (const button of document.querySelectorAll(".push"))
    button.addEventListener("click", () => ask("push",
      { angle: Number(button.dataset.angle), newton: Number($("newton").value), seconds: 0.15 }));
  $("heading").addEventListener("change", (e) => ask("command", { heading: (e.target.value * Math.PI) / 180 }));
  $("speed").addEventListener("change", (e) => ask("command", { speed: Number(e.target.value) }));
}

function buttons(loop) {
  const names = loop?.alive ? loop.tasks : [];
  const shown = [...$("tasks").children];
  if (shown.map((b) => b.dataset.task).join() !== names.join()) {
    $("tasks").replaceChildren(...names.map((name) => {
      const button = document.createElement("button");
      button.className = "act";
      button.dataset.task = button.textContent = name;
      button.addEventListener("click", () => ask("command", { task: name }));
      return button;
    }));
  }
  for (const button of $("tasks").children) button.classList.toggle("on", button.dataset.task === loop.task);
}

function controls(m) {
  const loop = m.loop, may = state.commander && Boolean(loop?.alive);
  buttons(loop);
  for (const item of document.querySelectorAll(".act")) item.disabled = !may;
  for (const item of document.querySelectorAll(".push, #newton")) item.disabled = !may || !m.simulated;
  $("heading").disabled = !may || !loop.takes_heading;
  $("speed").disabled = !may || !loop.takes_speed;
  for (const button of document.querySelectorAll("[data-mode]"))
    button.classList.toggle("on", button.dataset.mode === m.mode);
  $("damp").textContent = m.mode === "ESTOP" ? "Reset to damping" : "Damp";
  const slider = (id, value) => { if (document.activeElement !== $(id)) $(id).value = value; };
  if (loop?.alive) {
    slider("heading", (loop.heading * 180) / Math.PI);
    slider("speed", loop.velocity[0]);
  }
  $("heading-out").textContent = loop?.alive && !loop.takes_heading ? "this policy takes none" : `${$("heading").value}°`;
  $("speed-out").textContent = loop?.alive && !loop.takes_speed ? "this policy takes none: its task says how fast"
    : `${Number($("speed").value).toFixed(2)} m/s`;
  $("push-out").textContent = m.simulated ? `${$("newton").value} N for 0.15 s` : "simulation only";
  $("rights").textContent = !loop?.alive ? loop?.reason ?? "" : state.commander ? "" : "watching: open the address with #key= to command";
}

function header(m) {
  $("mode").textContent = m.mode ?? "no robot";
  $("mode").className = `mode ${m.mode ?? ""}`;
  $("task").textContent = m.loop?.alive ? m.loop.task : m.task ?? "…";
  const height = m.base?.[2];
  $("robot").textContent = m.mode ? [m.simulated ? "simulated H1" : "H1",
    m.loop?.alive ? `policy ${m.loop.policy}` : "no policy", m.commander ? "" : "nobody commands",
    `falls ${m.falls}`].filter(Boolean).join(" · ") : "";
  $("reason").textContent = [m.reason, m.fault].filter(Boolean).join(" · ");
  $("hud").textContent = m.mode ? [
    `height ${height?.toFixed(2) ?? "unknown"} m   speed ${m.speed?.toFixed(2) ?? "unknown"} m/s`,
    `reward ${m.reward?.toFixed(3) ?? "–"}   sum ${m.reward_sum?.toFixed(1) ?? "–"}`,
    `robot process: tick ${plots.time(m.tick_us)}, late ${m.late_ticks}, ${m.realtime ? "real-time" : "no real-time priority"}`,
  ].join("\n") : "";
}

function joints(m) {
  const rows = $("bars").children, seen = state.history;
  robot.joints.forEach((name, n) => {
    const past = seen.map((h) => h.q[n]).filter((v) => v !== null);
    plots.bar(rows[n].children[1], { lower: robot.lower[n], upper: robot.upper[n], q: m.q[n], target: m.target[n],
      least: Math.min(...past), most: Math.max(...past), torque: Math.abs(m.tau[n] ?? 0) / robot.torque_limit[n] });
    rows[n].lastChild.textContent = m.q[n]?.toFixed(3) ?? "–";
    rows[n].classList.toggle("on", n === state.chosen);
  });
  const n = state.chosen, { BLUE, ORANGE, GREEN } = plots.COLOURS;
  const row = (colour, label, pick) => ({ colour, name: label, values: seen.map(pick) });
  $("chosen").textContent = robot.joints[n];
  plots.curves($("curve"), "rad", [row(ORANGE, "target", (h) => h.target[n]), row(BLUE, "position", (h) => h.q[n])],
    robot.lower[n], robot.upper[n], SECONDS);
  plots.curves($("torque"), "Nm", [row(GREEN, "torque", (h) => h.tau[n])],
    -robot.torque_limit[n], robot.torque_limit[n], SECONDS);
}

function receive(event) {
  const m = JSON.parse(event.data);
  state.message = m;
  state.at = performance.now();
  if (!m.q) return;
  state.history.push({ q: m.q, target: m.target, tau: m.tau });
  if (state.history.length > SECONDS * RATE) state.history.shift();
}

function frame() {
  const m = state.message, quiet = performance.now() - state.at > 1500;
  const begin = performance.now();
  if (m && m !== state.drawn && begin > state.rest) {
    header(m);
    controls(m);
    plots.latency($("latency"), m.loop, PERIOD_US);
    $("loop").textContent = m.loop?.alive ? `${m.loop.hz.toFixed(1)} Hz · ${m.loop.ticks} ticks · missed ${m.loop.misses} · `
      + `stale ${m.loop.stale} · red line: the period` : "";
    if (m.q) joints(m);
    if (!state.drawn) document.body.dataset.ready = "true";
    state.drawn = m;
    state.rest = performance.now() + 2 * (performance.now() - begin);  // a slow machine draws less often
  }
  if (m?.q && scene) scene.draw(m.base, m.q);
  const stale = quiet || !m?.heard;
  if (stale !== document.body.classList.contains("stale") || !m) {
    document.body.classList.toggle("stale", stale);
    if (stale) show(quiet ? "no word from the view: what you see is old" : "no word from the robot process: what you see is old");
    else if (!$("banner").classList.contains("mild")) show("");
  }
  requestAnimationFrame(frame);
}

async function main() {
  robot = await (await fetch("robot.json")).json();
  build();
  scene = new Scene($("gl"));
  if (!scene.gl) $("hint").textContent = "no WebGL in this browser: figures only";
  scene.load(robot, new Float32Array(await (await fetch("robot.bin")).arrayBuffer()));
  state.commander = Boolean(key) && (await ask("key", {}));
  new EventSource("stream").onmessage = receive;
  window.ezm = { state, scene };
  requestAnimationFrame(frame);
}

main().catch((error) => show(`the page could not start: ${error.message}; the e-stop works all the same`));
