// The settings and the result of each run of a sweep as a line through parallel axes.
const RATES = /rate|gamma|decay|penalty/;  // such settings are compared by their ratios
const AXIS_WIDTH = 132;  // pixels that the words of an axis need

// An axis maps runs to positions from 0 to 1: numbers to scale, other values in order.
function createAxis(name, valueOf) {
  const values = runs.map(valueOf), present = values.filter((v) => v !== null && v !== "—");
  if (!present.every((v) => typeof v === "number")) {
    const words = [...new Set(values.map(text))].sort();
    const y = (word) => words.length > 1 ? words.indexOf(word) / (words.length - 1) : 0.5;
    return { name, position: (run) => y(text(valueOf(run))), ticks: words.slice(0, 12).map((word) => [word, y(word)]) };
  }
  const low = Math.min(...present), high = Math.max(...present);
  const log = low > 0 && high > low && (RATES.test(name) || high / low >= 20), scale = log ? Math.log : (v) => v;
  const y = (v) => high === low ? 0.5 : (scale(v) - scale(low)) / (scale(high) - scale(low));
  const position = (run) => typeof valueOf(run) === "number" ? y(valueOf(run)) : null;
  const distinct = [...new Set(present)].sort((a, b) => a - b);
  const ticks = distinct.length <= 6 ? distinct : [low, high];
  return { name: log ? `${name} (log)` : name, position, ticks: ticks.map((v) => [number(v), y(v)]) };
}

function svg(name, attributes, content) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (content !== undefined) element.textContent = content;
  return element;
}

// The section of a long key stands above its name. edge: of the drawing, for the last axis.
function axisTitle(name, middle, edge) {
  const x = edge ?? middle, title = svg("text", { x, y: 14, "text-anchor": edge ? "end" : "middle", "font-weight": 600 });
  const cut = name.length > 18 ? name.search(/[./](?=[^./]*$)/) + 1 : 0;
  [name.slice(0, cut), name.slice(cut)].filter(Boolean).forEach((line, i) => title.append(svg("tspan", { x, dy: i ? 13 : 0 }, line)));
  return title;
}

function showParallelCoordinates(apply) {
  keys.forEach(([, name], i) => axes.push(createAxis(name, (run) => run.values[i])));
  if (board) axes.push(createAxis(board.metric, (run) => run.score));
  if (axes.length < 2) { $("lines").append(el("p", "The settings of all runs are the same.", { class: "none" })); return; }
  const width = Math.max(Math.min($("lines").clientWidth, 1500), axes.length * AXIS_WIDTH), height = 342, top = 46, bottom = 14, left = 62, right = 76;
  const x = (i) => left + i * (width - left - right) / (axes.length - 1);
  const y = (position) => height - bottom - position * (height - top - bottom);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, style: `min-width:${axes.length * AXIS_WIDTH}px`, role: "img", "aria-label": "settings and result of each run; the filters above select the same runs" });
  for (const run of [...bestFirst].reverse()) {
    const points = axes.map((axis, i) => [x(i), axis.position(run)]).filter(([, position]) => position !== null);
    if (points.length < 2) continue;
    const line = points.map(([px, position]) => `${px.toFixed(1)},${y(position).toFixed(1)}`).join("L");
    const path = svg("path", { d: `M${line}`, stroke: colourOf(run), ...(run.score === null ? { "stroke-dasharray": "4 3" } : {}) });
    path.append(svg("title", {}, `${run.name}: ${number(run.score)}`));
    path.addEventListener("pointerenter", () => path.classList.add("near"));
    path.addEventListener("pointerleave", () => path.classList.remove("near"));
    root.append(path); pathOf.set(run.id, path);
  }
  axes.forEach((axis, i) => {
    root.append(svg("line", { x1: x(i), x2: x(i), y1: y(0), y2: y(1) }));
    axis.brush = svg("rect", { class: "brush", x: x(i) - 9, width: 18, y: 0, height: 0 });
    root.append(axis.brush, axisTitle(axis.name, x(i), i === axes.length - 1 ? width : null));
    for (const [label, position] of axis.ticks) root.append(svg("text", { x: x(i) + 6, y: y(position) + 4 }, label.length > 17 ? `…${label.slice(-16)}` : label));
    const handle = svg("rect", { x: x(i) - 14, y: top - 8, width: 28, height: height - top - bottom + 16, fill: "transparent", "data-axis": axis.name.replace(" (log)", ""), style: "cursor:ns-resize;touch-action:pan-x" });
    root.append(handle);
    const positionOf = (event) => {
      const box = root.getBoundingClientRect(), py = (event.clientY - box.top) * height / box.height;
      return Math.min(1.02, Math.max(-0.02, (height - bottom - py) / (height - top - bottom)));
    };
    addBrush(handle, i, positionOf, apply);
  });
  axes.y = y;
  $("lines").append(root);
}

// A drag along an axis filters by it; a click removes the filter.
function addBrush(handle, i, positionOf, apply) {
  let start = null;
  handle.addEventListener("pointerdown", (event) => { start = positionOf(event); handle.setPointerCapture(event.pointerId); });
  handle.addEventListener("pointermove", (event) => {
    if (start === null) return;
    brushes.set(i, [start, positionOf(event)].sort((a, b) => a - b));
    apply();
  });
  handle.addEventListener("pointerup", (event) => {
    if (Math.abs(positionOf(event) - start) < 0.02) { brushes.delete(i); apply(); }
    start = null;
  });
}
