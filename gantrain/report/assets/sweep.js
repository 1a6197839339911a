// The page of a sweep.
const { runs, board, keys, moments } = data;
const text = (v) => typeof v === "number" ? number(v) : Array.isArray(v) ? `[${v.map(text).join(", ")}]` : v === null ? "—" : String(v);
const sign = board?.direction === "max" ? -1 : 1;
const rank = (run) => run.score === null ? Infinity : sign * run.score;
const best = [...runs].sort((a, b) => rank(a) - rank(b));
const scored = best.filter((run) => run.score !== null);
const place = new Map(scored.map((run, i) => [run.id, scored.length > 1 ? i / (scored.length - 1) : 0]));
const brushes = new Map();  // axis to [low, high] as shares of its height
let passing = new Set(runs.map((run) => run.id));

function header() {
  $("name").textContent = data.name;
  const counts = {};
  for (const run of runs) counts[run.state] = (counts[run.state] ?? 0) + 1;
  $("counts").textContent = `${runs.length} runs: ` + Object.entries(counts).map(([s, n]) => `${n} ${s}`).join(", ");
  const facts = board ? [["metric", board.metric], ["better", board.direction === "min" ? "lower" : "higher"], ["compared at", kimg(board.images)], ["not so far yet", board.behind.length], ["best", scored[0] && `${number(scored[0].score)} · ${scored[0].name}`]] : [];
  for (const [name, value] of facts) { const pair = el("div"); pair.append(el("dt", name), el("dd", value ?? "—")); $("facts").append(pair); }
}

function filters() {
  const choices = [["state", [...new Set(runs.map((r) => r.state))], (r) => r.state],
    ...keys.map(([key, name], i) => [name, [...new Set(runs.map((r) => text(r.values[i])))], (r) => text(r.values[i])])];
  const selects = [];
  for (const [name, values, of] of choices) {
    if (values.length < 2 || values.length > 24) continue;
    const label = el("label", `${name} `), select = el("select", null, { "data-key": name });
    select.append(el("option", "all", { value: "" }));
    for (const value of values.sort((a, b) => a - b || String(a).localeCompare(b))) select.append(el("option", value, { value }));
    label.append(select); $("selects").append(label);
    selects.push([select, of]);
    select.addEventListener("change", apply);
  }
  $("find").addEventListener("input", apply);
  $("clear").addEventListener("click", () => { $("find").value = ""; for (const [s] of selects) s.value = ""; brushes.clear(); apply(); });
  function apply() {
    const words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    passing = new Set(runs.filter((run) => selects.every(([s, of]) => !s.value || of(run) === s.value)
      && words.every((w) => `${run.name} ${run.id} ${run.state}`.toLowerCase().includes(w))
      && axes.every((axis, i) => { const b = brushes.get(i); const y = axis.at(run); return !b || (y !== null && y >= b[0] && y <= b[1]); })).map((run) => run.id));
    $("shown").textContent = `${passing.size} of ${runs.length} runs`;
    show();
  }
  return apply;
}

const axes = [];
function axisOf(name, of) {
  const values = runs.map(of), found = values.filter((v) => v !== null && v !== "—");
  if (found.every((v) => typeof v === "number")) {
    const low = Math.min(...found), high = Math.max(...found);
    const log = low > 0 && high / low >= 20, f = log ? Math.log : (v) => v;
    const at = (run) => { const v = of(run); return typeof v !== "number" ? null : high === low ? 0.5 : (f(v) - f(low)) / (f(high) - f(low)); };
    const inner = [...new Set(found)].sort((a, b) => a - b);
    const ticks = inner.length <= 6 ? inner : [low, high];
    return { name, at, ticks: ticks.map((v) => [number(v), high === low ? 0.5 : (f(v) - f(low)) / (f(high) - f(low))]) };
  }
  const words = [...new Set(values.map(text))].sort();
  const y = (word) => words.length > 1 ? words.indexOf(word) / (words.length - 1) : 0.5;
  return { name, at: (run) => y(text(of(run))), ticks: words.slice(0, 12).map((w) => [w, y(w)]) };
}

