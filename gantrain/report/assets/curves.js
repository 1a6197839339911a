// Charts over images seen that zoom together, with events as marks.
const dark = matchMedia("(prefers-color-scheme: dark)");
const COLOURS = () => dark.matches
  ? ["#6db3ff", "#ffad5c", "#6fd39b", "#ff8f8a", "#c9a3ff", "#e6d36a"]
  : ["#1663b0", "#b3560a", "#1a7a45", "#b52a2a", "#7440a8", "#6d6200"];

function smoothed(values, weight) {
  if (!weight) return values;
  let mean = 0, share = 0;
  return values.map((value) => {
    if (value === null) return null;
    mean = weight * mean + (1 - weight) * value;
    share = weight * share + (1 - weight);  // so that the first values are not drawn to 0
    return mean / share;
  });
}

// group: [title, [metric, …], {log}]; curves.bounds is the whole run.
class Curves {
  constructor(place, images, series, groups, marks) {
    Object.assign(this, { images, series, marks, showMarks: true, moment: null, charts: [] });
    this.bounds = [images[0] ?? 0, images[images.length - 1] ?? 1];
    if (this.bounds[0] === this.bounds[1]) this.bounds[1] += 1;
    this.range = [...this.bounds];
    for (const group of groups) this.add(place, group);
    new ResizeObserver(() => this.fit()).observe(place);
    dark.addEventListener("change", () => location.reload());
  }

  add(place, [title, names, options]) {
    const box = el("div", null, { class: "chart", tabindex: "0", role: "group", "aria-label": `${title} over images seen; plus, minus, arrows and 0 zoom` });
    box.append(el("h3", title));
    place.append(box);
    const style = getComputedStyle(document.body);
    const ink = style.getPropertyValue("--soft"), line = style.getPropertyValue("--line");
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line }, font: "11px system-ui" };
    const colours = COLOURS();
    const chart = new uPlot({
      width: Math.max(box.clientWidth - 10, 240), height: 190,
      cursor: { sync: { key: "images" }, drag: { x: true, y: false }, points: { size: 5 } },
      scales: { x: { time: false, range: () => this.range }, y: options?.log ? { distr: 3 } : {} },
      axes: [
        { ...axis, size: 30, values: (_, ticks) => ticks.map((t) => t >= 1000 || t === 0 ? `${+(t / 1000).toPrecision(6)}k` : t) },
        { ...axis, size: 52, values: (_, ticks) => ticks.map((t) => t === null ? "" : number(t)) },
      ],
      series: [
        { label: "images", value: (_, v) => v === null ? "—" : v.toLocaleString("en") },
        ...names.map((name, i) => {
          const few = this.series[name].reduce((n, v) => n + (v !== null), 0) < 60;
          return { label: name.split("/").slice(1).join("/") || name, stroke: colours[i % colours.length], width: 1.4, spanGaps: true, points: { show: few, size: 4 }, value: (_, v) => number(v) };
        }),
      ],
      hooks: {
        draw: [(u) => this.drawMarks(u)],
        setSelect: [(u) => { if (u.select.width > 2) this.zoom(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")); }],
      },
    }, this.data(names, 0, options), box);
    chart.over.addEventListener("dblclick", () => this.zoom(...this.bounds));
    box.addEventListener("keydown", (event) => this.key(event));
    this.charts.push({ chart, box, names, options });
  }

  data(names, weight, options) {
    const of = (name) => options?.log ? this.series[name].map((v) => v > 0 ? v : null) : this.series[name];
    return [this.images, ...names.map((name) => smoothed(of(name), weight))];
  }

  smooth(weight) {
    for (const { chart, names, options } of this.charts) chart.setData(this.data(names, weight, options));
  }

  zoom(from, to) {
    const [low, high] = this.bounds, least = (high - low) / 1e4;
    from = Math.max(from, low); to = Math.min(to, high);
    if (to - from < least) return;
    this.range = [from, to];
    for (const { chart } of this.charts) {
      chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      chart.setScale("x", { min: from, max: to });
    }
    document.body.dataset.range = this.range.map(Math.round).join(" ");
  }

  key(event) {
    const [from, to] = this.range, width = to - from, middle = (from + to) / 2;
    const shift = (by) => {
      const move = Math.max(this.bounds[0] - from, Math.min(by, this.bounds[1] - to));
      this.zoom(from + move, to + move);
    };
    const act = {
      "+": () => this.zoom(middle - width / 4, middle + width / 4),
      "=": () => this.zoom(middle - width / 4, middle + width / 4),
      "-": () => this.zoom(middle - width, middle + width),
      ArrowLeft: () => shift(-width / 4), ArrowRight: () => shift(width / 4),
      0: () => this.zoom(...this.bounds),
    }[event.key];
    if (act) { act(); event.preventDefault(); }
  }

  at(images) { this.moment = images; for (const { chart } of this.charts) chart.redraw(false); }

  drawMarks(u) {
    const { ctx, bbox } = u, style = getComputedStyle(document.body);
    const draw = (images, colour, dash) => {
      const x = Math.round(u.valToPos(images, "x", true));
      if (!(x >= bbox.left && x <= bbox.left + bbox.width)) return;
      ctx.strokeStyle = colour; ctx.setLineDash(dash);
      ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
    };
    ctx.save(); ctx.lineWidth = devicePixelRatio;
    if (this.showMarks) for (const mark of this.marks) draw(mark.images, style.getPropertyValue(`--${mark.tone}`), [3, 3]);
    if (this.moment !== null) draw(this.moment, style.getPropertyValue("--soft"), []);
    ctx.restore();
  }

  fit() {
    for (const { chart, box } of this.charts) {
      const width = Math.max(box.clientWidth - 10, 240);
      if (width !== chart.width) chart.setSize({ width, height: 190 });
    }
  }
}
