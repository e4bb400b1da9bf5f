// What the theme asks for in attributes, where the page's policy lets no script run, and a stop of the tab key on each
// equation that is wider than the page, so that the arrow keys can scroll it.
document.addEventListener("DOMContentLoaded", () => {
  const press = (name, action) =>
    document.querySelectorAll(name).forEach((button) => button.addEventListener("click", action));
  press(".btn-fullscreen-button", () => window.toggleFullScreen());
  press(".btn-download-pdf-button", () => window.print());

  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries)
      target.querySelectorAll(":scope > mjx-container").forEach((equation) => {
        if (equation.scrollWidth > equation.clientWidth) equation.tabIndex = 0;
        else equation.removeAttribute("tabindex");
      });
  });
  document.querySelectorAll("div.math").forEach((equation) => sizes.observe(equation));
});