const SVG = "http://www.w3.org/2000/svg";
const svg = (name, attributes) => { const made = document.createElementNS(SVG, name); for (const [k, v] of Object.entries(attributes)) made.setAttribute(k, v); return made; };
const lineOf = new Map();
function parallel(apply) {
  keys.forEach(([, name], i) => axes.push(axisOf(name, (run) => run.values[i])));
  if (board) axes.push(axisOf(board.metric, (run) => run.score));
  if (axes.length < 2) { $("lines").append(el("p", "The runs differ in nothing.", { class: "none" })); return; }
  const width = 1400, height = 330, top = 34, bottom = 14, left = 70, right = 90;
  const x = (i) => left + i * (width - left - right) / (axes.length - 1), y = (share) => height - bottom - share * (height - top - bottom);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "settings and result of each run; the filters above choose the same" });
  for (const run of [...best].reverse()) {
    const points = axes.map((axis, i) => [x(i), axis.at(run)]).filter(([, share]) => share !== null).map(([px, share]) => `${px.toFixed(1)},${y(share).toFixed(1)}`);
    if (points.length < 2) continue;
    const hue = run.score === null ? 0 : 140 - 140 * place.get(run.id);
    const path = svg("path", { d: `M${points.join("L")}`, stroke: run.score === null ? "var(--soft)" : `hsl(${hue} 65% 42%)` });
    const title = svg("title", {}); title.textContent = `${run.name}: ${number(run.score)}`; path.append(title);
    path.addEventListener("pointerenter", () => path.classList.add("near"));
    path.addEventListener("pointerleave", () => path.classList.remove("near"));
    root.append(path); lineOf.set(run.id, path);
  }
  axes.forEach((axis, i) => {
    root.append(svg("line", { x1: x(i), x2: x(i), y1: y(0), y2: y(1) }));
    const brush = svg("rect", { class: "brush", x: x(i) - 9, width: 18, y: 0, height: 0 }); root.append(brush); axis.brush = brush;
    const head = svg("text", { x: x(i), y: 14, "text-anchor": "middle", "font-weight": 600 }); head.textContent = axis.name; root.append(head);
    for (const [label, share] of axis.ticks) { const tick = svg("text", { x: x(i) + 6, y: y(share) + 4 }); tick.textContent = label.slice(0, 22); root.append(tick); }
    const handle = svg("rect", { x: x(i) - 14, y: top - 8, width: 28, height: height - top - bottom + 16, fill: "transparent", "data-axis": axis.name, style: "cursor:ns-resize" });
    let from = null;
    const share = (event) => { const box = root.getBoundingClientRect(); const py = (event.clientY - box.top) * height / box.height; return Math.min(1.02, Math.max(-0.02, (height - bottom - py) / (height - top - bottom))); };
    handle.addEventListener("pointerdown", (event) => { from = share(event); handle.setPointerCapture(event.pointerId); });
    handle.addEventListener("pointermove", (event) => { if (from !== null) { brushes.set(i, [from, share(event)].sort((a, b) => a - b)); apply(); } });
    handle.addEventListener("pointerup", (event) => { if (Math.abs(share(event) - from) < 0.02) { brushes.delete(i); apply(); } from = null; });
    root.append(handle);
  });
  axes.y = y;
  $("lines").append(root);
}

const byId = new Map(runs.map((run) => [run.id, run]));
function leaders() {
  if (!board) return [];
  const table = $("board-table"), head = el("thead"), top = el("tr"), body = el("tbody");
  for (const name of ["#", board.metric, "± seeds", "runs", ...keys.map(([, n]) => n), "state", "run"]) top.append(el("th", name, { scope: "col" }));
  head.append(top); table.append(head, body);
  return board.rows.map(([ids, mean, spread], i) => {
    const run = byId.get(ids[0]), line = el("tr");
    const cells = [i + 1, number(mean), spread === null ? "" : number(spread), ids.length, ...run.values.map(text)];
    for (const cell of cells) line.append(el("td", cell, { class: "n" }));
    line.append(el("td", [...new Set(ids.map((id) => byId.get(id).state))].join(", "), { class: run.state }), el("td", ids.join(" ")));
    body.append(line);
    return [line, ids];
  });
}

