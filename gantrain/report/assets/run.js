// The page of one run.
const config = Object.fromEntries(data.config.map(([key, value]) => [key, value]));
const UNMARKED = ["checkpoint", "starts", "finished"];  // events that charts do not show
const TONES = { diagnosis: "warn", remedy: "good", resumes: "link" };
const ALL_EVENTS = "all except checkpoints";

function toneOf(event) {
  if (event.event === "diagnosis" && event.diagnosis === data.no_fault) return "good";
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
  $("headline").replaceChildren(...data.headline.map((part) => el("span", part)));
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

// Groups metrics into charts; each metric is in one chart.
function chartGroups(names) {
  const remaining = new Set(names), groups = [];
  const add = (title, metrics, options) => {
    const present = metrics.filter((name) => remaining.delete(name));
    if (present.length) groups.push([title, present, options]);
  };
  add("loss", ["loss/discriminator", "loss/generator"]);
  // A critic's scores mean something only relative to each other: it has no accuracy at 0.
  if (remaining.has("loss/wasserstein")) for (const kind of ["real", "fake"]) remaining.delete(`health/d_accuracy_${kind}`);
  add("score gap of the critic (Wasserstein estimate)", ["loss/wasserstein", "loss/critic_held_out"]);
  add("squared gradient of D at real (r1) and generated images (r2)", ["loss/r1", "loss/r2"]);
  const ends = (name) => ["low", "high"].map((end) => `interval/${name.slice("quality/".length)}_${end}`);
  // What hangs on the data set's classifier is shown with its accuracy.
  const classes = ["quality/classes_covered", "quality/classes_accuracy"];
  add("quality/classes_covered", [...classes, ...ends(classes[0])]);
  for (const name of names.filter((n) => n.startsWith("quality/"))) add(name, [name, ...ends(name)]);
  add("accuracy of D", ["health/d_accuracy_real", "health/d_accuracy_fake"]);
  add("pairs in which D scores the real image higher", ["health/d_pair_accuracy"]);
  add("gradient norms", ["health/d_grad_norm", "health/g_grad_norm"], { log: true });
  add("diversity of images", ["health/fake_spread", "health/real_spread"]);
  add("almost equal pairs of images", ["health/fake_twins", "health/real_twins"]);
  add("range of pixels", ["health/fake_range", "health/real_range"]);
  add("black and white pixels", ["health/fake_saturated", "health/real_saturated"]);
  add("relative change of weights in a step", ["health/d_weight_change", "health/g_weight_change"], { log: true });
  add("ADA: probability p of augmentation, overfitting r of D", ["augment/p", "augment/r"]);
  add("schedules of the learning rates", ["schedule/d_learning_rate", "schedule/g_learning_rate"]);
  add("schedules of Adam's β₂", ["schedule/d_beta2", "schedule/g_beta2"]);
  for (const network of "dg") remaining.delete(`health/${network}_rate_share`);  // the same, over the highest rate
  for (const name of [...remaining].filter((n) => !n.startsWith("interval/"))) add(name, [name]);
  return groups;
}

function createCurves() {
  if (!data.images.length) { $("curves").replaceChildren($("h-curves"), el("p", "No metrics yet.", { class: "none" })); return null; }
  const marks = data.events.filter((e) => !UNMARKED.includes(e.event)).map((e) => ({ images: e.images_seen, tone: toneOf(e) }));
  const curves = new Curves($("charts"), data.images, data.curves, chartGroups(Object.keys(data.curves)), marks);
  let frame = 0;
  $("smooth").addEventListener("input", (event) => {
    $("smooth-is").textContent = event.target.value;
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => curves.smooth(+event.target.value));
  });
  $("marks").addEventListener("change", (event) => { curves.showMarks = event.target.checked; curves.redraw(); });
  $("whole").addEventListener("click", () => curves.zoom(...curves.bounds));
  return curves;
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
  $("command").textContent = "accelerate launch gantrain/train.py --config config.yaml output.run_dir=runs/again";
  $("copy").addEventListener("click", () => {
    const url = URL.createObjectURL(new Blob([data.config_text], { type: "text/yaml" }));
    el("a", null, { href: url, download: "config.yaml" }).click();
  });
}

const curves = createCurves();
showHeader(); showGenerator(); showSamples(curves); showNumbers(); showEvents(); showConfig(); showOrigin(); showCommand();
requestAnimationFrame(() => requestAnimationFrame(() => { document.body.dataset.ready = performance.now().toFixed(0); }));
