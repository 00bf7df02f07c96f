"use strict";
// The viewer of a lifted motion: the image plane on the left, the person in space on the right. `MOTION` is set by page.py:
// fps, frames, width, height, bones, sides, colours, people: [{name, start, n, pose, root, seen, filled}] in base64.

const decode = (text, Type) => new Type(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
for (const p of MOTION.people) {
  p.pose = decode(p.pose, Int16Array); // mm from the root, J x 3 a frame
  p.root = decode(p.root, Int32Array); // mm from the camera
  p.seen = decode(p.seen, Int16Array); // px, J x 2
  p.filled = decode(p.filled, Uint32Array); // bit j % 32 of number j / 32 of a frame: joint j was filled in
}
const J = MOTION.sides.length, WORDS = Math.ceil(J / 32), byId = (id) => document.getElementById(id);
const plane = byId("plane"), space = byId("space"), slider = byId("frame"), clock = byId("clock");
const state = { t: 0, playing: false, speed: 1, turn: 0.6, tilt: 0.15, zoom: 1, follow: true, hidden: new Set() };

const shown = () => MOTION.people.filter((p) => !state.hidden.has(p.name));
const here = () => shown().filter((p) => state.t >= p.start && state.t < p.start + p.n);
const names = [...new Set(MOTION.people.map((p) => p.name))];
state.follow = byId("follow").checked = names.length === 1; // several people on one spot would hide each other

function fit(canvas) { // one drawing pixel a device pixel, whatever the window's size
  const ratio = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
  }
  const c = canvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, w, h);
  return [c, w, h];
}

const filledIn = (p, t) => (j) => (p.filled[t * WORDS + (j >> 5)] >> (j & 31)) & 1;

function skeleton(c, at, filled) { // at(j) -> [x, y], filled(j)
  c.lineWidth = 3;
  c.lineCap = "round";
  for (const [a, b] of MOTION.bones) {
    if (MOTION.absent.includes(a) || MOTION.absent.includes(b)) continue;
    c.strokeStyle = MOTION.colours[MOTION.sides[b]];
    c.setLineDash(filled(b) || filled(a) ? [2, 6] : []);
    c.beginPath();
    c.moveTo(...at(a));
    c.lineTo(...at(b));
    c.stroke();
  }
  c.setLineDash([]);
  c.lineWidth = 1.5;
  for (let j = 0; j < J; j++) {
    if (MOTION.absent.includes(j)) continue;
    c.strokeStyle = c.fillStyle = MOTION.colours[MOTION.sides[j]];
    c.beginPath();
    c.arc(...at(j), 3.2, 0, 7);
    if (filled(j)) c.stroke();
    else c.fill();
  }
}

function drawPlane() {
  const [c, w, h] = fit(plane), scale = Math.min(w / MOTION.width, h / MOTION.height);
  const left = (w - MOTION.width * scale) / 2, top = (h - MOTION.height * scale) / 2;
  c.fillStyle = "#f6f6f6";
  c.fillRect(left, top, MOTION.width * scale, MOTION.height * scale);
  for (const p of here()) {
    const first = (state.t - p.start) * J;
    skeleton(c, (j) => [left + p.seen[2 * (first + j)] * scale, top + p.seen[2 * (first + j) + 1] * scale],
      filledIn(p, state.t - p.start));
    if (names.length > 1) {
      c.fillStyle = "#444";
      c.font = "12px sans-serif";
      const drawn = [...Array(J).keys()].filter((j) => !MOTION.absent.includes(j));
      const highest = drawn.reduce((a, b) => (p.seen[2 * (first + b) + 1] < p.seen[2 * (first + a) + 1] ? b : a));
      const [x, y] = [p.seen[2 * (first + highest)], p.seen[2 * (first + highest) + 1]];
      c.fillText(p.name, left + x * scale + 8, top + y * scale - 8);
    }
  }
}

// What the right side looks at: one person on the spot, or everybody where they go. Found once, so that nothing jumps.
const room = { floor: 0, middle: [0, 0, 0], reach: 1000 };
function findRoom() {
  const low = [1e9, 1e9, 1e9], high = [-1e9, -1e9, -1e9];
  for (const p of shown())
    for (let t = 0; t < p.n; t += Math.max(1, Math.floor(p.n / 400)))
      for (let j = 0; j < J; j++)
        for (let k = 0; k < 3; k++) {
          const v = p.pose[3 * (t * J + j) + k] + (state.follow ? 0 : p.root[3 * t + k]);
          low[k] = Math.min(low[k], v);
          high[k] = Math.max(high[k], v);
        }
  room.middle = low.map((v, k) => (v + high[k]) / 2);
  room.reach = Math.max(500, Math.hypot(...low.map((v, k) => (high[k] - v) / 2)));
  room.floor = high[1]; // y points down
}

