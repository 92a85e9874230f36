// Draws the figures of the comparison that is chosen. What there is to choose and draw is in #data.
"use strict";
(function () {
  const families = JSON.parse(document.getElementById("data").textContent);
  const family = document.getElementById("family");
  const steps = document.getElementById("steps");
  const settings = { responsive: true, displaylogo: false, displayModeBar: false };

  function show(name, figure) {
    const place = document.getElementById("figure-" + name);
    place.hidden = !figure || figure.data.length === 0;
    if (place.hidden) return;
    Plotly.react(place.querySelector(".plot"), figure.data, figure.layout, settings);
  }

  function drawFamily() {
    const chosen = families[family.value];
    const before = steps.value;
    steps.replaceChildren(...Object.keys(chosen.steps).map((T) => new Option(T, T)));
    // Of several T the one that was looked at, or else the largest: there the gradient modes differ most.
    steps.value = before in chosen.steps ? before : Object.keys(chosen.steps).at(-1);
    for (const [name, figure] of Object.entries(chosen.figures)) show(name, figure);
    drawSteps();
  }

  function drawSteps() {
    const figures = families[family.value].steps[steps.value];
    for (const [name, figure] of Object.entries(figures)) show(name, figure);
  }

  family.addEventListener("change", drawFamily);
  steps.addEventListener("change", drawSteps);
  drawFamily();
  document.body.dataset.drawn = "true";
})();
