// What the viewers share: numbers out of the page, controls with labels, pictures as sharp as the screen.

function bytes(text) {
  const raw = atob(text), found = new Uint8Array(raw.length);
  for (let k = 0; k < raw.length; k++) found[k] = raw.charCodeAt(k);
  return found;
}

async function inflated(text) {
  const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function signed(number) {
  return String(Math.round(number)).replace("-", "−");
}

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element && key !== "list") element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

let prefix = "", tied = 0;

// A label and its control in a row; the tie is an id, since an output inside the label would be taken for the control.
function row(words, control) {
  control.id = `${prefix}-control-${(tied += 1)}`;
  return make("div", { className: "control" }, make("label", { htmlFor: control.id }, words[0]), ...words.slice(1), control);
}

// A slider that shows, and says to a screen reader, what its value means.
function slider(label, { min, max, step = 1, value, say = String, change }) {
  const shown = make("output", {});
  const input = make("input", { type: "range", min, max, step, value });
  const whole = row([label, " ", shown], input);
  const tell = () => {
    shown.textContent = say(Number(input.value));
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", () => { tell(); change(Number(input.value)); });
  tell();
  whole.set = (to) => { input.value = to; tell(); };
  return whole;
}

function toggle(label, checked, change) {
  const input = make("input", { type: "checkbox", checked });
  input.addEventListener("change", () => change(input.checked));
  return make("label", { className: "tick" }, input, " ", label);
}

function choice(label, options, value, change) {
  const list = make("select", {}, ...Object.entries(options).map(([key, words]) => make("option", { value: key }, words)));
  list.value = value;
  list.addEventListener("change", () => change(list.value));
  return row([label], list);
}

function button(label, press) {
  const element = make("button", { type: "button" }, label);
  element.addEventListener("click", press);
  return element;
}

// A canvas that fills its column and has one dot for each of the screen's.
function sharp(canvas, ratio, draw) {
  const fit = () => {
    const width = canvas.clientWidth, dots = window.devicePixelRatio || 1;
    if (!width) return;
    canvas.width = Math.round(width * dots);
    canvas.height = Math.round(width * dots * ratio);
    draw();
  };
  canvas.style.aspectRatio = `1 / ${ratio}`;
  new ResizeObserver(fit).observe(canvas);
  const moved = () => {  // to a screen with other dots, or a page made larger
    const here = matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`);
    here.addEventListener("change", () => { fit(); moved(); }, { once: true });
  };
  moved();
  window.addEventListener("beforeprint", fit);
  return fit;
}

// Called again when the page turns dark or light.
function onTheme(draw) {
  new MutationObserver(draw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

// The picture for readers without a script makes way for what moves.
function replaceStill(root, ...parts) {
  root.querySelector(".still")?.remove();
  root.prepend(...parts);
  root.classList.add("live");
}

// Start a viewer; where the browser lacks something that it needs, its picture stays and a sentence says why.
async function begin(viewer, name, data) {
  const root = document.getElementById(name);
  prefix = name;
  try {
    await viewer(root, data);
  } catch (error) {
    root.querySelector(".still")?.append(make("p", {}, `This figure stands still here: ${error.message}.`));
  }
}