function effects() {
  if (!board?.effects.length) { $("effect-list").append(el("p", "No two runs to compare yet.", { class: "none" })); return; }
  const most = Math.max(...board.effects.map((e) => Math.abs(e[5]))) || 1;
  for (const key of new Set(board.effects.map((e) => e[0]))) {
    const box = el("div"), table = el("table"), head = el("tr");
    for (const name of ["value", "runs", "mean", "best", "against the mean of all"]) head.append(el("th", name, { scope: "col" }));
    table.append(head);
    for (const [, value, count, mean, top, off] of board.effects.filter((e) => e[0] === key)) {
      const line = el("tr"), bar = el("td"), holder = el("span", null, { class: "barbox" });
      for (const cell of [value, count, number(mean), number(top)]) line.append(el("td", cell, { class: "n" }));
      const length = 60 * Math.abs(off) / most;
      holder.append(el("i", null, { class: sign * off < 0 ? "better" : "worse", style: `width:${length}px;left:${off < 0 ? -length : 0}px` }));
      bar.append(holder, ` ${off > 0 ? "+" : ""}${number(off)}`); line.append(bar); table.append(line);
    }
    box.append(el("h3", key), table); $("effect-list").append(box);
  }
}

// Only cards in view hold an image of the moment: 200 of them stay fluid.
const cards = new Map(), inView = new Set();
function wall() {
  const slider = $("when");
  slider.max = Math.max(moments.length - 1, 0); slider.value = slider.max; slider.disabled = moments.length < 2;
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) { inView.add(target.dataset.run); paint(target.dataset.run); } else inView.delete(target.dataset.run);
    }
  }, { rootMargin: "600px" });
  for (const run of best) {
    const card = el("article", null, { class: "card", "data-run": run.id, "aria-label": run.name });
    const line = el("p", null, { class: "score" });
    line.append(el("span", number(run.score)), el("span", run.state, { class: run.state, title: run.reason }));
    card.append(el("div"), line, el("p", `${run.name} · seed ${run.seed}`, { class: "settings", title: run.name }));
    cards.set(run.id, card); $("wall-grid").append(card); watcher.observe(card);
  }
  let due = 0;
  slider.addEventListener("input", () => { cancelAnimationFrame(due); due = requestAnimationFrame(() => { told(); for (const id of inView) paint(id); }); });
  const told = () => { const at = moments[slider.value]; $("seen").textContent = at === undefined ? "no samples yet" : kimg(at); slider.setAttribute("aria-valuetext", $("seen").textContent); };
  told();
  $("order").addEventListener("change", (event) => { for (const run of event.target.value === "score" ? best : runs) $("wall-grid").append(cards.get(run.id)); });
}
function paint(id) {
  const run = byId.get(id), card = cards.get(id), url = run.wall[$("when").value];
  const old = card.firstChild;
  if (url) {
    if (old.tagName === "IMG") { if (old.src !== url) old.src = url; return; }
    old.replaceWith(el("img", null, { src: url, alt: `samples of ${run.name}`, decoding: "async" }));
  } else old.replaceWith(el("div", run.images ? `${run.state} at ${kimg(run.images)}` : run.state, { class: "gone" }));
}

function ended() {
  const chosen = runs.filter((run) => !["finished", "running", "planned", "pending"].includes(run.state));
  const head = el("tr");
  for (const name of ["run", "state", "images seen", "why"]) head.append(el("th", name, { scope: "col" }));
  const top = el("thead"), body = el("tbody"); top.append(head); $("ended-table").append(top, body);
  return chosen.map((run) => {
    const line = el("tr");
    line.append(el("td", run.name), el("td", run.state, { class: run.state }), el("td", kimg(run.images)), el("td", run.reason || "—"));
    body.append(line);
    return [line, [run.id]];
  });
}

function show() {
  for (const [line, ids] of rows) line.hidden = !ids.some((id) => passing.has(id));
  for (const [id, card] of cards) card.hidden = !passing.has(id);
  for (const [id, path] of lineOf) path.classList.toggle("off", !passing.has(id));
  axes.forEach((axis, i) => {
    const b = brushes.get(i);
    if (!axis.brush) return;
    axis.brush.setAttribute("y", b ? axes.y(b[1]) : 0); axis.brush.setAttribute("height", b ? Math.max(axes.y(b[0]) - axes.y(b[1]), 1) : 0);
  });
}

header();
const apply = filters();
parallel(apply); effects(); wall();
const rows = [...leaders(), ...ended()];
// What is below must not move under the pointer that filters.
const shelf = $("board-table").parentElement;
shelf.style.height = `${shelf.offsetHeight}px`;
apply();
requestAnimationFrame(() => requestAnimationFrame(() => { document.body.dataset.ready = performance.now().toFixed(0); }));
