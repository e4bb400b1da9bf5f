// A figure to touch: draws controls and a scene, and asks for the scene of the values the reader sets.
//
// With a kernel, moved controls go to Python (the trait `values`), which answers with the exact `scene`.
// Without one, the nearest of the stored `frames` is shown. What is computed, is computed in Python:
// this file draws, and imports nothing. `minigrad/widgets/touchable.py` describes the traits.

const LIGHT = "--ink:#1c1f23; --soft:#565b62; --line:#d5d9de; --paper:#fff; --fill:#eef3f7; --blue:#0072b2; " +
  "--vermillion:#d55e00; --green:#00845f; --purple:#8a3b8f; --grey:#5a5a5a; color-scheme:light;";
const DARK = "--ink:#eceff3; --soft:#b4bac2; --line:#454c55; --paper:#14181e; --fill:#28313b; --blue:#5ab4ea; " +
  "--vermillion:#f28c4b; --green:#3fc99c; --purple:#cf94d8; --grey:#a9aeb5; color-scheme:dark;";
const STYLE = `
.touchable { ${LIGHT} background:var(--paper); border:1px solid var(--line); border-radius:.6rem; box-sizing:border-box;
  color:var(--ink); display:block; margin:1rem 0; max-width:48rem; padding:.75rem; font-size:15px; line-height:1.4; }
html[data-theme=dark] .touchable, body[data-jp-theme-light=false] .touchable { ${DARK} }
@media (prefers-color-scheme: dark) { html:not([data-theme]) body:not([data-jp-theme-light]) .touchable { ${DARK} } }
@media print { html .touchable.touchable { ${LIGHT} break-inside:avoid; } .touchable-controls button { display:none; } }
html[data-theme] .bd-content .bd-article div.cell_output .text_html:has(.touchable) {
  background:none; box-shadow:none; padding:0; overflow:visible; }
.touchable-controls { display:grid; gap:.1rem 1.25rem; grid-template-columns:repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); }
.touchable-control { align-items:center; display:flex; flex-wrap:wrap; column-gap:.5rem; min-height:36px; }
.touchable-control[hidden] { display:none; }
.touchable-control label { flex:1 1 auto; }
.touchable-control output { font-variant-numeric:tabular-nums; min-width:3ch; text-align:right; }
.touchable-control input[type=range] { accent-color:var(--blue); flex:1 1 100%; height:28px; margin:0; min-width:0; }
.touchable-control select, .touchable-control input[type=text], .touchable-control button { background:var(--paper);
  border:1px solid var(--soft); border-radius:.35rem; color:var(--ink); font:inherit; min-height:32px; min-width:32px; padding:0 .6rem; }
.touchable-control select, .touchable-control input[type=text] { flex:1 1 auto; max-width:100%; min-width:0; }
.touchable-control input[type=checkbox] { accent-color:var(--blue); height:24px; margin:0; width:24px; }
.touchable-control button:disabled { border-color:var(--line); color:var(--soft); }
.touchable-control :is(input, select, button):focus-visible { outline:3px solid var(--blue); outline-offset:2px; }
.touchable svg { display:block; margin:.5rem 0; max-width:100%; overflow:visible; }
.touchable svg text { fill:var(--ink); font-family:inherit; font-size:13px; }
.touchable svg .soft { fill:var(--soft); font-size:12px; }
.touchable svg .title { font-weight:600; }
.touchable .touchable-say { color:var(--ink); margin:.25rem 0; min-height:2.8em; }
.touchable figcaption { border-top:1px solid var(--line); color:var(--ink); margin-top:.5rem; padding:.5rem 0 0; text-align:left; }
.touchable .touchable-stored { color:var(--soft); font-size:13px; margin:0; }
`;
let styled = false;
function addStyle() {
  if (styled) return;
  const sheet = new CSSStyleSheet();          // unlike a <style> element, no inline style in a policy's eyes
  sheet.replaceSync(STYLE);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  styled = true;
}

