// Shows the figures of the comparison and the place on the x axis that are chosen, and saves a figure as SVG or
// CSV. All figures are on the page already: those that are not shown lie in templates.
"use strict";
(function () {
  const family = document.getElementById("family");
  const steps = document.getElementById("steps");
  const sets = new Map(); // the figures of each choice, by the name of its template

  function figuresOf(name) {
    if (!sets.has(name)) {
      const template = document.querySelector(`template[data-set="${name}"]`);
      sets.set(name, template ? [...template.content.children] : []);
    }
    return sets.get(name);
  }

  function show(place, name) {
    document.getElementById(place).replaceChildren(...figuresOf(name));
  }

  function chooseFamily() {
    const chosen = family.selectedOptions[0];
    const all = chosen.dataset.steps.split(" ");
    const before = steps.value;
    steps.replaceChildren(...all.map((x) => new Option(x, x)));
    steps.parentElement.hidden = !chosen.dataset.x;
    // Of several places the one that was looked at, or else the last: over T, gradient modes differ most there.
    steps.value = all.includes(before) ? before : all.at(-1);
    show("over-x", family.value);
    document.getElementById("chosen-family").textContent = chosen.text;
    chooseSteps();
  }

  function chooseSteps() {
    show("of-x", `${family.value} ${steps.value}`);
    document.getElementById("chosen-steps").textContent = steps.value;
  }

  function asSvg(figure) {
    return new XMLSerializer().serializeToString(figure.querySelector("svg")) + "\n";
  }

  function field(value) {
    // A spreadsheet would evaluate a text that begins like a formula.
    const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? "'" + value : String(value ?? "");
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  function asCsv(figure) {
    const lines = [["series", "look", "x", "y", "low", "high", "label"]];
    for (const [label, look, x, y, low, high, labels] of JSON.parse(figure.querySelector("script").textContent)) {
      x.forEach((at, n) => {
        const point = labels.length === x.length ? labels[n] : labels[0];
        lines.push([label, look, at, y[n], low[n], high[n], point]);
      });
    }
    return lines.map((line) => line.map(field).join(",") + "\n").join("");
  }

  function save(figure, kind) {
    const [text, type] = kind === "svg" ? [asSvg(figure), "image/svg+xml"] : [asCsv(figure), "text/csv"];
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
    link.download = `${figure.dataset.file}.${kind}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  // The first columns stay in sight where a table is wider than the screen, if that leaves room for the others.
  function keepFirstColumns() {
    const table = document.getElementById("headline");
    const widths = [...table.querySelectorAll("thead th.start")].map((head) => head.getBoundingClientRect().width);
    const edges = widths.map((_, n) => widths.slice(0, n).reduce((sum, width) => sum + width, 0));
    const room = edges.at(-1) + widths.at(-1) < table.parentElement.clientWidth / 2;
    for (const row of table.rows) {
      [...row.cells].filter((cell) => cell.classList.contains("start")).forEach((cell, n) => {
        cell.classList.toggle("stays", room);
        cell.style.left = room ? `${edges[n]}px` : "";
      });
    }
  }

  sets.set(family.value, [...document.getElementById("over-x").children]);
  sets.set(`${family.value} ${steps.value}`, [...document.getElementById("of-x").children]);
  family.addEventListener("change", chooseFamily);
  steps.addEventListener("change", chooseSteps);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-save]");
    if (button) save(button.closest("figure"), button.dataset.save);
  });
  const closed = document.querySelectorAll("details:not([open])");
  window.addEventListener("beforeprint", () => closed.forEach((part) => part.setAttribute("open", "")));
  window.addEventListener("resize", keepFirstColumns);
  keepFirstColumns();
  document.documentElement.classList.add("live");
  document.body.dataset.drawn = "true";
})();
