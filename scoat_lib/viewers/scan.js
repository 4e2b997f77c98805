// A whole scan: slices, window, HU under the pointer, outlines; with probabilities also a threshold, epochs, and the volume.

const MOVES = "Turn the wheel over the picture, or use the arrow keys, to move through the slices; at the first and the last the "
  + "wheel moves the page again. The shift key with the arrows moves a mark, whose HU is read out. The sliders do everything.";
const DRAGS = "Drag over the picture: to the right widens the window, downward raises its level. ";
const OUTLINES = { truth: "#ff3b30", prediction: "#00d5e6" };

// The borders of a mask, each traced as one closed line so that dashes run on; where two meet at a corner, each stays with its pixel.
function outline(mask, rows, columns, [tall, wide]) {
  const path = new Path2D(), stride = columns + 1, edges = new Map();
  const add = (from, to) => edges.set(from, [...(edges.get(from) ?? []), to]);
  for (let at = 0; at < mask.length; at++) {
    if (!mask[at]) continue;
    const r = Math.floor(at / columns), c = at % columns, corner = r * stride + c; // clockwise: the mask lies to the right
    if (!r || !mask[at - columns]) add(corner, corner + 1);
    if (c === columns - 1 || !mask[at + 1]) add(corner + 1, corner + stride + 1);
    if (r === rows - 1 || !mask[at + columns]) add(corner + stride + 1, corner + stride);
    if (!c || !mask[at - 1]) add(corner + stride, corner);
  }
  const right = (step) => (step === 1 ? stride : step === stride ? -1 : step === -1 ? -stride : 1);
  const point = (corner) => [(corner % stride) * wide, Math.floor(corner / stride) * tall];
  for (const [start, out] of edges) {
    while (out.length) {
      path.moveTo(...point(start));
      let from = start, to = out.pop();
      while (to !== start) {
        path.lineTo(...point(to));
        const next = edges.get(to), turn = next.indexOf(to + right(to - from));
        [from, to] = [to, next.splice(Math.max(turn, 0), 1)[0]];
      }
      path.closePath();
    }
  }
  return path;
}

// How much lies above each step of the threshold: levels[k] is the number of steps below voxel k's probability.
function volumes(levels, truth, steps) {
  const above = new Float64Array(steps + 2), hits = new Float64Array(steps + 2);
  for (let k = 0; k < levels.length; k++) {
    above[levels[k]]++;
    if (truth?.[k]) hits[levels[k]]++;
  }
  for (let k = steps; k >= 0; k--) { above[k] += above[k + 1]; hits[k] += hits[k + 1]; }
  return { above, hits };
}

// Each number was kept as its difference from the mean of those above and to the left.
async function unpacked(text, rows, columns) {
  const found = await inflated(text);
  for (let k = 0; k < found.length; k++) {
    const left = k % columns ? found[k - 1] : 0, above = k % (rows * columns) < columns ? 0 : found[k - columns];
    found[k] += (left + above) >> 1;
  }
  return found;
}

