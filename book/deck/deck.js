// Slides that turn by keys, by the two buttons and by a swipe; the address keeps the place.
const slides = [...document.querySelectorAll("main > section")];
let place = 0;

function turn(to) {
  place = Math.max(0, Math.min(slides.length - 1, to));
  slides.forEach((slide, number) => {
    slide.classList.toggle("now", number === place);
    slide.toggleAttribute("inert", number !== place);
  });
  for (const image of [slides[place], slides[place + 1]].flatMap((s) => (s ? [...s.querySelectorAll("img")] : []))) image.loading = "eager";
  const box = slides[place].querySelector(".inner");
  if (box.scrollHeight > box.clientHeight + 1) box.tabIndex = 0;
  document.querySelector("#where").textContent = `${place + 1} of ${slides.length}`;
  document.querySelector("#back").disabled = place === 0;
  document.querySelector("#on").disabled = place === slides.length - 1;
  history.replaceState(null, "", `#${place + 1}`);
}

const keys = {
  ArrowRight: () => place + 1, PageDown: () => place + 1, " ": () => place + 1,
  ArrowLeft: () => place - 1, PageUp: () => place - 1,
  Home: () => 0, End: () => slides.length - 1,
};
document.addEventListener("keydown", (event) => {
  const held = event.ctrlKey || event.altKey || event.metaKey;
  if (held || !(event.key in keys) || (event.key === " " && event.target.matches("button, a"))) return;
  event.preventDefault();
  turn(keys[event.key]());
});
document.querySelector("#back").addEventListener("click", () => turn(place - 1));
document.querySelector("#on").addEventListener("click", () => turn(place + 1));
let from = 0;
document.addEventListener("touchstart", (event) => { from = event.changedTouches[0].clientX; }, { passive: true });
document.addEventListener("touchend", (event) => {
  const moved = event.changedTouches[0].clientX - from;
  if (Math.abs(moved) > 60) turn(place - Math.sign(moved));
}, { passive: true });
window.addEventListener("hashchange", () => turn(Number(location.hash.slice(1)) - 1 || 0));
window.addEventListener("beforeprint", () => document.querySelectorAll("img").forEach((image) => { image.loading = "eager"; }));
document.body.classList.add("turning");
turn(Number(location.hash.slice(1)) - 1 || 0);
