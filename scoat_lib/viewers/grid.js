// Figure 1: point at a node, move to it by keys or tap it, and read what it takes, what it gives and by which equation.

function gridViewer(root, nodes) {
  const svg = root.querySelector("svg"), says = root.querySelector(".says"), hint = says.innerHTML;
  const drawn = new Map([...svg.querySelectorAll(".n")].map((node) => [node.dataset.node, node]));
  const edges = svg.querySelectorAll("g[class^='p-'] .e");
  let held = "";  // the node that the keys are on or that was tapped

  function show(name) {
    const { takes = [], lines = [] } = nodes[name] ?? {};
    for (const edge of edges) {
      edge.classList.toggle("on", Boolean(name) && edge.classList.contains(`to${name}`));
      edge.classList.toggle("off", Boolean(name) && !edge.classList.contains(`to${name}`));
    }
    for (const [other, node] of drawn) {
      node.classList.toggle("self", other === name);
      node.classList.toggle("off", Boolean(name) && other !== name && !takes.includes(other));
    }
    says.innerHTML = name ? lines.map((line) => `<p>${line}</p>`).join("") : hint;
  }

  for (const [name, node] of drawn) {
    node.addEventListener("pointerenter", () => show(name));
    node.addEventListener("pointerleave", () => show(held));
    node.addEventListener("focus", () => show(held = name));
    node.addEventListener("blur", () => show(held = ""));
    node.addEventListener("click", () => node.focus({ preventScroll: true }));  // a tap on glass, too
    node.addEventListener("keydown", (event) => {
      const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] ?? [0, 0];
      if (event.key === "Escape") node.blur();
      if (!down && !right) return;
      event.preventDefault();
      let [i, j] = [...name].map(Number);
      do {  // a grid may have gaps
        i += down;
        j += right;
      } while (!drawn.has(`${i}${j}`) && i >= 0 && j >= 0 && i + j < 9);
      drawn.get(`${i}${j}`)?.focus();
    });
  }
  svg.classList.add("live");
  root.dataset.ready = "yes";
}