// ---------------------------------------------------------------- numbers and words
// As `shown` and `sentence` in touchable.py: two decimals, three where a number is small, 1.2·10⁻⁵ where it is tiny.
const SUPER = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const raised = n => (n < 0 ? "⁻" : "") + String(Math.abs(n)).replace(/\d/g, d => SUPER[d]);
const plain = (x, digits) => (digits ? x.toFixed(digits).replace(/\.?0+$/, "") : x.toFixed(0)).replace("-", "−").replace(/^−0$/, "0");
function shown(x) {
  if (typeof x !== "number") return String(x);
  const size = Math.abs(x);
  if (size > 0 && (size < 0.001 || size >= 1e6)) {
    const [digits, power] = x.toExponential(1).split("e");
    return `${digits.replace("-", "−")}·10${raised(Number(power))}`;
  }
  return plain(x, size >= 100 ? 0 : size >= 0.1 || x === 0 ? 2 : 3);
}
const sentence = say => say.text.replace(/\{(\w+)(%?)\}/g, (_, name, percent) =>
  percent ? plain(100 * say[name], 0) + "%" : shown(say[name]));

// ---------------------------------------------------------------- stored frames
const position = (control, value) => {
  const places = control.stored;
  if (typeof value !== "number") return Math.max(0, places.indexOf(value));
  return places.reduce((best, place, k) => Math.abs(place - value) < Math.abs(places[best] - value) ? k : best, 0);
};
export function storedScene(frames, controls, values) {
  const by = Object.fromEntries(controls.map(control => [control.name, position(control, values[control.name])]));
  const set = frames[controls[0].layouts ? by[controls[0].name] : 0];
  const scene = structuredClone(set.scene);
  for (const table of set.tables) {
    const index = table.on.reduce((sum, name) => sum * controls.find(c => c.name === name).stored.length + by[name], 0);
    const value = table.kinds ? table.kinds[table.values[index]] : table.values[index];
    for (const path of table.paths) path.slice(0, -1).reduce((part, key) => part[key], scene)[path.at(-1)] = value;
  }
  return scene;
}

// ---------------------------------------------------------------- the scene as SVG
const DASHES = { solid: "", dashed: "7 4", dotted: "2 4", dashdot: "8 3 2 3" };
function element(name, attributes = {}, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes))
    if (key === "style") node.style.cssText = value;      // as an attribute it would be an inline style
    else node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}
const paint = color => `var(--${color || "ink"})`;
const styledAs = mark => ({ style: `stroke:${paint(mark.color)};fill:none;stroke-width:${mark.width || 2}`,
  "stroke-dasharray": DASHES[mark.dash || "solid"], "stroke-linejoin": "round" });
const pen = document.createElement("canvas").getContext("2d");
const textWidth = text => pen.measureText(text).width;

// A panel's title, over several lines where it has to be; returns where it ends.
function drawTitle(svg, title, top, width) {
  const lines = [""];
  for (const word of title.split(" ")) {
    if (lines.at(-1) && 1.1 * textWidth(`${lines.at(-1)} ${word}`) > width) lines.push("");
    lines.push(`${lines.pop()} ${word}`.trim());
  }
  lines.forEach((line, k) => svg.append(element("text", { x: 0, y: top + 14 + 18 * k, class: "title" }, line)));
  return top + 8 + 18 * lines.length;
}

function ticks(axis, room) {
  if (axis.ticks) return axis.ticks;
  const [low, high] = axis.domain, wanted = Math.max(3, Math.min(6, room / 55));
  let step = 10 ** Math.floor(Math.log10((high - low) / wanted));
  step *= [1, 2, 5, 10].find(times => (high - low) / (step * times) <= wanted);
  if (axis.log) step = Math.max(1, Math.round(step));
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) {
    const at = Number((k * step).toPrecision(6));
    found.push([at, axis.log ? (at === 0 ? "1" : `10${raised(at)}`) : shown(at)]);
  }
  return found;
}

