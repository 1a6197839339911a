// The page of a sweep.
const { runs, board, keys, moments } = data;
const ACTIVE_OR_FINISHED = ["finished", "running", "planned", "pending"];
const MAX_OPTIONS = 24;  // of a filter
const SVG = "http://www.w3.org/2000/svg";

const byId = new Map(runs.map((run) => [run.id, run]));
const sign = board?.direction === "max" ? -1 : 1;  // lower signed scores are better
const signedScore = (run) => run.score === null ? Infinity : sign * run.score;
const bestFirst = [...runs].sort((a, b) => signedScore(a) - signedScore(b));
const scored = bestFirst.filter((run) => run.score !== null);
// The rank of each scored run, from 0 (best) to 1 (worst).
const relativeRank = new Map(scored.map((run, i) => [run.id, scored.length > 1 ? i / (scored.length - 1) : 0]));

let matching = new Set(runs.map((run) => run.id));  // runs that pass all filters
const axes = [];  // of the parallel coordinates
const brushes = new Map();  // [low, high] by axis, as fractions of its height
const pathOf = new Map();  // line in the parallel coordinates by run
const cards = new Map(), inView = new Set();

function text(value) {
  if (typeof value === "number") return number(value);
  if (Array.isArray(value)) return `[${value.map(text).join(", ")}]`;
  return value === null ? "—" : String(value);
}

// What is said of a run's quality, as in `near the data, improving`.
function wordsOf(run) {
  return [run.quality, run.trend].filter(Boolean).join(", ");
}

function showHeader() {
  $("name").textContent = data.name;
  const counts = {};
  for (const run of runs) counts[run.state] = (counts[run.state] ?? 0) + 1;
  $("counts").textContent = `${runs.length} runs: ` + Object.entries(counts).map(([state, n]) => `${n} ${state}`).join(", ");
  const facts = board ? [
    ["metric", board.metric], ["better", board.direction === "min" ? "lower" : "higher"],
    ["compared at", kimg(board.images)], ["not that far yet", board.behind.length],
    ["best", scored[0] && `${number(scored[0].score)} · ${scored[0].name}`],
  ] : [];
  for (const [name, value] of facts) {
    const pair = el("div");
    pair.append(el("dt", name), el("dd", value ?? "—"));
    $("facts").append(pair);
  }
}

// Adds the filters and returns the function that applies them.
function addFilters() {
  const fields = [["state", (run) => run.state], ["quality", (run) => run.quality || "—"], ...keys.map(([, name], i) => [name, (run) => text(run.values[i])])];
  const selects = [];
  for (const [name, valueOf] of fields) {
    const values = [...new Set(runs.map(valueOf))];
    if (values.length < 2 || values.length > MAX_OPTIONS) continue;
    const label = el("label", `${name} `), select = el("select", null, { "data-key": name });
    select.append(el("option", "all", { value: "" }));
    for (const value of values.sort((a, b) => a - b || String(a).localeCompare(b))) select.append(el("option", value, { value }));
    label.append(select); $("selects").append(label);
    selects.push([select, valueOf]);
    select.addEventListener("change", apply);
  }
  $("find").addEventListener("input", apply);
  $("clear").addEventListener("click", () => {
    $("find").value = "";
    for (const [select] of selects) select.value = "";
    brushes.clear();
    apply();
  });
  const passesBrush = (run, axis, i) => {
    const brush = brushes.get(i), y = axis.position(run);
    return !brush || (y !== null && y >= brush[0] && y <= brush[1]);
  };
  function apply() {
    const words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const matches = (run) => selects.every(([select, valueOf]) => !select.value || valueOf(run) === select.value)
      && words.every((word) => `${run.name} ${run.id} ${run.state} ${wordsOf(run)}`.toLowerCase().includes(word))
      && axes.every((axis, i) => passesBrush(run, axis, i));
    matching = new Set(runs.filter(matches).map((run) => run.id));
    $("shown").textContent = `${matching.size} of ${runs.length} runs`;
    showMatching();
  }
  return apply;
}

// An axis maps runs to positions from 0 to 1: numbers to scale, other values in order.
function createAxis(name, valueOf) {
  const values = runs.map(valueOf), present = values.filter((v) => v !== null && v !== "—");
  if (!present.every((v) => typeof v === "number")) {
    const words = [...new Set(values.map(text))].sort();
    const y = (word) => words.length > 1 ? words.indexOf(word) / (words.length - 1) : 0.5;
    return { name, position: (run) => y(text(valueOf(run))), ticks: words.slice(0, 12).map((word) => [word, y(word)]) };
  }
  const low = Math.min(...present), high = Math.max(...present);
  const scale = low > 0 && high / low >= 20 ? Math.log : (v) => v;
  const y = (v) => high === low ? 0.5 : (scale(v) - scale(low)) / (scale(high) - scale(low));
  const position = (run) => typeof valueOf(run) === "number" ? y(valueOf(run)) : null;
  const distinct = [...new Set(present)].sort((a, b) => a - b);
  const ticks = distinct.length <= 6 ? distinct : [low, high];
  return { name, position, ticks: ticks.map((v) => [number(v), y(v)]) };
}

