// The page of one run.
const config = Object.fromEntries(data.config.map(([key, value]) => [key, value]));
// Events without a line in the charts: bands show the diagnosis, and the quality has a chart.
const UNMARKED = ["checkpoint", "starts", "finished", "diagnosis", "best"];
const TONES = { remedy: "good", resumes: "link" };
const SECTIONS = ["Quality", "Classes", "Losses", "Health", "Schedules and speed"];  // of the folded charts
const ALL_EVENTS = "all except checkpoints";

function toneOf(event) {
  return TONES[event.event] ?? (/diverge|fail|hung|rolled|skip|fault/.test(event.event) ? "bad" : "link");
}

function detailsOf({ time, images_seen, event, ...details }) {
  return Object.entries(details)
    .filter(([, v]) => v !== null && v !== "" && !(Array.isArray(v) && !v.length))
    .map(([k, v]) => `${k}: ${typeof v === "object" ? JSON.stringify(v) : v}`).join(" · ");
}

function utc(seconds, length) {
  return new Date(seconds * 1000).toISOString().slice(0, length).replace("T", " ");
}

function showHeader() {
  const { status, images, curves } = data;
  $("name").textContent = data.name;
  $("state").textContent = data.state;
  $("state").classList.add(data.state);
  $("headline").textContent = data.headline.join(" · ");
  const seen = status.images_seen ?? images.at(-1) ?? 0, total = status.total_images;
  const speeds = (curves["speed/images_per_second"] ?? []).filter((v) => v !== null).sort((a, b) => a - b);
  const size = config["data.size"];
  const facts = [
    ["images seen", total ? `${kimg(seen)} of ${kimg(total)}` : kimg(seen)],
    ["objective", config["objective.kind"]],
    ["image size", size && `${size}×${size}×${config["data.channels"]}`],
    ["batch size", config["training.batch_size"]], ["seed", config.seed],
    ["median speed", speeds.length ? `${number(speeds[speeds.length >> 1])} images/s` : null],
    ["best", data.best && `${data.best.metric} ${number(data.best.value)} at ${kimg(data.best.images_seen)}`],
    ["data", config["data.shards"]],
    ["last update", status.time && `${utc(status.time, 16)} UTC`],
    ["page written", `${utc(data.written, 16)} UTC`],
    ["reason", status.reason],
  ];
  for (const [name, value] of facts) {
    if (value === undefined || value === null || value === "") continue;
    const pair = el("div");
    pair.append(el("dt", name), el("dd", value));
    $("facts").append(pair);
  }
  if (total) $("progress").value = seen / total; else $("progress").hidden = true;
  if (data.notes.length) { $("notes").hidden = false; $("notes").textContent = data.notes.join("; "); }
}

// How the run came about: its newest start, and when it was started and ended.
function showOrigin() {
  fillTable($("origin"), ["provenance", "of the newest start"], data.origin.map((cells) => ({ cells })));
  const [columns, ...starts] = data.starts;
  if (starts.length) fillTable($("starts"), columns, starts.map((cells) => ({ cells })));
  else $("starts").hidden = true;
}

// Shows the class of each row beside an image; nothing without classes.
function labelRows(list, classes) {
  list.hidden = !classes.length;
  list.replaceChildren(...classes.map((name) => el("li", name, { title: name })));
}

// The generator that the report was asked for, with the values of exactly its weights.
function showGenerator() {
  if (!data.generator) return;
  const { file, images_seen, samples, rows: classes, measured, intervals } = data.generator;
  const seen = images_seen === null ? "" : ` at ${kimg(images_seen)}`;
  $("generator").hidden = false;
  $("h-generator").textContent = `Generator${seen} (${file})`;
  $("generated").src = samples; $("generated").alt = `samples of the generator${seen}`;
  labelRows($("generated-rows"), classes);
  const rows = Object.entries(measured).map(([name, value]) => ({ cells: [name, number(value), (intervals[name] ?? []).map(number).join(" … ")] }));
  if (rows.length) fillTable($("measured"), ["metric", "value", "95% interval"], rows); else $("unmeasured").hidden = false;
}

function showSamples(curves) {
  const { grids, real } = data, slider = $("when");
  for (const id of ["fake-rows", "real-rows"]) labelRows($(id), data.rows);
  if (real) $("real").src = real; else $("real").closest("figure").hidden = true;
  if (!grids.length) { $("samples").replaceChildren($("h-samples"), el("p", "No samples yet.", { class: "none" })); return; }
  slider.max = grids.length - 1;
  const show = () => {
    const [images, url] = grids[slider.value];
    $("fake").src = url; $("fake").alt = `samples at ${images.toLocaleString("en")} images`;
    $("seen").textContent = kimg(images);
    slider.setAttribute("aria-valuetext", kimg(images));
    curves?.select(images);
  };
  const atEnd = () => +slider.value === grids.length - 1;
  let timer = 0;
  const stop = () => { clearInterval(timer); timer = 0; $("play").setAttribute("aria-pressed", "false"); $("play").textContent = "Play"; };
  slider.addEventListener("input", () => { stop(); show(); });
  $("play").addEventListener("click", () => {
    if (timer) return stop();
    if (atEnd()) slider.value = 0;
    $("play").setAttribute("aria-pressed", "true"); $("play").textContent = "Pause";
    timer = setInterval(() => { if (atEnd()) return stop(); slider.value++; show(); }, 250);
  });
  slider.value = grids.length - 1;
  show();
}

