// The page of one run.
const config = Object.fromEntries(data.config.map(([key, value]) => [key, value]));
const QUIET = ["checkpoint", "starts", "finished"];
const TONE = { diagnosis: "warn", remedy: "good", resumes: "link", goes_on: "link" };
const toneOf = (event) => event.event === "diagnosis" && event.diagnosis === "healthy" ? "good"
  : TONE[event.event] ?? (/diverge|fail|hung|rolled|skip|fault/.test(event.event) ? "bad" : "link");
const detailsOf = ({ time, images_seen, event, ...rest }) => Object.entries(rest)
  .filter(([, v]) => v !== null && v !== "" && !(Array.isArray(v) && !v.length))
  .map(([k, v]) => `${k}: ${typeof v === "object" ? JSON.stringify(v) : v}`).join(" · ");

function header() {
  const { status, images, curves } = data;
  const state = status.state ?? "unknown";
  $("name").textContent = data.name;
  $("state").textContent = state;
  $("state").classList.add(state);
  const seen = status.images_seen ?? images.at(-1) ?? 0, total = status.total_images;
  const speeds = (curves["speed/images_per_second"] ?? []).filter((v) => v !== null).sort((a, b) => a - b);
  const health = data.events.findLast((e) => e.event === "diagnosis");
  const facts = [
    ["images seen", total ? `${kimg(seen)} of ${kimg(total)}` : kimg(seen)],
    ["objective", config["objective.kind"]], ["images", config["data.size"] && `${config["data.size"]}×${config["data.size"]}×${config["data.channels"]}`],
    ["batch", config["training.batch_size"]], ["seed", config.seed],
    ["speed, median", speeds.length ? `${number(speeds[speeds.length >> 1])} images/s` : null],
    ["health", health?.diagnosis], ["data", config["data.shards"]],
    ["last sign of life", status.time && new Date(status.time * 1000).toISOString().slice(0, 16).replace("T", " ") + " UTC"],
    ["reason", status.reason],
  ];
  for (const [name, value] of facts) {
    if (value === undefined || value === null || value === "") continue;
    const pair = el("div"); pair.append(el("dt", name), el("dd", value)); $("facts").append(pair);
  }
  if (total) $("progress").value = seen / total; else $("progress").hidden = true;
  if (data.notes.length) { $("notes").hidden = false; $("notes").textContent = data.notes.join("; "); }
}

function samples(curves) {
  const { grids, real } = data, slider = $("when");
  if (real) $("real").src = real; else $("real").closest("figure").hidden = true;
  if (!grids.length) { $("samples").replaceChildren($("h-samples"), el("p", "No samples yet.", { class: "none" })); return; }
  slider.max = grids.length - 1;
  const show = () => {
    const [images, url] = grids[slider.value];
    $("fake").src = url; $("fake").alt = `samples at ${images.toLocaleString("en")} images`;
    $("seen").textContent = kimg(images);
    slider.setAttribute("aria-valuetext", kimg(images));
    curves?.at(images);
  };
  let timer = 0;
  const stop = () => { clearInterval(timer); timer = 0; $("play").setAttribute("aria-pressed", "false"); $("play").textContent = "Play"; };
  slider.addEventListener("input", () => { stop(); show(); });
  $("play").addEventListener("click", () => {
    if (timer) return stop();
    if (+slider.value === grids.length - 1) slider.value = 0;
    $("play").setAttribute("aria-pressed", "true"); $("play").textContent = "Pause";
    timer = setInterval(() => { if (+slider.value === grids.length - 1) return stop(); slider.value++; show(); }, 250);
  });
  slider.value = grids.length - 1;
  show();
}

function groupsOf(names) {
  const left = new Set(names), groups = [];
  const take = (title, wanted, options) => {
    const found = wanted.filter((name) => left.delete(name));
    if (found.length) groups.push([title, found, options]);
  };
  const quality = names.filter((n) => n.startsWith("quality/"));
  take("loss", ["loss/discriminator", "loss/generator"]);
  take("Wasserstein estimate", ["loss/wasserstein"]);
  for (const name of quality) take(name, [name]);
  take("accuracy of D", ["health/d_accuracy_real", "health/d_accuracy_fake"]);
  take("gradient norms", ["health/d_grad_norm", "health/g_grad_norm"], { log: true });
  take("spread of images", ["health/fake_spread", "health/real_spread"]);
  for (const name of names) take(name, [name]);
  return groups;
}

