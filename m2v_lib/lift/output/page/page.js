"use strict";
// The viewer of a lifted motion: the image (over the video, where it lies beside the page) and the people in the motion's
// world, y up from the floor. `MOTION` is set by __init__.py: fps, frames, width, height, bones, sides, joints, absent, colours,
// video, people: [{name, start, n, pose, root, seen, filled, spread}] in base64.

const decode = (text, Type) => new Type(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
for (const p of MOTION.people) {
  p.pose = decode(p.pose, Int16Array); // mm from the root, J x 3 a frame
  p.root = decode(p.root, Int32Array); // mm in the world
  p.seen = decode(p.seen, Int16Array); // px, J x 2
  p.filled = decode(p.filled, Uint32Array); // bit j % 32 of number j / 32 of a frame: joint j was filled in
  p.spread = p.spread ? decode(p.spread, Int16Array) : null; // mm, J a frame
}
const J = MOTION.sides.length, WORDS = Math.ceil(J / 32), byId = (id) => document.getElementById(id);
const plane = byId("plane"), space = byId("space"), slider = byId("frame"), clock = byId("clock"), film = byId("film");
const VIEW = { turn: 0.6, tilt: 0.15, zoom: 1 };
const state = { t: 0, playing: false, speed: 1, ...VIEW, follow: true, unsure: true, film: false, hidden: new Set() };

const names = [...new Set(MOTION.people.map((p) => p.name))];
const HUES = ["#333333", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#8c564b"];
const hue = (p) => HUES[names.indexOf(p.name) % HUES.length];
const drawn = [...Array(J).keys()].filter((j) => !MOTION.absent.includes(j));
const shown = () => MOTION.people.filter((p) => !state.hidden.has(p.name));
const here = () => shown().filter((p) => state.t >= p.start && state.t < p.start + p.n);
state.follow = byId("follow").checked = names.length === 1;

function fit(canvas) { // one drawing pixel a device pixel, whatever the window's size
  const ratio = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
  }
  const c = canvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, w, h);
  c.font = "12px sans-serif";
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
  for (const j of drawn) {
    c.strokeStyle = c.fillStyle = MOTION.colours[MOTION.sides[j]];
    c.beginPath();
    c.arc(...at(j), 3.2, 0, 7);
    if (filled(j)) c.stroke();
    else c.fill();
  }
}

function nameTag(c, w, p, at) { // over the highest joint, where there are several people
  if (names.length < 2) return;
  const [x, y] = drawn.map(at).reduce((a, b) => (b[1] < a[1] ? b : a));
  c.fillStyle = hue(p);
  c.fillText(p.name, Math.max(4, Math.min(x + 8, w - c.measureText(p.name).width - 4)), y - 8);
}

function drawPlane() {
  const [c, w, h] = fit(plane), scale = Math.min(w / MOTION.width, h / MOTION.height);
  const left = (w - MOTION.width * scale) / 2, top = (h - MOTION.height * scale) / 2;
  c.fillStyle = "#f6f6f6";
  c.fillRect(left, top, MOTION.width * scale, MOTION.height * scale);
  if (state.film && film.readyState >= 2) c.drawImage(film, left, top, MOTION.width * scale, MOTION.height * scale);
  for (const p of here()) {
    const first = (state.t - p.start) * J;
    const at = (j) => [left + p.seen[2 * (first + j)] * scale, top + p.seen[2 * (first + j) + 1] * scale];
    skeleton(c, at, filledIn(p, state.t - p.start));
    nameTag(c, w, p, at);
  }
}

// What the right side looks at: one person on the spot, or everybody where they go. Found once, so that nothing jumps.
const room = { middle: [0, 0, 0], reach: 1000 };
function findRoom() {
  const low = [1e9, 0, 1e9], high = [-1e9, 500, -1e9];
  for (const p of shown())
    for (let t = 0; t < p.n; t += Math.max(1, Math.floor(p.n / 400)))
      for (const j of drawn)
        for (let k = 0; k < 3; k++) {
          const v = p.pose[3 * (t * J + j) + k] + (state.follow && k !== 1 ? 0 : p.root[3 * t + k]);
          low[k] = Math.min(low[k], v);
          high[k] = Math.max(high[k], v);
        }
  room.middle = low.map((v, k) => (v + high[k]) / 2);
  room.reach = Math.max(500, Math.hypot(...low.map((v, k) => (high[k] - v) / 2)));
}

