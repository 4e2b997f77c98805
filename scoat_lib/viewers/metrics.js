// Equations 8 to 10 on masks of rows × columns, row by row: the same choices as scoat_lib.metrics, with which a test compares it.

function regionsOf(mask, rows, columns, connectivity) {
  const labels = new Int32Array(rows * columns), members = [];
  const near = connectivity === "face" ? [[0, 1], [1, 0], [0, -1], [-1, 0]]
    : [[0, 1], [1, 0], [0, -1], [-1, 0], [1, 1], [1, -1], [-1, 1], [-1, -1]];
  for (let first = 0; first < mask.length; first++) {
    if (!mask[first] || labels[first]) continue;
    const found = [first], label = members.length + 1;
    labels[first] = label;
    for (let k = 0; k < found.length; k++) {
      const row = Math.floor(found[k] / columns), column = found[k] % columns;
      for (const [down, right] of near) {
        const r = row + down, c = column + right, at = r * columns + c;
        if (r < 0 || c < 0 || r >= rows || c >= columns || !mask[at] || labels[at]) continue;
        labels[at] = label;
        found.push(at);
      }
    }
    members.push(found.sort((a, b) => a - b));
  }
  return { labels, members };
}

// Equation 10: of the region's points the one whose farthest point is nearest; of several, the first in reading order.
function centreOf(members, columns) {
  let best = { at: -1, squared: Infinity };
  for (const at of members) {
    let squared = 0;
    for (const other of members) {
      const down = Math.floor(at / columns) - Math.floor(other / columns), right = (at % columns) - (other % columns);
      squared = Math.max(squared, down * down + right * right);
    }
    if (squared < best.squared) best = { at, squared };
  }
  return { at: best.at, radius: Math.sqrt(best.squared) };
}

function measure(prediction, truth, rows, columns, { connectivity = "full", found = "holds-centre" } = {}) {
  let tp = 0, va = 0, vb = 0;
  for (let k = 0; k < truth.length; k++) {
    va += prediction[k];
    vb += truth[k];
    tp += prediction[k] && truth[k];
  }
  const a = regionsOf(prediction, rows, columns, connectivity), b = regionsOf(truth, rows, columns, connectivity);
  const predicted = a.members.map((m) => centreOf(m, columns)), real = b.members.map((m) => centreOf(m, columns));
  for (const one of predicted) one.hit = Boolean(truth[one.at]);
  for (const one of real) one.hit = Boolean(prediction[one.at]);
  const Na = predicted.length, Nb = real.length, Np = predicted.filter((one) => one.hit).length;
  let Nt = real.filter((one) => one.hit).length;
  if (found !== "own-centre") {
    const hit = new Set();
    predicted.forEach((one, index) => {
      if (!one.hit) return;
      const points = found === "touched" ? a.members[index].filter((at) => truth[at]) : [one.at];
      for (const at of points) hit.add(b.labels[at]);
    });
    Nt = hit.size;
  }
  const ratio = (above, below) => (below ? above / below : 0);
  const counts = { tp, va, vb, Na, Np, Nb, Nt, predicted, real };
  if (!va && !vb) return { DSC: 1, SEN: 1, PPV: 1, VA: 1, RLP: 1, RLR: 1, ...counts };
  return {
    DSC: (2 * tp) / (va + vb), SEN: ratio(tp, vb), PPV: ratio(tp, va), VA: 1 - (2 * Math.abs(va - vb)) / (va + vb),
    RLP: ratio(Np, Na), RLR: ratio(Nt, Nb), ...counts,
  };
}
