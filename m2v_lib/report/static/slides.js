// One slide at a time: arrows, space or a tap go on, Home and End to the ends; #5 in the address is the fifth.
addEventListener("DOMContentLoaded", () => {
  const slides = [...document.querySelectorAll(".slides > section > section")];
  const place = document.body.appendChild(Object.assign(document.createElement("div"), { className: "place" }));
  let at = Math.min(slides.length, Math.max(1, Number(location.hash.slice(1)) || 1)) - 1;
  const show = (number) => {
    at = Math.min(slides.length - 1, Math.max(0, number));
    document.querySelectorAll(".shown").forEach((one) => one.classList.remove("shown"));
    slides[at].classList.add("shown");
    slides[at].parentElement.classList.add("shown");
    place.textContent = `${at + 1} / ${slides.length}`;
    history.replaceState(null, "", `#${at + 1}`);
    dispatchEvent(new Event("resize")); // figures take the width they now have
  };
  document.body.classList.add("deck");
  addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1 }[event.key];
    if (step) { event.preventDefault(); show(at + step); }
    if (event.key === "Home") show(0);
    if (event.key === "End") show(slides.length - 1);
  });
  let from = 0;
  addEventListener("touchstart", (event) => { from = event.touches[0].clientX; });
  addEventListener("touchend", (event) => {
    const moved = event.changedTouches[0].clientX - from;
    if (Math.abs(moved) > 60) show(at - Math.sign(moved));
  });
  show(at);
});