function curvesOf() {
  const names = Object.keys(data.curves);
  if (!data.images.length) { $("curves").replaceChildren($("h-curves"), el("p", "No metrics yet.", { class: "none" })); return null; }
  const marks = data.events.filter((e) => !QUIET.includes(e.event)).map((e) => ({ images: e.images_seen, tone: toneOf(e) }));
  const curves = new Curves($("charts"), data.images, data.curves, groupsOf(names), marks);
  let due = 0;
  $("smooth").addEventListener("input", (event) => {
    $("smooth-is").textContent = event.target.value;
    cancelAnimationFrame(due);
    due = requestAnimationFrame(() => curves.smooth(+event.target.value));
  });
  $("marks").addEventListener("change", (event) => { curves.showMarks = event.target.checked; curves.at(curves.moment); });
  $("whole").addEventListener("click", () => curves.zoom(...curves.bounds));
  return curves;
}

function tableOf(place, heads, rows) {
  const head = el("thead"), body = el("tbody"), top = el("tr");
  for (const name of heads) top.append(el("th", name, { scope: "col" }));
  head.append(top);
  for (const row of rows) {
    const line = el("tr", null, row.changed ? { class: "changed" } : {});
    for (const cell of row.cells) line.append(el("td", cell, typeof cell === "string" && /^-?[\d.,]+(e[+-]?\d+)?$/.test(cell) ? { class: "n" } : {}));
    body.append(line);
  }
  place.replaceChildren(head, body);
}

function numbers() {
  const rows = Object.entries(data.curves).map(([name, values]) => {
    const found = values.map((v, i) => [v, data.images[i]]).filter(([v]) => v !== null);
    if (!found.length) return null;
    let low = found[0], high = found[0];
    for (const pair of found) { if (pair[0] < low[0]) low = pair; if (pair[0] > high[0]) high = pair; }
    return { cells: [name, number(found.at(-1)[0]), number(low[0]), kimg(low[1]), number(high[0]), kimg(high[1])] };
  });
  tableOf($("table"), ["metric", "last", "lowest", "at", "highest", "at"], rows.filter(Boolean));
}

function events() {
  const kinds = [...new Set(data.events.map((e) => e.event))];
  for (const kind of ["all but checkpoints", ...kinds]) $("kind").append(el("option", kind));
  const show = () => {
    const kind = $("kind").value;
    const chosen = data.events.filter((e) => kind === e.event || (kind === "all but checkpoints" && e.event !== "checkpoint"));
    tableOf($("event-table"), ["images seen", "time (UTC)", "event", "details"], chosen.map((e) => ({
      cells: [kimg(e.images_seen ?? 0), e.time ? new Date(e.time * 1000).toISOString().slice(0, 19).replace("T", " ") : "—", e.event, detailsOf(e)] })));
  };
  $("kind").addEventListener("change", show);
  show();
}

function configTable() {
  const show = () => {
    const wanted = $("find").value.toLowerCase(), all = $("all").checked;
    const rows = data.config.filter(([key, value, standard]) => (all || standard !== null) && `${key} ${value}`.toLowerCase().includes(wanted));
    tableOf($("config-table"), ["key", "value", "default"], rows.map(([key, value, standard]) => ({ changed: standard !== null, cells: [key, value, standard ?? ""] })));
    $("found").textContent = `${rows.length} of ${data.config.length} keys`;
  };
  $("find").addEventListener("input", show); $("all").addEventListener("change", show);
  show();
}

function again() {
  $("command").textContent = "accelerate launch gantrain/train.py --config config.yaml output.run_dir=runs/again";
  $("copy").addEventListener("click", () => {
    const link = el("a", null, { href: URL.createObjectURL(new Blob([data.config_text], { type: "text/yaml" })), download: "config.yaml" });
    link.click();
  });
}

const curves = curvesOf();
header(); samples(curves); numbers(); events(); configTable(); again();
requestAnimationFrame(() => requestAnimationFrame(() => { document.body.dataset.ready = performance.now().toFixed(0); }));