const timeline = new Timeline(data.images, data.seconds);

function createCurves() {
  if (!data.images.length) { $("curves").replaceChildren($("h-curves"), el("p", "No metrics yet.", { class: "none" })); return null; }
  const marks = data.events.filter((e) => !UNMARKED.includes(e.event)).map((e) => ({ images: e.images_seen, tone: toneOf(e) }));
  const colours = bandColours(data.bands, dark.matches);
  const curves = new Curves(timeline, data.curves, marks, data.bands, colours);
  const bar = new BandBar($("band"), $("band-legend"), data.bands, colours, timeline);
  curves.onRange = (range) => bar.show(range);
  bar.show(curves.range);
  curves.add($("main-charts"), data.charts.headline, TALL);
  const present = new Set(data.charts.others.map((chart) => chart.section));
  for (const section of SECTIONS) if (present.has(section)) addFolded(curves, section);
  connectChartControls(curves);
  return curves;
}

// A folded chart is drawn when it is first seen.
function addFolded(curves, section) {
  const charts = data.charts.others.filter((chart) => chart.section === section);
  const details = el("details", null, { "data-section": section }), box = el("div", null, { class: "charts" });
  details.append(el("summary", `${section} (${charts.length} chart${charts.length > 1 ? "s" : ""})`), box);
  details.addEventListener("toggle", () => { if (details.open && !box.children.length) curves.add(box, charts); });
  $("folded").append(details);
}

function connectChartControls(curves) {
  let frame = 0;
  $("smooth").addEventListener("input", (event) => {
    $("smooth-is").textContent = event.target.value;
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => curves.smooth(+event.target.value));
  });
  $("marks").addEventListener("change", (event) => { curves.showMarks = event.target.checked; curves.redraw(); });
  $("whole").addEventListener("click", () => curves.zoom(...curves.bounds));
  if (!data.seconds.length) for (const option of $("x-axis").querySelectorAll("[value^=time]")) option.remove();
  $("x-axis").addEventListener("change", (event) => {
    [timeline.unit, timeline.log] = [event.target.value.split(" ")[0], event.target.value.endsWith("log")];
    curves.rebuild();
  });
  $("y-axis").addEventListener("change", (event) => { curves.y = event.target.value; curves.rebuild(); });
}

function fillTable(table, headings, rows) {
  const head = el("thead"), body = el("tbody"), headRow = el("tr");
  for (const heading of headings) headRow.append(el("th", heading, { scope: "col" }));
  head.append(headRow);
  for (const { cells, changed } of rows) {
    const row = el("tr", null, changed ? { class: "changed" } : {});
    for (const cell of cells) {
      const numeric = typeof cell === "string" && /^-?[\d.,]+(e[+-]?\d+)?$/.test(cell);
      row.append(el("td", cell, numeric ? { class: "n" } : {}));
    }
    body.append(row);
  }
  table.replaceChildren(head, body);
}

function showNumbers() {
  const rows = Object.entries(data.curves).map(([name, values]) => {
    const points = values.map((v, i) => [v, data.images[i]]).filter(([v]) => v !== null);
    if (!points.length) return null;
    let low = points[0], high = points[0];
    for (const point of points) { if (point[0] < low[0]) low = point; if (point[0] > high[0]) high = point; }
    return { cells: [name, number(points.at(-1)[0]), number(low[0]), kimg(low[1]), number(high[0]), kimg(high[1])] };
  });
  fillTable($("table"), ["metric", "last", "lowest", "at", "highest", "at"], rows.filter(Boolean));
}

function showEvents() {
  const kinds = [...new Set(data.events.map((e) => e.event))];
  for (const kind of [ALL_EVENTS, ...kinds]) $("kind").append(el("option", kind));
  const show = () => {
    const kind = $("kind").value;
    const events = data.events.filter((e) => kind === e.event || (kind === ALL_EVENTS && e.event !== "checkpoint"));
    fillTable($("event-table"), ["images seen", "time (UTC)", "event", "details"], events.map((e) => ({
      cells: [kimg(e.images_seen ?? 0), e.time ? utc(e.time, 19) : "—", e.event, detailsOf(e)] })));
  };
  $("kind").addEventListener("change", show);
  show();
}

function showConfig() {
  const show = () => {
    const query = $("find").value.toLowerCase(), all = $("all").checked;
    const rows = data.config.filter(([key, value, standard]) => (all || standard !== null) && `${key} ${value}`.toLowerCase().includes(query));
    fillTable($("config-table"), ["key", "value", "default"], rows.map(([key, value, standard]) => ({ changed: standard !== null, cells: [key, value, standard ?? ""] })));
    $("found").textContent = `${rows.length} of ${data.config.length} keys`;
  };
  $("find").addEventListener("input", show); $("all").addEventListener("change", show);
  show();
}

function showCommand() {
  $("command").textContent = "gantrain train config.yaml output.run_dir=runs/again";
  $("copy").addEventListener("click", () => {
    const url = URL.createObjectURL(new Blob([data.config_text], { type: "text/yaml" }));
    el("a", null, { href: url, download: "config.yaml" }).click();
  });
}

const curves = createCurves();
showHeader(); showGenerator(); showSamples(curves); showNumbers(); showEvents(); showConfig(); showOrigin(); showCommand();
requestAnimationFrame(() => requestAnimationFrame(() => { document.body.dataset.ready = performance.now().toFixed(0); }));