async function scanViewer(root, data) {
  const [depth, rows, columns] = data.shape, area = rows * columns;
  const whole = (text) => unpacked(text, rows, columns);
  const voxels = await whole(data.voxels), truth = data.truth && (await whole(data.truth));
  const answers = await Promise.all((data.answers ?? []).map(whole));
  const sums = answers.map((levels) => volumes(levels, truth, data.thresholds.length));
  const lesion = truth ? truth.reduce((a, b) => a + b, 0) : 0;
  const state = { slice: data.slice, level: data.level, width: data.width, answer: data.answer ?? 0,
    step: data.start ?? 0, truth: Boolean(truth), prediction: answers.length > 0, at: null };

  const canvas = make("canvas", { tabIndex: 0, role: "application" });
  canvas.setAttribute("aria-roledescription", "CT viewer");
  const small = make("canvas", { width: columns, height: rows }), pixels = small.getContext("2d").createImageData(columns, rows);
  const says = make("p", { className: "says" }), counts = make("p", { className: "says counts" });
  const hu = (at) => data.low + data.step * voxels[state.slice * area + at];

  function draw() {
    const low = state.level - state.width / 2, grey = new Uint8ClampedArray(256);
    for (let v = 0; v < 256; v++) grey[v] = Math.round((255 * (data.low + data.step * v - low)) / state.width);
    const from = state.slice * area;
    for (let k = 0; k < area; k++) {
      pixels.data.fill(grey[voxels[from + k]], 4 * k, 4 * k + 3);
      pixels.data[4 * k + 3] = 255;
    }
    small.getContext("2d").putImageData(pixels, 0, 0);
    const to = canvas.getContext("2d"), scale = [canvas.height / rows, canvas.width / columns];
    to.imageSmoothingQuality = "high";
    to.drawImage(small, 0, 0, canvas.width, canvas.height);
    const thick = Math.max(1.5, canvas.width / 380);
    const stroke = (mask, colour, dash) => {
      const path = outline(mask, rows, columns, scale);
      to.setLineDash([]);
      to.lineWidth = thick * 2;
      to.strokeStyle = "rgba(0, 0, 0, 0.55)";
      to.stroke(path);
      to.setLineDash(dash);
      to.lineWidth = thick;
      to.strokeStyle = colour;
      to.stroke(path);
    };
    if (state.truth) stroke(truth.subarray(from, from + area), OUTLINES.truth, []);
    if (state.prediction) {
      stroke(answers[state.answer].subarray(from, from + area).map((n) => n > state.step), OUTLINES.prediction, [thick * 3, thick * 2]);
    }
    to.font = `${Math.round(canvas.width / 32)}px sans-serif`;  // the patient's right, as in every figure
    to.textBaseline = "top";
    to.setLineDash([]);
    to.lineWidth = thick * 2;
    to.strokeStyle = "black";
    to.strokeText("R", canvas.width / 64, canvas.width / 64);
    to.fillStyle = "white";
    to.fillText("R", canvas.width / 64, canvas.width / 64);
    if (state.at !== null) {
      const [r, c] = [Math.floor(state.at / columns) + 0.5, (state.at % columns) + 0.5];
      to.setLineDash([]);
      to.lineWidth = thick;
      to.strokeStyle = "#ffd166";
      to.strokeRect((c - 0.5) * scale[1] - 2, (r - 0.5) * scale[0] - 2, scale[1] + 4, scale[0] + 4);
    }
    canvas.setAttribute("aria-label", `${data.about}, slice ${state.slice + 1} of ${depth}`);
    tell();
  }

  function tell() {
    const place = state.at === null ? "point at a place to read its HU"
      : `row ${data.first[0] + Math.floor(state.at / columns)}, column ${data.first[1] + (state.at % columns)}: ${signed(hu(state.at))} HU`;
    says.textContent = `slice ${state.slice + 1} of ${depth} · ${place}`;
    const parts = [];
    const volume = (n) => `${((n * data.voxel) / 1000).toFixed(1)} cm³`;
    if (truth) parts.push(`truth ${volume(lesion)}`);
    if (answers.length) {
      const { above, hits } = sums[state.answer], n = above[state.step + 1], hit = hits[state.step + 1];
      parts.push(`prediction ${volume(n)}`);
      if (truth) parts.push(`DSC ${(n + lesion ? (2 * hit) / (n + lesion) : 1).toFixed(2)}`);
    }
    counts.textContent = parts.length ? `whole scan: ${parts.join(" · ")}` : "";
  }

  const change = (key) => (value) => { state[key] = value; draw(); };
  const controls = make("div", { className: "controls" });
  const slices = slider("slice", { min: 0, max: depth - 1, value: state.slice, say: (k) => `${k + 1} of ${depth}`,
    change: change("slice") });
  if (answers.length > 1) {
    controls.append(slider(data.along, { min: 0, max: answers.length - 1, value: state.answer, say: (k) => data.names[k],
      change: change("answer") }));
  }
  if ((data.thresholds ?? []).length > 1) {
    controls.append(slider("threshold", { min: 0, max: data.thresholds.length - 1, value: state.step,
      say: (k) => data.thresholds[k].toFixed(2), change: change("step") }));
  }
  controls.append(slices);
  const edges = () => `black below ${signed(state.level - state.width / 2)}, white above ${signed(state.level + state.width / 2)}`;
  const levels = slider("window: level", { min: -1000, max: 400, step: 10, value: state.level, say: (v) => `${signed(v)} HU`,
    change: change("level") });
  const widths = slider("width", { min: 50, max: 2000, step: 10, value: state.width, say: (v) => `${v} HU, ${edges()}`,
    change: change("width") });
  levels.querySelector("input").addEventListener("input", () => widths.set(state.width));
  const show = (level, width) => {
    state.level = Math.max(-1000, Math.min(400, level));
    state.width = Math.max(50, Math.min(2000, width));
    levels.set(state.level);
    widths.set(state.width);
    draw();
  };
  const ticks = make("div", { className: "ticks" });
  if (truth) ticks.append(toggle("truth, red", state.truth, change("truth")));
  if (answers.length) ticks.append(toggle("prediction, cyan and dashed", state.prediction, change("prediction")));
  if (data.windows) {
    controls.append(levels, widths);
    for (const [name, [low, high]] of Object.entries(data.windows)) {
      ticks.append(button(`${name} window`, () => show((low + high) / 2, high - low)));
    }
  }
  controls.append(ticks);

  const step = (by) => {
    const to = Math.max(0, Math.min(depth - 1, state.slice + by));
    const moved = to !== state.slice;
    slices.set(to);
    if (moved) change("slice")(to);
    return moved;
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    const r = Math.floor(((event.clientY - box.top) / box.height) * rows), c = Math.floor(((event.clientX - box.left) / box.width) * columns);
    return r >= 0 && c >= 0 && r < rows && c < columns ? r * columns + c : null;
  };
  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    drag = data.windows && { x: event.clientX, y: event.clientY, level: state.level, width: state.width };
    if (event.pointerType === "mouse") canvas.setPointerCapture(event.pointerId);
    state.at = place(event);
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    says.removeAttribute("aria-live");
    state.at = place(event);
    if (drag) show(drag.level + Math.round((event.clientY - drag.y) / 2) * 5, drag.width + Math.round((event.clientX - drag.x) / 2) * 10);
    else draw();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { drag = null; });
  canvas.addEventListener("pointerleave", () => { if (!drag) { state.at = null; draw(); } });
  canvas.addEventListener("wheel", (event) => {
    if (event.deltaY && step(event.deltaY > 0 ? -1 : 1)) event.preventDefault();
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    says.setAttribute("aria-live", "polite");
    if (event.shiftKey && (down || right)) {
      const at = state.at ?? Math.floor(rows / 2) * columns + Math.floor(columns / 2);
      const r = Math.max(0, Math.min(rows - 1, Math.floor(at / columns) + down));
      state.at = r * columns + Math.max(0, Math.min(columns - 1, (at % columns) + right));
      draw();
    } else if (down || right) step(right - down);
    else if (event.key === "PageUp") step(5);
    else if (event.key === "PageDown") step(-5);
    else return;
    event.preventDefault();
  });

  const help = make("details", {}, make("summary", {}, "How to move it"), make("p", {}, (data.windows ? DRAGS : "") + MOVES));
  replaceStill(root, make("div", { className: "stage" }, canvas), says, counts, controls, help);
  root.state = state;
  sharp(canvas, (rows * data.spacing[0]) / (columns * data.spacing[1]), draw);
  root.dataset.ready = "yes";
}