function project(w, h) { // camera axes (x right, y down, z away) -> canvas, turned about the vertical and tilted
  const scale = (state.zoom * Math.min(w, h) * 0.47) / room.reach;
  const [ct, st, cu, su] = [Math.cos(state.turn), Math.sin(state.turn), Math.cos(state.tilt), Math.sin(state.tilt)];
  return (x, y, z) => {
    [x, y, z] = [x - room.middle[0], y - room.middle[1], z - room.middle[2]];
    const right = ct * x + st * z, away = ct * z - st * x;
    return [w / 2 + scale * right, h / 2 + scale * (cu * y - su * away)];
  };
}

function drawSpace() {
  const [c, w, h] = fit(space), at = project(w, h), step = room.reach > 3000 ? 1000 : 250;
  const n = Math.ceil((0.8 * room.reach) / step), x0 = step * Math.round(room.middle[0] / step);
  const z0 = step * Math.round(room.middle[2] / step);
  c.strokeStyle = "#ddd";
  c.lineWidth = 1;
  for (let i = -n; i <= n; i++)
    for (const line of [[x0 + i * step, z0 - n * step, x0 + i * step, z0 + n * step],
      [x0 - n * step, z0 + i * step, x0 + n * step, z0 + i * step]]) {
      c.beginPath();
      c.moveTo(...at(line[0], room.floor, line[1]));
      c.lineTo(...at(line[2], room.floor, line[3]));
      c.stroke();
    }
  for (const p of here()) {
    const t = state.t - p.start, root = state.follow ? [0, 0, 0] : [0, 1, 2].map((k) => p.root[3 * t + k]);
    if (!state.follow) { // where they came from
      c.strokeStyle = "#aaa";
      c.beginPath();
      for (let s = Math.max(0, t - Math.round(3 * MOTION.fps)); s <= t; s++)
        c.lineTo(...at(p.root[3 * s], room.floor, p.root[3 * s + 2]));
      c.stroke();
    }
    skeleton(c, (j) => at(...[0, 1, 2].map((k) => p.pose[3 * (t * J + j) + k] + root[k])), filledIn(p, t));
  }
  c.fillStyle = "#777";
  c.font = "12px sans-serif";
  c.fillText(`grid ${step} mm`, 8, h - 8);
  if (!here().length) c.fillText("nobody is seen in this frame", 8, 18);
}

function draw() {
  slider.value = state.t;
  clock.textContent = `${(state.t / MOTION.fps).toFixed(2)} s, frame ${state.t} of ${MOTION.frames}`;
  drawPlane();
  drawSpace();
}

let last = 0, due = 0;
function tick(now) {
  if (!state.playing) return;
  due += ((now - last) / 1000) * MOTION.fps * state.speed;
  last = now;
  if (due >= 1) {
    state.t = (state.t + Math.floor(due)) % MOTION.frames;
    due %= 1;
    draw();
  }
  requestAnimationFrame(tick);
}
function play(on) {
  state.playing = on;
  byId("play").textContent = on ? "pause" : "play";
  last = performance.now();
  if (on) requestAnimationFrame(tick);
}
const go = (t) => { state.t = Math.max(0, Math.min(MOTION.frames - 1, t)); draw(); };

byId("play").onclick = () => play(!state.playing);
byId("speed").onchange = (e) => { state.speed = Number(e.target.value); };
byId("follow").onchange = (e) => { state.follow = e.target.checked; findRoom(); draw(); };
byId("reset").onclick = () => { Object.assign(state, { turn: 0.6, tilt: 0.15, zoom: 1 }); draw(); };
slider.max = MOTION.frames - 1;
slider.oninput = () => go(Number(slider.value));
document.onkeydown = (e) => {
  if (e.target.tagName === "SELECT") return;
  if (e.key === " ") { e.preventDefault(); if (e.target.id !== "play") play(!state.playing); else byId("play").click(); }
  if (e.key === "ArrowRight" && e.target !== slider) go(state.t + 1);
  if (e.key === "ArrowLeft" && e.target !== slider) go(state.t - 1);
};
space.onpointerdown = (e) => space.setPointerCapture(e.pointerId);
space.onpointermove = (e) => {
  if (!e.buttons) return;
  state.turn += e.movementX * 0.01;
  state.tilt = Math.max(-0.3, Math.min(1.5, state.tilt + e.movementY * 0.01));
  draw();
};
space.onwheel = (e) => {
  e.preventDefault();
  state.zoom = Math.max(0.3, Math.min(8, state.zoom * Math.exp(-e.deltaY * 0.001)));
  draw();
};
if (names.length > 1)
  for (const name of names) {
    const label = document.createElement("label"), tick = document.createElement("input");
    tick.type = "checkbox";
    tick.checked = true;
    tick.onchange = () => { state.hidden[tick.checked ? "delete" : "add"](name); findRoom(); draw(); };
    label.append(tick, ` person ${name}`);
    byId("people").append(label);
  }
window.onresize = draw;
go(Math.min(...MOTION.people.map((p) => p.start)));
findRoom();
draw();
