// Draws the H1: forward kinematics of the bodies, triangles with WebGL, a ground, a shadow.
// Matrices are column-major arrays of 16, as WebGL wants them.

const SKY = [0.86, 0.89, 0.93];

export function multiply(a, b) {
  const c = new Float32Array(16);
  for (let i = 0; i < 4; i++)
    for (let j = 0; j < 4; j++) {
      let sum = 0;
      for (let k = 0; k < 4; k++) sum += a[k * 4 + j] * b[i * 4 + k];
      c[i * 4 + j] = sum;
    }
  return c;
}

export function pose([x, y, z], [w, i, j, k]) {
  const n = Math.hypot(w, i, j, k) || 1;
  [w, i, j, k] = [w / n, i / n, j / n, k / n];
  return new Float32Array([
    1 - 2 * (j * j + k * k), 2 * (i * j + w * k), 2 * (i * k - w * j), 0,
    2 * (i * j - w * k), 1 - 2 * (i * i + k * k), 2 * (j * k + w * i), 0,
    2 * (i * k + w * j), 2 * (j * k - w * i), 1 - 2 * (i * i + j * j), 0,
    x, y, z, 1,
  ]);
}

export function turn([x, y, z], angle) {
  const s = Math.sin(angle / 2);
  return pose([0, 0, 0], [Math.cos(angle / 2), x * s, y * s, z * s]);
}

// World poses of all bodies for a base pose [x y z w i j k] and joint angles.
export function kinematics(robot, base, q) {
  const world = [];
  for (const body of robot.bodies) {
    let own = body.parent < 0 ? pose(base.slice(0, 3), base.slice(3))
      : multiply(world[body.parent], pose(body.pos, body.quat));
    if (body.joint >= 0) own = multiply(own, turn(body.axis, q[body.joint]));
    world.push(own);
  }
  return world;
}

function perspective(angle, aspect, near, far) {
  const f = 1 / Math.tan(angle / 2), d = near - far;
  return new Float32Array([f / aspect, 0, 0, 0, 0, f, 0, 0, 0, 0, (far + near) / d, -1,
    0, 0, (2 * far * near) / d, 0]);
}

function lookAt(eye, at) {
  const unit = (v) => { const n = Math.hypot(...v); return v.map((c) => c / n); };
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const back = unit(eye.map((c, i) => c - at[i])), right = unit(cross([0, 0, 1], back));
  const up = cross(back, right);
  return new Float32Array([right[0], up[0], back[0], 0, right[1], up[1], back[1], 0,
    right[2], up[2], back[2], 0, -dot(right, eye), -dot(up, eye), -dot(back, eye), 1]);
}

const VERTEX = `
attribute vec3 position, normal, colour;
uniform mat4 model, view;
varying vec3 place, side, paint;
void main() {
  vec4 world = model * vec4(position, 1.0);
  place = world.xyz; side = mat3(model) * normal; paint = colour;
  gl_Position = view * world;
}`;
const FRAGMENT = `
precision mediump float;
varying vec3 place, side, paint;
uniform vec3 eye, fog, centre;
uniform float kind;  // 0 robot, 1 ground, 2 shadow
void main() {
  vec3 colour;
  if (kind > 1.5) { gl_FragColor = vec4(0.1, 0.12, 0.15, 0.30); return; }
  if (kind > 0.5) {
    vec2 tile = abs(fract(place.xy) - 0.5), edge = smoothstep(0.485, 0.5, tile);
    float check = mod(floor(place.x) + floor(place.y), 2.0);
    colour = mix(vec3(0.70, 0.715, 0.735), vec3(0.64, 0.655, 0.675), check);
    colour = mix(colour, vec3(0.5), max(edge.x, edge.y));
  } else {
    vec3 n = normalize(side), sun = normalize(vec3(0.35, 0.45, 1.0)), to = normalize(eye - place);
    float day = max(dot(n, sun), 0.0), sky = 0.5 + 0.5 * n.z;
    float shine = pow(max(dot(n, normalize(sun + to)), 0.0), 40.0);
    float rim = pow(1.0 - max(dot(n, to), 0.0), 3.0);
    vec3 base = pow(paint, vec3(0.75));
    colour = base * (0.35 + 0.75 * day + 0.25 * sky) + 0.35 * shine + 0.10 * rim;
  }
  float far = smoothstep(5.0, 22.0, length(place.xy - centre.xy));
  gl_FragColor = vec4(mix(colour, fog, far), 1.0);
}`;

export class Scene {
  constructor(canvas) {
    this.canvas = canvas;
    this.angle = 0.75;  // rad about z, from where the camera looks
    this.height = 0.22;
    this.distance = 3.6;
    this.at = null;
    this.sharp = 1;  // of the screen's resolution
    this.rest = 0;  // ms, no drawing before
    this.pixel = new Uint8Array(4);
    this.gl = canvas.getContext("webgl", { antialias: true, stencil: true });
    if (this.gl) this.prepare();
    this.listen();
  }

