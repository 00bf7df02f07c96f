"use strict";
// A joint's course over time, a line a person with a band of one sigma where that is known, and a cursor that can be dragged.

const curves = byId("curves"), jointChoice = byId("joint"), quantity = byId("quantity");
const QUANTITIES = { // unit, and the value of joint j in frame t of a person
  height: ["mm", (p, t, j) => p.pose[3 * (t * J + j) + 1] + p.root[3 * t + 1]],
  x: ["mm", (p, t, j) => p.pose[3 * (t * J + j)] + p.root[3 * t]],
  z: ["mm", (p, t, j) => p.pose[3 * (t * J + j) + 2] + p.root[3 * t + 2]],
  speed: ["m/s", (p, t, j) => {
    const a = Math.max(0, t - 1), b = Math.min(p.n - 1, t + 1);
    const go = [0, 1, 2].map((k) => p.pose[3 * (b * J + j) + k] + p.root[3 * b + k] - p.pose[3 * (a * J + j) + k] - p.root[3 * a + k]);
    return b > a ? (Math.hypot(...go) * MOTION.fps) / (1000 * (b - a)) : 0;
  }],
};
for (const j of drawn) jointChoice.add(new Option(MOTION.joints[j], j));
for (const [name, [unit]] of Object.entries(QUANTITIES)) quantity.add(new Option(`${name} (${unit})`, name));
jointChoice.value = drawn.find((j) => /wrist/.test(MOTION.joints[j])) ?? drawn[0];

const chart = { left: 52, right: 10, top: 12, bottom: 22, low: 0, high: 1, lines: [] };

function findCurves() { // the values of every person, at most some thousand each, and their range
  const j = Number(jointChoice.value), value = QUANTITIES[quantity.value][1];
  chart.lines = shown().map((p) => {
    const each = Math.max(1, Math.floor(p.n / 3000)), points = [];
    for (let t = 0; t < p.n; t += each) {
      const sigma = p.spread && quantity.value !== "speed" ? p.spread[t * J + j] : 0;
      points.push([p.start + t, value(p, t, j), sigma]);
    }
    return { p, points };
  });
  const ends = chart.lines.flatMap(({ points }) => [
    points.reduce((low, [, v, s]) => Math.min(low, v - s), Infinity),
    points.reduce((high, [, v, s]) => Math.max(high, v + s), -Infinity),
  ]);
  chart.low = Math.min(...ends, quantity.value === "speed" ? 0 : Infinity);
  chart.high = Math.max(...ends, chart.low + 1e-3);
  if (!ends.length) [chart.low, chart.high] = [0, 1];
}

function niceStep(span, n) { // 1, 2 or 5 times a power of ten, so that there are about n
  const power = 10 ** Math.floor(Math.log10(span / n));
  return power * [1, 2, 5, 10].find((m) => m * power >= span / n);
}

function drawAxes(c, w, h, x, y) {
  c.lineWidth = 1;
  c.strokeStyle = "#e3e3e3";
  c.fillStyle = "#666";
  const rise = niceStep(chart.high - chart.low, 4), digits = Math.max(0, -Math.floor(Math.log10(rise)));
  for (let v = Math.ceil(chart.low / rise) * rise; v <= chart.high; v += rise) {
    c.beginPath();
    c.moveTo(chart.left, y(v));
    c.lineTo(w - chart.right, y(v));
    c.stroke();
    c.textAlign = "right";
    c.fillText(v.toFixed(digits), chart.left - 6, y(v) + 4);
  }
  const seconds = Math.max(1, MOTION.frames - 1) / MOTION.fps, each = niceStep(seconds, Math.max(2, w / 110));
  c.textAlign = "center";
  for (let s = 0; s <= seconds; s += each)
    c.fillText(`${Number(s.toFixed(3))} s`, Math.min(x(s * MOTION.fps), w - 16), h - 6);
  c.textAlign = "left";
}

function drawCurves() {
  const [c, w, h] = fit(curves), last = Math.max(1, MOTION.frames - 1);
  const x = (t) => chart.left + (t / last) * (w - chart.left - chart.right);
  const y = (v) => h - chart.bottom - ((v - chart.low) / (chart.high - chart.low)) * (h - chart.bottom - chart.top);
  drawAxes(c, w, h, x, y);
  const unit = QUANTITIES[quantity.value][0], said = [];
  for (const { p, points } of chart.lines) {
    c.strokeStyle = hue(p);
    if (p.spread && quantity.value !== "speed") {
      c.fillStyle = hue(p) + "2e";
      c.beginPath();
      for (const [t, v, s] of points) c.lineTo(x(t), y(v + s));
      for (const [t, v, s] of [...points].reverse()) c.lineTo(x(t), y(v - s));
      c.fill();
    }
    c.lineWidth = 1.6;
    c.beginPath();
    for (const [t, v] of points) c.lineTo(x(t), y(v));
    c.stroke();
    const t = state.t - p.start;
    if (t < 0 || t >= p.n) continue;
    const now = QUANTITIES[quantity.value][1](p, t, Number(jointChoice.value));
    said.push(`${names.length > 1 ? `${p.name}: ` : ""}${now.toFixed(unit === "mm" ? 0 : 2)} ${unit}`);
    c.fillStyle = hue(p);
    c.beginPath();
    c.arc(x(state.t), y(now), 4, 0, 7);
    c.fill();
  }
  c.strokeStyle = "#888";
  c.lineWidth = 1;
  c.beginPath();
  c.moveTo(x(state.t), chart.top);
  c.lineTo(x(state.t), h - chart.bottom);
  c.stroke();
  byId("value").textContent = said.join(", ");
}

const frameAt = (event) => {
  const box = curves.getBoundingClientRect(), wide = box.width - chart.left - chart.right;
  return Math.round(((event.clientX - box.left - chart.left) / wide) * (MOTION.frames - 1));
};
curves.onpointerdown = (e) => { curves.setPointerCapture(e.pointerId); go(frameAt(e)); };
curves.onpointermove = (e) => { if (e.buttons) go(frameAt(e)); };
jointChoice.onchange = quantity.onchange = () => { findCurves(); drawCurves(); };