function drawRows(svg, panel, top, width) {
  const labels = Math.min(0.42 * width, Math.max(...panel.rows.map(row => textWidth(row.label))) + 12);
  const [low, high] = panel.x.domain, right = width - 46;
  const x = value => labels + (right - labels) * (Math.max(low, Math.min(high, value)) - low) / (high - low);
  const bottom = top + 26 * panel.rows.length;
  for (const [at, label] of ticks(panel.x, right - labels)) {
    svg.append(element("line", { x1: x(at), x2: x(at), y1: top, y2: bottom, style: `stroke:var(${at === 0 ? "--soft" : "--line"})` }));
    svg.append(element("text", { x: x(at), y: bottom + 14, "text-anchor": "middle", class: "soft" }, label));
  }
  panel.rows.forEach((row, k) => {
    const y = top + 26 * k, start = x(row.from), end = x(row.from + row.value);
    svg.append(element("text", { x: 0, y: y + 17 }, row.label));
    const bar = element("rect", { x: Math.min(start, end), y: y + 5, width: Math.abs(end - start), height: 16, rx: 2 });
    bar.style.fill = row.outline ? "none" : paint(row.color);
    bar.style.stroke = paint(row.color);
    bar.style.strokeWidth = 2;
    if (row.outline) bar.setAttribute("stroke-dasharray", "5 3");
    svg.append(bar);
    svg.append(element("text", { x: Math.max(start, end) + 6, y: y + 17 }, shown(row.value)));
  });
  return bottom + 24;
}

function drawPlot(svg, panel, top, width) {
  const legend = panel.marks.filter(mark => mark.label);
  let left = 50, line = top;
  legend.forEach(mark => {
    const long = 34 + textWidth(mark.label);
    if (left > 50 && left + long > width) { left = 50; line += 19; }
    if (mark.kind === "dots") svg.append(element("circle", { cx: left + 12, cy: line + 6, r: 4, style: `fill:${paint(mark.color)}` }));
    else svg.append(element("line", { x1: left, x2: left + 24, y1: line + 6, y2: line + 6, ...styledAs(mark) }));
    svg.append(element("text", { x: left + 30, y: line + 11 }, mark.label));
    left += long + 12;
  });
  top = legend.length ? line + 26 : top + 4;
  const bottom = top + (panel.height || 150), [x0, x1] = panel.x.domain, [y0, y1] = panel.y.domain;
  const x = value => 50 + (width - 62) * (value - x0) / (x1 - x0);
  const y = value => bottom - (bottom - top) * (Math.max(y0, Math.min(y1, value)) - y0) / (y1 - y0);
  for (const [at, label] of ticks(panel.y, bottom - top)) {
    svg.append(element("line", { x1: 50, x2: width - 12, y1: y(at), y2: y(at), style: "stroke:var(--line)" }));
    svg.append(element("text", { x: 44, y: y(at) + 4, "text-anchor": "end", class: "soft" }, label));
  }
  for (const [at, label] of ticks(panel.x, width - 62))
    svg.append(element("text", { x: x(at), y: bottom + 16, "text-anchor": "middle", class: panel.x.ticks ? "" : "soft" }, label));
  svg.append(element("line", { x1: 50, x2: width - 12, y1: bottom, y2: bottom, style: "stroke:var(--soft)" }));
  for (const mark of panel.marks) {
    const at = k => mark.x ? mark.x[k] : k + (mark.start || 0);
    if (mark.kind === "line")
      svg.append(element("polyline", { points: mark.y.map((v, k) => `${x(at(k)).toFixed(1)},${y(v).toFixed(1)}`).join(" "), ...styledAs(mark) }));
    if (mark.kind === "dots")
      mark.y.forEach((v, k) => svg.append(element("circle", { cx: x(at(k)), cy: y(v), r: 4, style: `fill:${paint(mark.color)};stroke:var(--paper)` })));
    if (mark.kind === "across")
      svg.append(element("line", { x1: 50, x2: width - 12, y1: y(mark.at), y2: y(mark.at), ...styledAs(mark) }));
    if (mark.kind === "upright" && mark.at !== null) {
      svg.append(element("line", { x1: x(mark.at), x2: x(mark.at), y1: top, y2: bottom, ...styledAs(mark) }));
      const end = x(mark.at) + 6 + textWidth(mark.text) > width;
      svg.append(element("text", { x: x(mark.at) + (end ? -6 : 6), y: top + 12, "text-anchor": end ? "end" : "start" }, mark.text));
    }
  }
  svg.append(element("text", { x: width - 12, y: bottom + 33, "text-anchor": "end", class: "soft" }, panel.x.label));
  return bottom + 44;
}

