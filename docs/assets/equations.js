// Draw the equations of a page: pymdownx.arithmatex leaves them as text in elements of this class.
document.querySelectorAll(".arithmatex").forEach((element) => {
  const text = element.textContent.trim();
  katex.render(text.slice(2, -2), element, { displayMode: text.startsWith("\\["), throwOnError: true });
});

// What scrolls sideways can be reached by keyboard.
addEventListener("load", () => {
  document.querySelectorAll(".arithmatex, .katex-display, .md-typeset__scrollwrap, .highlight pre, pre code").forEach((element) => {
    if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
  });
});
