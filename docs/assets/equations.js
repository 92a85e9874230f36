// Draw the equations of a page: pymdownx.arithmatex leaves them as text in elements of this class.
document.querySelectorAll(".arithmatex").forEach((element) => {
  const text = element.textContent.trim();
  katex.render(text.slice(2, -2), element, { displayMode: text.startsWith("\\["), throwOnError: true });
});
