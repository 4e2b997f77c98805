// A 4 × 4 map and a coarser one of 2 × 2 to paint: what equations 1 and 2 make of them, number by number.

// matplotlib's cividis at nine places
const CIVIDIS = [[0, 34, 78], [18, 53, 112], [59, 73, 108], [87, 93, 109], [112, 113, 115], [138, 134, 120], [165, 156, 116],
  [195, 179, 105], [254, 232, 56]];

function heat(share) {
  const place = Math.max(0, Math.min(1, share)) * 8, low = Math.min(7, Math.floor(place)), part = place - low;
  const rgb = CIVIDIS[low].map((v, k) => Math.round(v + part * (CIVIDIS[low + 1][k] - v)));
  const linear = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return { background: `rgb(${rgb.join(", ")})`, color: light > 0.179 ? "#000" : "#fff" };
}

const WRITES = "Choose a value with the slider and press on a square of the first two maps, or drag over several. Keys: arrows move "
  + "within a map, the space bar paints, a digit from 0 to 6 writes that value.";

// x_M and F_U as they are written: what follows the line stands lower
const lowered = (text) => text.split(/_(\w)/).map((part, k) => (k % 2 ? make("sub", {}, part) : part));

function mapViewer(root, data) {
  const state = { brush: 2, beta: 0, here: data.here.slice(), below: data.below.slice() };
  const tables = {};

  function table(name, title, side, paint) {
    const body = make("tbody", {}), cells = [];
    for (let r = 0; r < side; r++) {
      const row = make("tr", {});
      for (let c = 0; c < side; c++) {
        const cell = make("td", {});
        if (paint) {
          cell.tabIndex = cells.length ? -1 : 0;
          cell.setAttribute("role", "gridcell");
          cell.dataset.at = `${name} ${cells.length}`;
        }
        cells.push(cell);
        row.append(cell);
      }
      body.append(row);
    }
    const whole = make("table", {}, make("caption", {}, ...lowered(title)), body);
    if (paint) {
      whole.setAttribute("role", "grid");
      whole.setAttribute("aria-label", `${title}, to paint`);
    }
    tables[name] = { cells, side };
    return whole;
  }

  function fill(name, values, top, digits) {
    tables[name].cells.forEach((cell, k) => {
      const words = values[k].toFixed(digits);
      if (cell.textContent !== words) cell.textContent = words;
      Object.assign(cell.style, heat(values[k] / top));
    });
  }

  function draw() {
    const up = enlarge(state.below, 2), { mean, x_M, x_s } = attend(state.here, up, state.beta);
    state.result = { up, mean, x_M, x_s };
    fill("here", state.here, 6, 1);
    fill("below", state.below, 6, 1);
    fill("up", up, 6, 2);
    fill("x_M", x_M, 1, 2);
    fill("x_s", x_s, 6, 2);
    const largest = Math.max(...x_M), at = x_M.indexOf(largest);
    says.replaceChildren(...lowered(`mean of here + up ${mean.toFixed(3)} · largest x_M ${largest.toFixed(2)} at `
      + `(${Math.floor(at / 4)},${at % 4}): there up is multiplied by ${(1 + largest).toFixed(2)}`));
  }

  const says = make("p", { className: "says counts" });
  says.setAttribute("aria-live", "polite");
  const maps = make("div", { className: "maps" }, table("here", "here: x(i,j)", 4, true), table("below", "below: x(i+1,j)", 2, true),
    table("up", "up: F_U(below)", 4, false), table("x_M", "x_M, equation 1", 4, false), table("x_s", "x_s, equation 2", 4, false));

  const put = (cell, value) => {
    const [name, k] = cell.dataset.at.split(" ");
    if (state[name][k] === value) return;
    state[name][k] = value;
    draw();
  };
  const cellAt = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest("td[data-at]");
  let painting = false;
  maps.addEventListener("pointerdown", (event) => {
    const cell = cellAt(event);
    if (!cell || !root.contains(cell)) return;
    painting = true;
    put(cell, state.brush);
  });
  maps.addEventListener("pointermove", (event) => {
    const cell = painting && cellAt(event);
    if (cell && root.contains(cell)) put(cell, state.brush);
  });
  for (const end of ["pointerup", "pointercancel"]) window.addEventListener(end, () => { painting = false; });
  maps.addEventListener("keydown", (event) => {
    const cell = event.target.closest("td[data-at]");
    if (!cell) return;
    const [name, k] = cell.dataset.at.split(" "), { cells, side } = tables[name];
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    if (down || right) {
      const r = Math.max(0, Math.min(side - 1, Math.floor(k / side) + down)), c = Math.max(0, Math.min(side - 1, (k % side) + right));
      for (const one of cells) one.tabIndex = -1;
      cells[r * side + c].tabIndex = 0;
      cells[r * side + c].focus();
    } else if (event.key === " " || event.key === "Enter") put(cell, state.brush);
    else if (/^[0-6]$/.test(event.key)) put(cell, Number(event.key));
    else return;
    event.preventDefault();
  });

  const brush = slider("paint with", { min: 0, max: 6, step: 0.5, value: state.brush, say: (v) => v.toFixed(1), change: (v) => { state.brush = v; } });
  const beta = slider("β, the shift of the sum's batch norm", { min: -8, max: 8, step: 0.5, value: 0, say: (v) => v.toFixed(1).replace("-", "−"),
    change: (v) => { state.beta = v; draw(); } });
  const all = (here, below) => () => { state.here = here.slice(); state.below = below.slice(); draw(); };
  const controls = make("div", { className: "controls" }, brush, beta, make("div", { className: "ticks" },
    button("the example again", all(data.here, data.below)), button("all zero", all(Array(16).fill(0), Array(4).fill(0)))));
  const help = make("details", {}, make("summary", {}, "How to paint"), make("p", {}, WRITES));
  replaceStill(root, maps, says, controls, help);
  root.state = state;
  draw();
  root.dataset.ready = "yes";
}
