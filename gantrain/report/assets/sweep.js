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
    const isNumeric = (cell) => /^[-\d.…e+≈ ]*$/.test(cell);
    for (const cell of cells) row.append(el("td", cell, isNumeric(cell) ? { class: "n" } : {}));
    const states = [...new Set(ids.map((id) => byId.get(id).state))].join(", ");
    const links = el("td", null, { class: "links" });
    for (const id of ids) links.append(linkTo(byId.get(id), id), " ");
    row.append(el("td", states, { class: byId.get(ids[0]).state }), links);
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

// Returns each row of the table with the id of its run.
function showStopped() {
  const head = el("thead"), headRow = el("tr"), body = el("tbody");
  for (const name of ["run", "state", "images seen", "reason"]) headRow.append(el("th", name, { scope: "col" }));
  head.append(headRow); $("ended-table").append(head, body);
  return runs.filter((run) => !ACTIVE_OR_FINISHED.includes(run.state)).map((run) => {
    const row = el("tr");
    const name = el("td");
    name.append(linkTo(run, run.name));
    row.append(name, el("td", run.state, { class: run.state }), el("td", kimg(run.images)), el("td", run.reason || "—"));
    body.append(row);
    return [row, [run.id]];
  });
}

function showMatching() {
  for (const [row, ids] of rows) row.hidden = !ids.some((id) => matching.has(id));
  for (const [id, card] of cards) card.hidden = !matching.has(id);
  for (const [id, path] of pathOf) path.classList.toggle("off", !matching.has(id));
  showMatchingCurves();
  axes.forEach((axis, i) => {
    if (!axis.brush) return;
    const [low, high] = brushes.get(i) ?? [null, null];
    axis.brush.setAttribute("y", low === null ? 0 : axes.y(high));
    axis.brush.setAttribute("height", low === null ? 0 : Math.max(axes.y(low) - axes.y(high), 1));
  });
}

showHeader();
const apply = addFilters();
addLegend($("legend"));
showCurves(); showParallelCoordinates(apply); showEffects(); showWall();
const rows = [...showLeaderboard(), ...showStopped()];
// A fixed height keeps the content below in place while a filter hides rows.
const container = $("board-table").parentElement;
container.style.height = `${container.offsetHeight}px`;
apply();
requestAnimationFrame(() => requestAnimationFrame(() => { document.body.dataset.ready = performance.now().toFixed(0); }));