// A tape: boxes in columns from left to right, or from top to bottom where the page is narrow.
function drawGraph(svg, panel, top, width) {
  const across = panel.columns * 92 <= width;
  const cell = across ? Math.min(130, width / panel.columns) : Math.min(130, width / panel.height);
  const place = ([column, row]) => across ? [cell * (column + 0.5), top + 78 * (row + panel.height / 2)]
    : [width / 2 + cell * row, top + 40 + 82 * column];
  const half = Math.min(40, cell / 2 - 5);
  for (const edge of panel.edges) {
    const [from, to] = [edge.from, edge.to].map(place);
    const out = across ? half : 17;          // where an arrow leaves a box and meets the next one
    if (edge.starts) from[across ? 0 : 1] += across ? out : 34;
    if (edge.ends) to[across ? 0 : 1] -= across ? out : 32;
    const color = edge.now === "back" ? "vermillion" : edge.now ? "blue" : "grey", wide = edge.now ? 3 : 1.3;
    svg.append(element("line", { x1: from[0], y1: from[1], x2: to[0], y2: to[1], style: `stroke:var(--${color});stroke-width:${wide}`,
      "stroke-dasharray": edge.now === "back" ? "6 3" : "" }));
    const tip = edge.now === "back" ? edge.starts && [to, from] : edge.ends && [from, to];
    if (tip) {
      const angle = Math.atan2(tip[1][1] - tip[0][1], tip[1][0] - tip[0][0]);
      const corner = turn => tip[1].map((v, k) => v - 9 * [Math.cos, Math.sin][k](angle + turn)).join(",");
      svg.append(element("polygon", { points: [tip[1].join(","), corner(0.42), corner(-0.42)].join(" "), style: `fill:var(--${color})` }));
    }
  }
  for (const node of panel.nodes) {
    const [x, y] = place(node.at);
    const stroke = node.now === "back" ? "vermillion" : node.now ? "blue" : "grey";
    svg.append(element("rect", { x: x - half, y: y - 14, width: 2 * half, height: 28, rx: 6,
      style: `fill:var(${node.leaf ? "--paper" : "--fill"});stroke:var(--${stroke});stroke-width:${node.now ? 3 : 1.2}` }));
    svg.append(element("text", { x, y: y + 5, "text-anchor": "middle" }, node.seen ? node.value : "?"));
    svg.append(element("text", { x, y: y - 19, "text-anchor": "middle", class: "title" }, node.title));
    if (node.gradient) svg.append(element("text", { x, y: y + 29, "text-anchor": "middle" }, `δ ${node.gradient}`));
  }
  return top + (across ? 78 * panel.height : 82 * panel.columns) + 8;
}

function draw(svg, scene, width, title) {
  svg.replaceChildren();
  pen.font = `13px ${getComputedStyle(svg).fontFamily}`;
  let bottom = 4;
  for (const panel of scene.panels)
    bottom = (panel.rows ? drawRows : panel.nodes ? drawGraph : drawPlot)(svg, panel, drawTitle(svg, panel.title, bottom, width), width) + 8;
  svg.setAttribute("viewBox", `0 0 ${width} ${bottom}`);
  svg.setAttribute("width", width);
  svg.setAttribute("height", bottom);
  svg.setAttribute("aria-label", `${title}. ${sentence(scene.say)}`);
}