function svg(name, attributes, content) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (content !== undefined) element.textContent = content;
  return element;
}

function showParallelCoordinates(apply) {
  keys.forEach(([, name], i) => axes.push(createAxis(name, (run) => run.values[i])));
  if (board) axes.push(createAxis(board.metric, (run) => run.score));
  if (axes.length < 2) { $("lines").append(el("p", "The settings of all runs are the same.", { class: "none" })); return; }
  const width = 1400, height = 330, top = 34, bottom = 14, left = 70, right = 90;
  const x = (i) => left + i * (width - left - right) / (axes.length - 1);
  const y = (position) => height - bottom - position * (height - top - bottom);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "settings and result of each run; the filters above select the same runs" });
  for (const run of [...bestFirst].reverse()) {
    const points = axes.map((axis, i) => [x(i), axis.position(run)]).filter(([, position]) => position !== null);
    if (points.length < 2) continue;
    const line = points.map(([px, position]) => `${px.toFixed(1)},${y(position).toFixed(1)}`).join("L");
    const stroke = run.score === null ? "var(--soft)" : `hsl(${140 - 140 * relativeRank.get(run.id)} 65% 42%)`;
    const path = svg("path", { d: `M${line}`, stroke });
    path.append(svg("title", {}, `${run.name}: ${number(run.score)}`));
    path.addEventListener("pointerenter", () => path.classList.add("near"));
    path.addEventListener("pointerleave", () => path.classList.remove("near"));
    root.append(path); pathOf.set(run.id, path);
  }
  axes.forEach((axis, i) => {
    root.append(svg("line", { x1: x(i), x2: x(i), y1: y(0), y2: y(1) }));
    axis.brush = svg("rect", { class: "brush", x: x(i) - 9, width: 18, y: 0, height: 0 });
    root.append(axis.brush, svg("text", { x: x(i), y: 14, "text-anchor": "middle", "font-weight": 600 }, axis.name));
    for (const [label, position] of axis.ticks) root.append(svg("text", { x: x(i) + 6, y: y(position) + 4 }, label.slice(0, 22)));
    const handle = svg("rect", { x: x(i) - 14, y: top - 8, width: 28, height: height - top - bottom + 16, fill: "transparent", "data-axis": axis.name, style: "cursor:ns-resize" });
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

// Returns each row of the table with the ids of its runs.
function showLeaderboard() {
  if (!board) return [];
  const table = $("board-table"), head = el("thead"), headRow = el("tr"), body = el("tbody");
  const judged = [[5, "quality"], [6, "trend"]].filter(([i]) => board.rows.some((row) => row[i]));
  for (const name of ["#", board.metric, "95% interval", "± seeds", "runs", ...judged.map(([, n]) => n), ...keys.map(([, n]) => n), "state", "run"]) headRow.append(el("th", name, { scope: "col" }));
  head.append(headRow); table.append(head, body);
  $("doubts").textContent = board.doubts.join(" ");
  return board.rows.map((values, i) => {
    const [ids, mean, spread, interval, likeFirst] = values, row = el("tr");
    const cells = [i + 1, number(mean) + (likeFirst ? " ≈" : ""), interval?.map(number).join(" … ") ?? "", spread === null ? "" : number(spread), ids.length, ...judged.map(([k]) => values[k] || "—"), ...byId.get(ids[0]).values.map(text)];
    for (const cell of cells) row.append(el("td", cell, { class: "n" }));
    const states = [...new Set(ids.map((id) => byId.get(id).state))].join(", ");
    row.append(el("td", states, { class: byId.get(ids[0]).state }), el("td", ids.join(" ")));
    body.append(row);
    return [row, ids];
  });
}

function showEffects() {
  if (!board?.effects.length) { $("effect-list").append(el("p", "No two runs to compare yet.", { class: "none" })); return; }
  const largest = Math.max(...board.effects.map((effect) => Math.abs(effect[5]))) || 1;
  for (const key of new Set(board.effects.map((effect) => effect[0]))) {
    const box = el("div"), table = el("table"), headRow = el("tr");
    for (const name of ["value", "runs", "mean", "best", "difference from overall mean"]) headRow.append(el("th", name, { scope: "col" }));
    table.append(headRow);
    for (const [, value, count, mean, best, difference] of board.effects.filter((effect) => effect[0] === key)) {
      const row = el("tr"), cell = el("td"), bar = el("span", null, { class: "barbox" });
      for (const content of [value, count, number(mean), number(best)]) row.append(el("td", content, { class: "n" }));
      const length = 60 * Math.abs(difference) / largest;
      bar.append(el("i", null, { class: sign * difference < 0 ? "better" : "worse", style: `width:${length}px;left:${difference < 0 ? -length : 0}px` }));
      cell.append(bar, ` ${difference > 0 ? "+" : ""}${number(difference)}`);
      row.append(cell); table.append(row);
    }
    box.append(el("h3", key), table); $("effect-list").append(box);
  }
}

// Only cards in view update their image, so that the slider stays fluid with hundreds of runs.
function showWall() {
  const slider = $("when");
  slider.max = Math.max(moments.length - 1, 0); slider.value = slider.max; slider.disabled = moments.length < 2;
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) { inView.add(target.dataset.run); updateCard(target.dataset.run); } else inView.delete(target.dataset.run);
    }
  }, { rootMargin: "600px" });
  for (const run of bestFirst) {
    const card = el("article", null, { class: "card", "data-run": run.id, "aria-label": run.name });
    const line = el("p", null, { class: "score" });
    line.append(el("span", number(run.score)), el("span", run.state, { class: run.state, title: run.reason }));
    card.append(el("div"), line);
    if (wordsOf(run)) card.append(el("p", wordsOf(run), { class: "quality", title: run.evidence }));
    card.append(el("p", `${run.name} · seed ${run.seed}`, { class: "settings", title: run.name }));
    cards.set(run.id, card); $("wall-grid").append(card); observer.observe(card);
  }
  const showMoment = () => {
    const images = moments[slider.value];
    $("seen").textContent = images === undefined ? "no samples yet" : kimg(images);
    slider.setAttribute("aria-valuetext", $("seen").textContent);
  };
  let frame = 0;
  slider.addEventListener("input", () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => { showMoment(); for (const id of inView) updateCard(id); });
  });
  showMoment();
  $("order").addEventListener("change", (event) => {
    for (const run of event.target.value === "score" ? bestFirst : runs) $("wall-grid").append(cards.get(run.id));
  });
}

