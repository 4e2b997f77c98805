// Two masks to paint: every metric of chapter 8 beside them, as they change.

const PAINTS = "Press on a square, or drag over several: an empty one is filled, a full one emptied. Keys: arrows move, the space bar "
  + "fills or empties. The circles are equation 10's: of all circles around a point of the region the smallest that holds it. Its "
  + "centre is a cross (prediction) or a plus (truth).";

function paintViewer(root, data) {
  const { rows, columns } = data, size = rows * columns;
  const masks = { truth: new Uint8Array(size), prediction: new Uint8Array(size) };
  const state = { brush: "prediction", cursor: Math.floor(rows / 2) * columns + Math.floor(columns / 2), focus: false,
    connectivity: "full", found: "holds-centre" };
  const colour = { truth: "#e0352b", prediction: "#0093a5" };

  const canvas = make("canvas", { className: "paper", tabIndex: 0, role: "application" });
  canvas.setAttribute("aria-roledescription", "two masks to paint");
  const says = make("p", { className: "says" }), live = make("p", { className: "says counts" });
  live.setAttribute("aria-live", "polite");
  const scores = make("div", { className: "scores" });

  function result() {
    return measure(masks.prediction, masks.truth, rows, columns, state);
  }

  function draw() {
    const to = canvas.getContext("2d"), style = getComputedStyle(root), cell = canvas.width / columns;
    const found = result();
    to.clearRect(0, 0, canvas.width, canvas.height);
    const fill = (r, c, shrink) => to.fillRect((c + shrink) * cell, (r + shrink) * cell, cell * (1 - 2 * shrink), cell * (1 - 2 * shrink));
    for (let k = 0; k < size; k++) {
      const r = Math.floor(k / columns), c = k % columns;
      if (masks.truth[k]) {
        to.globalAlpha = 0.55;
        to.fillStyle = colour.truth;
        fill(r, c, 0);
      }
      if (masks.prediction[k]) {
        to.globalAlpha = 1;
        to.fillStyle = colour.prediction;
        fill(r, c, 0.24);
      }
    }
    to.globalAlpha = 0.35;
    to.strokeStyle = style.color;
    to.lineWidth = 1;
    to.beginPath();
    for (let c = 0; c <= columns; c++) { to.moveTo(c * cell, 0); to.lineTo(c * cell, canvas.height); }
    for (let r = 0; r <= rows; r++) { to.moveTo(0, r * cell); to.lineTo(canvas.width, r * cell); }
    to.stroke();
    to.globalAlpha = 1;
    const thick = Math.max(1.5, cell / 14);
    for (const [list, ink, dash] of [[found.real, colour.truth, []], [found.predicted, colour.prediction, [thick * 3, thick * 2]]]) {
      for (const { at, radius } of list) {
        const x = ((at % columns) + 0.5) * cell, y = (Math.floor(at / columns) + 0.5) * cell;
        to.setLineDash(dash);
        to.lineWidth = thick;
        to.strokeStyle = ink;
        to.beginPath();
        to.arc(x, y, Math.max(radius, 0.5) * cell, 0, 7);
        to.stroke();
        to.setLineDash([]);
        to.strokeStyle = style.color;
        to.lineWidth = thick * 1.5;
        to.beginPath();
        const arm = cell / 4;
        if (list === found.real) { to.moveTo(x - arm, y); to.lineTo(x + arm, y); to.moveTo(x, y - arm); to.lineTo(x, y + arm); }
        else { to.moveTo(x - arm, y - arm); to.lineTo(x + arm, y + arm); to.moveTo(x - arm, y + arm); to.lineTo(x + arm, y - arm); }
        to.stroke();
      }
    }
    if (state.focus) {
      to.strokeStyle = style.color;
      to.lineWidth = thick * 2;
      to.strokeRect((state.cursor % columns) * cell + 1, Math.floor(state.cursor / columns) * cell + 1, cell - 2, cell - 2);
    }
    canvas.setAttribute("aria-label", `truth of ${found.vb} pixels, prediction of ${found.va}, ${found.tp} in both`);
    write(found);
  }

  function write(found) {
    const { tp, va, vb, Na, Np, Nb, Nt } = found, nothing = !va && !vb;
    const by = { DSC: `2 · ${tp} / (${va} + ${vb})`, SEN: `${tp} / ${vb}`, PPV: `${tp} / ${va}`,
      VA: `1 − 2 · |${va} − ${vb}| / (${va} + ${vb})`, RLP: `${Np} / ${Na} regions`, RLR: `${Nt} / ${Nb} regions` };
    scores.textContent = "";
    const body = make("tbody", {});
    for (const [name, words] of Object.entries(by)) {
      body.append(make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, found[name].toFixed(2).replace("-", "−")),
        make("td", {}, nothing ? "0 / 0, set to 1" : words)));
    }
    scores.append(make("table", {}, make("caption", {}, "The six metrics of what is painted"), body));
    const dsc = `DSC ${found.DSC.toFixed(2)}, VA ${found.VA.toFixed(2).replace("-", "−")}`;
    if (live.textContent !== dsc) live.textContent = dsc;
  }

  const where = (at) => {
    const both = [masks.truth[at] ? "truth" : "", masks.prediction[at] ? "prediction" : ""].filter(Boolean).join(" and ");
    return `row ${Math.floor(at / columns)}, column ${at % columns}: ${both || "empty"}`;
  };
  const say = () => { says.textContent = where(state.cursor); };

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    const r = Math.floor(((event.clientY - box.top) / box.height) * rows), c = Math.floor(((event.clientX - box.left) / box.width) * columns);
    return r >= 0 && c >= 0 && r < rows && c < columns ? r * columns + c : null;
  };
  let drawing = null;
  canvas.addEventListener("pointerdown", (event) => {
    const at = place(event);
    if (at === null) return;
    canvas.setPointerCapture(event.pointerId);
    drawing = masks[state.brush][at] ? 0 : 1;
    masks[state.brush][at] = drawing;
    state.cursor = at;
    say();
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = place(event);
    if (drawing === null || at === null || at === state.cursor) return;
    const steps = Math.max(Math.abs((at % columns) - (state.cursor % columns)), Math.abs(Math.floor(at / columns) - Math.floor(state.cursor / columns)));
    for (let k = 1; k <= steps; k++) {  // a fast hand is seen in few places: fill the line between them
      const along = (from, to) => Math.round(from + ((to - from) * k) / steps);
      masks[state.brush][along(Math.floor(state.cursor / columns), Math.floor(at / columns)) * columns + along(state.cursor % columns, at % columns)] = drawing;
    }
    state.cursor = at;
    say();
    draw();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { drawing = null; });
  canvas.addEventListener("keydown", (event) => {
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    if (down || right) {
      const r = Math.max(0, Math.min(rows - 1, Math.floor(state.cursor / columns) + down));
      state.cursor = r * columns + Math.max(0, Math.min(columns - 1, (state.cursor % columns) + right));
    } else if (event.key === " " || event.key === "Enter") {
      masks[state.brush][state.cursor] = 1 - masks[state.brush][state.cursor];
    } else return;
    event.preventDefault();
    says.setAttribute("aria-live", "polite");
    say();
    draw();
  });
  for (const [event, has] of [["focus", true], ["blur", false]]) {
    canvas.addEventListener(event, () => { state.focus = has && canvas.matches(":focus-visible"); draw(); });
  }

  const load = (name) => {
    for (const key of ["truth", "prediction"]) {
      const rows_ = data.examples[name][key];
      masks[key].forEach((_, k) => { masks[key][k] = Number(rows_[Math.floor(k / columns)][k % columns] === "#"); });
    }
    draw();
  };
  const names = Object.keys(data.examples);
  const brush = choice("paint", { prediction: "the prediction (cyan, small squares)", truth: "the truth (red, whole squares)" }, "prediction",
    (value) => { state.brush = value; });
  const example = choice("begin with", Object.fromEntries(names.map((n) => [n, n])), names[0], load);
  const connectivity = choice("pixels that touch by a corner", { full: "are one region", face: "are two regions" }, "full",
    (value) => { state.connectivity = value; draw(); });
  const found = choice("a true region is found when", { "holds-centre": "it holds the centre of a predicted one",
    touched: "a correct predicted region touches it", "own-centre": "its own centre is predicted" }, "holds-centre",
    (value) => { state.found = value; draw(); });
  const clear = (key) => button(`clear the ${key}`, () => { masks[key].fill(0); draw(); });
  const controls = make("div", { className: "controls" }, brush, example, connectivity, found,
    make("div", { className: "ticks" }, clear("prediction"), clear("truth")));
  const help = make("details", {}, make("summary", {}, "How to paint"), make("p", {}, PAINTS));
  replaceStill(root, make("div", { className: "stage" }, canvas), says, live, scores, controls, help);
  root.state = state;
  root.masks = masks;
  root.draw = draw;
  root.result = result;
  canvas.style.background = "var(--ground)";
  say();
  sharp(canvas, rows / columns, draw);
  onTheme(draw);
  load(names[0]);
  root.dataset.ready = "yes";
}
