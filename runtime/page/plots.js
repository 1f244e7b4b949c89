// Plain canvases: the latency histogram, a joint's bar, a joint's curves.

const BLUE = "#5ab0ff", ORANGE = "#ffb454", GREEN = "#63c174", RED = "#e5302a", DIM = "#98a2ad";
const SERIES = { tick: BLUE, late: GREEN, age: ORANGE };
const LABELS = { tick: "tick: read, observe, infer, send", late: "wake-up after its deadline",
  age: "state stamped → targets sent" };

function open(canvas) {
  const scale = Math.min(2, window.devicePixelRatio || 1), width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "11px system-ui, sans-serif";
  return { pen, width, height };
}

export function time(us) {
  if (us === null || us === undefined) return "–";
  return us < 1000 ? `${us.toFixed(0)} µs` : `${(us / 1000).toFixed(us < 10000 ? 2 : 1)} ms`;
}

// Counts in bins of equal ratio, eight a decade from first_us on.
export function latency(canvas, loop, period_us) {
  const { pen, width, height } = open(canvas), bottom = height - 16, top = 44;
  if (!loop || !loop.alive) return;
  const bins = loop.counts.tick.length;
  const most = Math.max(1, ...Object.keys(SERIES).flatMap((name) => loop.counts[name]));
  const x = (us) => width * (8 * Math.log10(us / loop.first_us)) / bins;
  pen.fillStyle = DIM;
  for (let us = loop.first_us; x(us) < width - 1; us *= 10) {
    pen.fillRect(x(us), top, 1, bottom - top);
    pen.fillText(time(us), x(us) + 3, height - 4);
  }
  pen.fillStyle = RED;
  pen.fillRect(x(period_us), top, 2, bottom - top);
  let row = 10;
  for (const [name, colour] of Object.entries(SERIES)) {
    pen.strokeStyle = pen.fillStyle = colour;
    pen.globalAlpha = 0.3;
    const tall = loop.counts[name].map((n) => (bottom - top) * Math.sqrt(n / most));
    tall.forEach((h, n) => pen.fillRect((width * n) / bins, bottom - h, width / bins - 1, h));
    pen.globalAlpha = 1;
    pen.lineWidth = 1.5;
    pen.beginPath();
    tall.forEach((h, n) => {
      pen.lineTo((width * n) / bins, bottom - h);
      pen.lineTo((width * (n + 1)) / bins - 1, bottom - h);
    });
    pen.stroke();
    const [p50, p99, worst] = loop.quantiles[name];
    pen.fillText(`${LABELS[name]}: p50 ${time(p50)}  p99 ${time(p99)}  max ${time(worst)}`, 2, row);
    row += 13;
  }
}

// One joint between its limits: what was seen, where it is, where it should be, its torque.
export function bar(canvas, { lower, upper, q, target, least, most, torque }) {
  const { pen, width, height } = open(canvas), x = (v) => (width * (v - lower)) / (upper - lower);
  pen.fillStyle = "#2a3037";
  pen.fillRect(0, 2, width, height - 8);
  pen.fillStyle = "#3c5f80";
  pen.fillRect(x(least), 2, Math.max(1, x(most) - x(least)), height - 8);
  const near = Math.min(q - lower, upper - q) < 0.03 * (upper - lower);
  pen.fillStyle = ORANGE;
  pen.fillRect(x(target) - 1, 0, 2, height - 4);
  pen.fillStyle = near ? RED : "#fff";
  pen.fillRect(Math.min(width - 3, Math.max(0, x(q) - 1.5)), 2, 3, height - 8);
  pen.fillStyle = torque > 0.9 ? RED : DIM;
  pen.fillRect(0, height - 4, width * Math.min(1, torque), 3);
}

// Curves over the last seconds between limits: rows of {colour, name, values}.
export function curves(canvas, title, rows, lower, upper, seconds) {
  const { pen, width, height } = open(canvas), top = 16, bottom = height - 4;
  const values = rows.flatMap((row) => row.values).filter((v) => v !== null);
  const low = Math.min(lower, ...values), high = Math.max(upper, ...values);
  const margin = 0.05 * (high - low), y = (v) => bottom - ((bottom - top) * (v - low + margin)) / (high - low + 2 * margin);
  pen.fillStyle = RED;
  for (const limit of [lower, upper]) {
    pen.fillRect(0, y(limit), width, 1);
    pen.fillText(limit.toFixed(2), width - 40, y(limit) + (limit === upper ? 11 : -3));
  }
  pen.fillStyle = DIM;
  pen.fillText(`${title}, last ${seconds} s`, 2, 10);
  let x0 = pen.measureText(`${title}, last ${seconds} s`).width + 16;
  for (const { colour, name, values: row } of rows) {
    pen.strokeStyle = pen.fillStyle = colour;
    pen.fillText(name, x0, 10);
    x0 += pen.measureText(name).width + 12;
    pen.beginPath();
    row.forEach((v, n) => { if (v !== null) pen.lineTo((width * n) / (row.length - 1 || 1), y(v)); });
    pen.stroke();
  }
}

export const COLOURS = { BLUE, ORANGE, GREEN };
