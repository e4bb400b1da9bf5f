// The touchable figures of a page of the book, without a kernel and without a widget manager.
//
// A notebook's page holds the state of its widgets as JSON (myst-nb writes it) and, where each stands, a <figure>
// with its sentence, which is all there is to see without JavaScript. This loader finds the state of each figure by
// its name and lets the script of the figures draw it. That script is imported as a file of this site, not taken from
// the stored state, so a policy of script-src 'self' is enough. `stored` tells it that there is no kernel to ask.

// What the script expects of a model: get, set, save_changes, on, off.
class StoredModel {
  stored = true;
  constructor(state) { this.state = { ...state }; }
  get(name) { return this.state[name]; }
  set(name, value) { this.state[name] = value; }
  save_changes() {}
  on() {}
  off() {}
}

// The states of the figures, by name; figures of one name stand on the page in the order in which they were made.
function states() {
  const found = new Map();
  for (const script of document.querySelectorAll('script[type="application/vnd.jupyter.widget-state+json"]'))
    for (const { state } of Object.values(JSON.parse(script.textContent).state ?? {}))
      if (state.figure) found.set(state.figure, [...(found.get(state.figure) ?? []), state]);
  return found;
}

const figures = document.querySelectorAll("figure.touchable[data-figure]");
if (figures.length) {
  const { default: touchable } = await import("./touchable.js"), stored = states();
  for (const figure of figures) {
    const state = stored.get(figure.dataset.figure)?.shift();
    if (state) touchable.render({ model: new StoredModel(state), el: figure });
  }
}