  prepare() {
    const gl = this.gl, program = gl.createProgram();
    for (const [type, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    this.at_ = (name) => gl.getUniformLocation(program, name);
    this.slots = ["position", "normal", "colour"].map((name) => gl.getAttribLocation(program, name));
    const far = 40, ground = [];
    for (const [x, y] of [[-far, -far], [far, -far], [far, far], [-far, -far], [far, far], [-far, far]])
      ground.push(x, y, 0, 0, 0, 1, 1, 1, 1);
    this.ground = this.buffer(new Float32Array(ground));
  }

  buffer(numbers) {
    const gl = this.gl, buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, numbers, gl.STATIC_DRAW);
    return buffer;
  }

  load(robot, corners) {
    this.robot = robot;
    let start = 0;
    this.parts = robot.bodies.map(({ corners: count }) => {
      const part = this.gl && count && this.buffer(corners.subarray(start * 9, (start + count) * 9));
      start += count;
      return { buffer: part, count };
    });
    this.lowest = lowestPoints(robot, corners);
  }

  listen() {
    const canvas = this.canvas;
    let from = null;
    canvas.addEventListener("pointerdown", (e) => {
      from = [e.clientX, e.clientY];
      canvas.setPointerCapture(e.pointerId);
    });
    canvas.addEventListener("pointerup", () => { from = null; });
    canvas.addEventListener("pointermove", (e) => {
      if (!from) return;
      this.angle -= (e.clientX - from[0]) * 0.008;
      this.height = Math.min(1.4, Math.max(-0.1, this.height + (e.clientY - from[1]) * 0.006));
      from = [e.clientX, e.clientY];
    });
    canvas.addEventListener("wheel", (e) => {
      e.preventDefault();
      this.distance = Math.min(12, Math.max(1.2, this.distance * Math.exp(e.deltaY * 0.001)));
    }, { passive: false });
    canvas.addEventListener("dblclick", () => { this.angle = (this.yaw ?? 0) + Math.PI; });
  }

  // A robot that does not know where it is stands on its lowest foot, at the origin.
  draw(base, q) {
    const quat = base.slice(3).every((v) => v !== null) ? base.slice(3) : [1, 0, 0, 0];
    const joints = q.map((v) => v ?? 0);
    let where = base.slice(0, 3);
    if (where.some((v) => v === null)) {
      const world = kinematics(this.robot, [0, 0, 0, ...quat], joints);
      where = [0, 0, -Math.min(...this.lowest.map(([body, p]) => heightOf(world[body], p)))];
    }
    const [w, i, j, k] = quat;
    this.yaw = Math.atan2(2 * (w * k + i * j), w * w + i * i - j * j - k * k);
    this.world = kinematics(this.robot, [...where, ...quat], joints);
    const now = performance.now();
    if (!this.gl || now < this.rest) return;
    this.paint(where);
    this.gl.readPixels(0, 0, 1, 1, this.gl.RGBA, this.gl.UNSIGNED_BYTE, this.pixel);  // waits for it
    const took = performance.now() - now;
    this.rest = performance.now() + 4 * took;  // without a GPU: others need the core too
    if (took > 60) this.sharp = 0.6;
  }

  paint(where) {
    const gl = this.gl, canvas = this.canvas, scale = this.sharp * Math.min(2, window.devicePixelRatio || 1);
    const [width, height] = [canvas.clientWidth * scale, canvas.clientHeight * scale].map(Math.round);
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    gl.viewport(0, 0, width, height);
    gl.clearColor(...SKY, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT | gl.STENCIL_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    const centre = [where[0], where[1], 0.85], jump = this.at && Math.hypot(...this.at.map((c, n) => c - centre[n]));
    this.at = jump === null || jump > 1 ? centre : this.at.map((c, n) => c + 0.2 * (centre[n] - c));
    const flat = this.distance * Math.cos(this.height);
    const eye = [this.at[0] + flat * Math.cos(this.angle), this.at[1] + flat * Math.sin(this.angle),
      Math.max(0.05, this.at[2] + this.distance * Math.sin(this.height))];
    const view = multiply(perspective(0.75, width / Math.max(1, height), 0.05, 60), lookAt(eye, this.at));
    gl.uniformMatrix4fv(this.at_("view"), false, view);
    gl.uniform3fv(this.at_("eye"), eye);
    gl.uniform3fv(this.at_("centre"), this.at);
    gl.uniform3fv(this.at_("fog"), SKY);
    const still = pose([Math.round(where[0]), Math.round(where[1]), 0], [1, 0, 0, 0]);
    this.part(this.ground, 6, still, 1);
    // the shadow: everything flattened along the sun's direction, a hair above the ground
    const flatten = new Float32Array([1, 0, 0, 0, 0, 1, 0, 0, -0.35, -0.45, 0, 0, 0, 0, 0.002, 1]);
    gl.enable(gl.STENCIL_TEST);  // each pixel darkens once
    gl.stencilFunc(gl.EQUAL, 0, 255);
    gl.stencilOp(gl.KEEP, gl.KEEP, gl.INCR);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    gl.depthFunc(gl.LESS);
    this.parts.forEach(({ buffer, count }, n) => this.part(buffer, count, multiply(flatten, this.world[n]), 2));
    gl.disable(gl.BLEND);
    gl.disable(gl.STENCIL_TEST);
    this.parts.forEach(({ buffer, count }, n) => this.part(buffer, count, this.world[n], 0));
  }

  part(buffer, count, model, kind) {
    if (!buffer) return;
    const gl = this.gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    this.slots.forEach((slot, n) => {
      if (slot < 0) return;
      gl.enableVertexAttribArray(slot);
      gl.vertexAttribPointer(slot, 3, gl.FLOAT, false, 36, 12 * n);
    });
    gl.uniformMatrix4fv(this.at_("model"), false, model);
    gl.uniform1f(this.at_("kind"), kind);
    gl.drawArrays(gl.TRIANGLES, 0, count);
  }
}

function heightOf(world, [x, y, z]) {
  return world[2] * x + world[6] * y + world[10] * z + world[14];
}

// Corners of the feet, for a robot whose height nobody measures.
function lowestPoints(robot, corners) {
  const found = [];
  let start = 0;
  robot.bodies.forEach(({ name, corners: count }, body) => {
    if (name.includes("ankle"))
      for (let n = start; n < start + count; n += 7)
        found.push([body, corners.subarray(n * 9, n * 9 + 3)]);
    start += count;
  });
  return found;
}