// ---------------------------------------------------------------- controls
let made = 0;
function html(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// A labelled native control. stored: offer the stored values only. Returns its box, and `show(value)`.
function makeControl(control, stored, changed) {
  const id = `touchable-${++made}`, label = html("label", { for: id }, control.label);
  const places = control.stored, said = html("output", { for: id, "aria-hidden": "true" });
  const words = value => (control.words || {})[value] ?? shown(value);
  if (control.kind === "check") {
    const box = html("input", { id, type: "checkbox" });
    box.addEventListener("change", () => changed(box.checked));
    return { box: html("div", { class: "touchable-control" }, box, label), show: value => { box.checked = value; } };
  }
  if (control.kind === "choice" || (control.kind === "text" && stored)) {
    const select = html("select", { id }, ...places.map((value, k) => html("option", { value: k }, words(value))));
    select.addEventListener("change", () => changed(places[select.value]));
    return { box: html("div", { class: "touchable-control" }, label, select), show: value => { select.value = position(control, value); } };
  }
  if (control.kind === "text") {
    const input = html("input", { id, type: "text", maxlength: control.longest, autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
    input.addEventListener("input", () => {
      input.value = [...input.value].filter(letter => control.alphabet.includes(letter)).join("");
      changed(input.value);
    });
    return { box: html("div", { class: "touchable-control" }, label, input), show: value => { if (input.value !== value) input.value = value; } };
  }
  const range = html("input", { id, type: "range", ...(stored ? { min: 0, max: places.length - 1, step: 1 }
    : { min: control.low, max: control.high, step: control.step }) });
  const read = () => stored ? places[range.value] : Number(range.value);
  range.addEventListener("input", () => changed(read()));
  const parts = [label, said, range], buttons = [];
  if (control.kind === "steps")
    for (const [name, by] of [["Back", -1], ["Forward", 1]]) {
      const button = html("button", { type: "button" }, name);
      button.addEventListener("click", () => { range.value = Number(range.value) + by; changed(read()); });
      buttons.push(button);
    }
  const show = value => {
    range.value = stored ? position(control, value) : value;
    said.textContent = words(value);
    range.setAttribute("aria-valuetext", words(value));
    buttons.forEach((button, k) => { button.disabled = Number(range.value) === Number(k ? range.max : range.min); });
  };
  return { box: html("div", { class: "touchable-control" }, ...parts, ...buttons), show };
}

// ---------------------------------------------------------------- the figure
function render({ model, el }) {
  addStyle();
  const stored = Boolean(model.stored);            // the loader of the static page says so: there is no kernel
  const controls = model.get("controls"), caption = model.get("caption");
  const figure = el.tagName === "FIGURE" ? el : el.appendChild(document.createElement("figure"));
  figure.classList.add("touchable");
  figure.addEventListener("keydown", event => event.stopPropagation());    // else JupyterLab takes a slider's arrow keys
  const svg = element("svg", { role: "img" }), say = html("p", { class: "touchable-say", "aria-live": "polite" });
  const note = html("p", { class: "touchable-stored" });
  let values = { ...model.get("values") }, scene = model.get("scene"), waiting = null;
  const parts = controls.map(control => makeControl(control, stored, value => {
    values = { ...values, [control.name]: value };
    showControls();
    if (stored) return showStored();
    model.set("values", values);
    model.save_changes();
    clearTimeout(waiting);                         // a kernel that is gone never answers: then what is stored will do
    waiting = setTimeout(showStored, 1500);
  }));
  const showControls = () => controls.forEach((control, k) => {
    parts[k].show(values[control.name]);
    parts[k].box.hidden = Boolean(control.only) && !control.only.includes(values[controls[0].name]);
  });
  const show = () => {
    const width = Math.max(240, Math.floor(svg.parentNode.clientWidth) || 600);
    draw(svg, scene, width, model.get("title"));
    const words = sentence(scene.say);
    if (say.textContent !== words) say.textContent = words;
  };
  const showStored = () => { scene = storedScene(JSON.parse(model.get("frames")), controls, values); show(); };
  const answered = () => { clearTimeout(waiting); scene = model.get("scene"); show(); };
  note.textContent = stored && model.get("note") || "";
  const drawing = html("div", {}, svg);
  figure.replaceChildren(html("div", { class: "touchable-controls", role: "group", "aria-label": model.get("title") },
    ...parts.map(part => part.box)), drawing, say, note, html("figcaption", {}, caption));
  showControls();
  show();
  let drawn = drawing.clientWidth;
  const watch = new ResizeObserver(() => { if (drawing.clientWidth !== drawn) { drawn = drawing.clientWidth; show(); } });
  watch.observe(drawing);
  const told = () => { values = { ...model.get("values") }; showControls(); };
  model.on("change:answers", answered);
  model.on("change:values", told);
  return () => { watch.disconnect(); model.off("change:answers", answered); model.off("change:values", told); };
}
export default { render };
