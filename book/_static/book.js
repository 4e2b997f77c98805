// The widget manager asks for MathJax 2's queue, and the page has MathJax 3: hand its requests over.
document.addEventListener("DOMContentLoaded", () => {
  const mathjax = window.MathJax;
  if (mathjax && !mathjax.Hub) {
    mathjax.Hub = {
      Queue: (job) => mathjax.startup?.promise?.then(() => mathjax.typesetPromise([job[2]])),
    };
  }
});

// What scrolls sideways can be reached and scrolled by keys: equations, tables, figures, printed lines.
function reachable() {
  const wide = "mjx-container[display], figure > div, .pst-scrollable-table-container, .drawing, .cell_output, .cell_output .output, .cell_output .output > div, .cell_output figure, pre, div.math";
  for (const box of document.querySelectorAll(`.bd-article :is(${wide})`)) {
    const scrolls = ["auto", "scroll"].includes(getComputedStyle(box).overflowX) && box.scrollWidth > box.clientWidth + 1;
    box.classList.toggle("scrolls", scrolls && !box.matches("pre, mjx-container, div.math") && !box.parentElement.closest(".scrolls"));
    box.classList.toggle("runs", scrolls && box.matches("div.math"));
    if (scrolls) box.tabIndex = 0;
    else if (box.tabIndex === 0 && box.tagName !== "PRE") box.removeAttribute("tabindex");
  }
}

// A slider says what it moves: the widget manager leaves the label beside its handle without a tie to it.
function named() {
  for (const slider of document.querySelectorAll(".widget-slider")) {
    const label = slider.querySelector("label, .widget-label")?.textContent.trim() || "picture";
    for (const handle of slider.querySelectorAll(".noUi-handle")) handle.setAttribute("aria-label", label);
    for (const readout of slider.querySelectorAll(".widget-readout")) readout.setAttribute("aria-label", label);
  }
}

// What a slider stands at is the line under its picture, also for who hears it.
function valued() {
  for (const handle of document.querySelectorAll(".widget-subarea .noUi-handle:not([data-valued])")) {
    handle.dataset.valued = "";
    const say = () => {
      const lines = [...handle.closest(".widget-subarea").querySelectorAll("figcaption")];
      const shown = lines.find((line) => line.checkVisibility());
      if (shown) handle.setAttribute("aria-valuetext", shown.textContent);
    };
    new MutationObserver(() => requestAnimationFrame(say)).observe(handle, { attributeFilter: ["aria-valuenow"] });
    say();
  }
}

// What a chapter sets up before its first picture folds into one line.
document.addEventListener("DOMContentLoaded", () => {
  const silent = (box) => box?.matches(".cell:has(> details.hide):not(:has(> .cell_output))");
  const first = [...document.querySelectorAll(".bd-article h1 ~ .cell")].find(silent);
  const boxes = [];
  for (let box = first; silent(box); box = box.nextElementSibling) boxes.push(box);
  if (boxes.length < 2) return;
  const parts = boxes.map((box) => (box.querySelector("summary .collapsed") ?? box.querySelector("summary")).textContent.trim().replace(/^(Show|Hide) /, ""));
  const all = Object.assign(document.createElement("details"), { className: "setup" });
  const line = Object.assign(document.createElement("summary"), { textContent: `Set-up: ${parts.join(", ")}` });
  first.before(all);
  all.append(line, ...boxes);
});

// A button that shows words is called by them, not by a label that says something else.
function called() {
  for (const button of document.querySelectorAll(".search-button-field, .theme-switch-button")) {
    const words = button.textContent.replace(/\s+/g, " ").trim();
    const label = button.getAttribute("aria-label") ?? "";
    if (words && !label.includes(words)) button.setAttribute("aria-label", `${label} ${words}`.replace("Search Search", "Search"));
  }
}

window.addEventListener("load", () => {
  const look = () => { reachable(); named(); valued(); called(); };
  look();
  window.MathJax?.startup?.promise?.then(look);
  window.addEventListener("resize", reachable);
  let waiting = 0;
  new MutationObserver(() => {
    clearTimeout(waiting);
    waiting = setTimeout(look, 100);
  }).observe(document.body, { childList: true, subtree: true });
});

// The first page's picture: a slider over the slices, and a box for each of the two outlines.
document.addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll(".front-picture")) {
    const frames = [...figure.querySelectorAll(".front-frames svg")];
    const slider = figure.querySelector("input[type=range]");
    const show = () => {
      frames.forEach((frame, number) => frame.toggleAttribute("hidden", number !== slider.value - 1));
      const words = `${slider.value} of ${frames.length}`;
      figure.querySelector("output").textContent = words;
      slider.setAttribute("aria-valuetext", words);
    };
    slider.addEventListener("input", show);
    show();
    for (const box of figure.querySelectorAll("input[type=checkbox]")) {
      box.addEventListener("change", () => figure.classList.toggle(`no-${box.value}`, !box.checked));
    }
  }
});
