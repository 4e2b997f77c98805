// The widget manager asks for MathJax 2's queue, and the page has MathJax 3: hand its requests over.
document.addEventListener("DOMContentLoaded", () => {
  const mathjax = window.MathJax;
  if (mathjax && !mathjax.Hub) {
    mathjax.Hub = {
      Queue: (job) => mathjax.startup?.promise?.then(() => mathjax.typesetPromise([job[2]])),
    };
  }
});