const scaleOf = (w, h) => (state.zoom * Math.min(w, h) * 0.47) / room.reach;
function project(w, h) { // world (x right, y up, z towards the camera) -> canvas, turned about the vertical and tilted
  const scale = scaleOf(w, h);
  const [ct, st, cu, su] = [Math.cos(state.turn), Math.sin(state.turn), Math.cos(state.tilt), Math.sin(state.tilt)];
  return (x, y, z) => {
    [x, y, z] = [x - room.middle[0], room.middle[1] - y, room.middle[2] - z];
    const right = ct * x + st * z, away = ct * z - st * x;
    return [w / 2 + scale * right, h / 2 + scale * (cu * y - su * away)];
  };
}

function drawFloor(c, at, origin) { // a grid that stands still in the world
  const step = room.reach > 3000 ? 1000 : 250, n = Math.ceil((0.8 * room.reach) / step);
  const [x0, z0] = [0, 2].map((k) => step * Math.round((room.middle[k] + origin[k]) / step) - origin[k]);
  c.strokeStyle = "#ddd";
  c.lineWidth = 1;
  for (let i = -n; i <= n; i++)
    for (const line of [[x0 + i * step, z0 - n * step, x0 + i * step, z0 + n * step],
      [x0 - n * step, z0 + i * step, x0 + n * step, z0 + i * step]]) {
      c.beginPath();
      c.moveTo(...at(line[0], 0, line[1]));
      c.lineTo(...at(line[2], 0, line[3]));
      c.stroke();
    }
  return step;
}

function drawPath(c, at, p, origin) { // on the floor: where they went, and faintly where they will go
  const t = state.t - p.start, each = Math.max(1, Math.floor(p.n / 2000));
  c.strokeStyle = hue(p);
  c.lineWidth = 2;
  for (const [from, to, alpha] of [[0, Math.min(t, p.n - 1), 0.7], [Math.max(0, t), p.n - 1, 0.2]]) {
    if (to <= from) continue;
    c.globalAlpha = alpha;
    c.beginPath();
    for (let s = from; ; s = Math.min(to, s + each)) {
      c.lineTo(...at(p.root[3 * s] - origin[0], 0, p.root[3 * s + 2] - origin[2]));
      if (s === to) break;
    }
    c.stroke();
  }
  c.globalAlpha = 1;
}

function drawUnsure(c, at, p, t, scale) { // a disc of one sigma around each joint
  for (const j of drawn) {
    c.fillStyle = MOTION.colours[MOTION.sides[j]] + "33";
    c.beginPath();
    c.arc(...at(j), Math.max(0, p.spread[t * J + j]) * scale, 0, 7);
    c.fill();
  }
}

function drawSpace() {
  const [c, w, h] = fit(space), at = project(w, h), people = here();
  const led = state.follow && people.length ? people[0] : null, s = led ? 3 * (state.t - led.start) : 0;
  const origin = led ? [led.root[s], 0, led.root[s + 2]] : [0, 0, 0];
  const step = drawFloor(c, at, origin);
  for (const p of shown()) drawPath(c, at, p, origin);
  for (const p of people) {
    const t = state.t - p.start;
    const place = (j) => at(...[0, 1, 2].map((k) => p.pose[3 * (t * J + j) + k] + p.root[3 * t + k] - origin[k]));
    if (p.spread && state.unsure) drawUnsure(c, place, p, t, scaleOf(w, h));
    skeleton(c, place, filledIn(p, t));
    nameTag(c, w, p, place);
  }
  c.fillStyle = "#777";
  c.fillText(`floor grid ${step} mm`, 8, h - 8);
  if (!people.length) c.fillText("nobody is seen in this frame", 8, 18);
}
