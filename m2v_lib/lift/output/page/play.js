"use strict";
// Time and hands: playing with or without the video, keys, mouse and fingers.

function draw() {
  slider.value = state.t;
  clock.textContent = `${(state.t / MOTION.fps).toFixed(2)} s, frame ${state.t} of ${MOTION.frames}`;
  drawPlane();
  drawSpace();
  drawCurves();
}
function look() { // other people are shown, or seen otherwise
  findRoom();
  findCurves();
  draw();
}

const filmTime = (t) => MOTION.video.start + (t + 0.25) / MOTION.video.fps; // surely within the frame
const filmFrame = () => Math.floor((film.currentTime - MOTION.video.start) * MOTION.video.fps);
const go = (t) => {
  state.t = Math.max(0, Math.min(MOTION.frames - 1, t));
  if (state.film) film.currentTime = filmTime(state.t);
  draw();
};

let last = 0, due = 0;
function tick(now) {
  if (!state.playing) return;
  due += ((now - last) / 1000) * MOTION.fps * state.speed;
  last = now;
  if (state.film && !film.paused) {
    const t = filmFrame();
    if (t >= MOTION.frames) go(0);
    else if (t !== state.t) { state.t = Math.max(0, t); draw(); }
    due = 0;
  } else if (due >= 1) {
    const t = (state.t + Math.floor(due)) % MOTION.frames;
    due %= 1;
    go(t);
    if (state.film) startFilm();
  }
  requestAnimationFrame(tick);
}
function startFilm() {
  film.playbackRate = Math.max(0.0625, Math.min(16, (state.speed * MOTION.fps) / MOTION.video.fps));
  film.play().catch(() => {});
}
function play(on) {
  state.playing = on;
  byId("play").textContent = on ? "pause" : "play";
  last = performance.now();
  if (state.film) on ? startFilm() : film.pause();
  if (on) requestAnimationFrame(tick);
  else go(state.t);
}

byId("play").onclick = () => play(!state.playing);
byId("speed").onchange = (e) => {
  state.speed = Number(e.target.value);
  if (state.film && state.playing) startFilm();
};
byId("follow").onchange = (e) => { state.follow = e.target.checked; look(); };
byId("unsure").onchange = (e) => { state.unsure = e.target.checked; draw(); };
byId("unsure").parentElement.hidden = !MOTION.people.some((p) => p.spread);
byId("reset").onclick = () => { Object.assign(state, VIEW); draw(); };
slider.max = MOTION.frames - 1;
slider.oninput = () => go(Number(slider.value));

document.onkeydown = (e) => {
  if (e.target.tagName === "SELECT" || e.ctrlKey || e.altKey || e.metaKey) return;
  const step = e.shiftKey ? 10 : 1;
  const act = {
    " ": () => play(!state.playing),
    ArrowRight: () => go(state.t + step),
    ArrowLeft: () => go(state.t - step),
    Home: () => go(0),
    End: () => go(MOTION.frames - 1),
  }[e.key];
  if (!act || (e.key === " " && e.target.type === "checkbox")) return;
  e.preventDefault();
  act();
};

const fingers = new Map();
const apart = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
space.onpointerdown = (e) => {
  space.setPointerCapture(e.pointerId);
  fingers.set(e.pointerId, [e.clientX, e.clientY]);
};
space.onpointerup = space.onpointercancel = (e) => fingers.delete(e.pointerId);
space.onpointermove = (e) => {
  if (!fingers.has(e.pointerId)) return;
  const [x, y] = fingers.get(e.pointerId), before = fingers.size === 2 ? apart() : 0;
  fingers.set(e.pointerId, [e.clientX, e.clientY]);
  if (fingers.size === 2) state.zoom = Math.max(0.3, Math.min(8, (state.zoom * apart()) / Math.max(1, before)));
  else {
    state.turn += (e.clientX - x) * 0.01;
    state.tilt = Math.max(-0.3, Math.min(1.5, state.tilt + (e.clientY - y) * 0.01));
  }
  draw();
};
space.onwheel = (e) => {
  e.preventDefault();
  state.zoom = Math.max(0.3, Math.min(8, state.zoom * Math.exp(-e.deltaY * 0.001)));
  draw();
};

if (names.length > 1)
  for (const p of names.map((name) => MOTION.people.find((q) => q.name === name))) {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.checked = true;
    box.onchange = () => { state.hidden[box.checked ? "delete" : "add"](p.name); look(); };
    label.style.color = hue(p);
    label.append(box, ` person ${p.name}`);
    byId("people").append(label);
  }
if (film) {
  film.onloadeddata = () => { state.film = true; byId("nofilm").hidden = true; go(state.t); };
  film.onseeked = drawPlane;
  film.onerror = () => { state.film = false; byId("nofilm").hidden = false; draw(); };
  if (film.error) film.onerror();
  else if (film.readyState >= 2) film.onloadeddata();
}
window.onresize = draw;
state.t = Math.min(...MOTION.people.map((p) => p.start));
look();