function updateCard(id) {
  const run = byId.get(id), url = run.wall[$("when").value], current = cards.get(id).firstChild;
  if (!url) {
    current.replaceWith(el("div", run.images ? `${run.state} at ${kimg(run.images)}` : run.state, { class: "gone" }));
  } else if (current.tagName !== "IMG") {
    current.replaceWith(el("img", null, { src: url, alt: `samples of ${run.name}`, decoding: "async" }));
  } else if (current.src !== url) current.src = url;
}

// Returns each row of the table with the id of its run.
function showStopped() {
  const head = el("thead"), headRow = el("tr"), body = el("tbody");
  for (const name of ["run", "state", "images seen", "reason"]) headRow.append(el("th", name, { scope: "col" }));
  head.append(headRow); $("ended-table").append(head, body);
  return runs.filter((run) => !ACTIVE_OR_FINISHED.includes(run.state)).map((run) => {
    const row = el("tr");
    row.append(el("td", run.name), el("td", run.state, { class: run.state }), el("td", kimg(run.images)), el("td", run.reason || "—"));
    body.append(row);
    return [row, [run.id]];
  });
}

function showMatching() {
  for (const [row, ids] of rows) row.hidden = !ids.some((id) => matching.has(id));
  for (const [id, card] of cards) card.hidden = !matching.has(id);
  for (const [id, path] of pathOf) path.classList.toggle("off", !matching.has(id));
  axes.forEach((axis, i) => {
    if (!axis.brush) return;
    const [low, high] = brushes.get(i) ?? [null, null];
    axis.brush.setAttribute("y", low === null ? 0 : axes.y(high));
    axis.brush.setAttribute("height", low === null ? 0 : Math.max(axes.y(low) - axes.y(high), 1));
  });
}

showHeader();
const apply = addFilters();
showParallelCoordinates(apply); showEffects(); showWall();
const rows = [...showLeaderboard(), ...showStopped()];
// A fixed height keeps the content below in place while a filter hides rows.
const container = $("board-table").parentElement;
container.style.height = `${container.offsetHeight}px`;
apply();
requestAnimationFrame(() => requestAnimationFrame(() => { document.body.dataset.ready = performance.now().toFixed(0); }));
