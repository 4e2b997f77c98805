// Equations 1 and 2 on one channel, each 1 × 1 convolution doing nothing; H_S's batch norm subtracts the mean and adds β.

// F_U without its convolution: bilinear, to twice the size.
function enlarge(small, size) {
  const large = [];
  for (let row = 0; row < 2 * size; row++) {
    for (let column = 0; column < 2 * size; column++) {
      const along = [row, column].map((k) => {
        const place = Math.max(0, (k + 0.5) / 2 - 0.5), low = Math.floor(place);
        return { low, high: Math.min(low + 1, size - 1), share: place - low };
      });
      const [r, c] = along, at = (down, right) => small[down * size + right];
      large.push((1 - r.share) * ((1 - c.share) * at(r.low, c.low) + c.share * at(r.low, c.high))
        + r.share * ((1 - c.share) * at(r.high, c.low) + c.share * at(r.high, c.high)));
    }
  }
  return large;
}

function attend(here, up, beta = 0) {
  const summed = here.map((value, k) => Math.max(0, value) + Math.max(0, up[k]));
  const mean = summed.reduce((a, b) => a + b, 0) / summed.length;
  const x_M = summed.map((value) => 1 / (1 + Math.exp(-(value - mean + beta))));
  return { summed, mean, x_M, x_s: x_M.map((value, k) => (1 + value) * up[k]) };
}
