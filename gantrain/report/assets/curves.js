// Charts over the training that zoom together, with events as vertical lines and the diagnosis as a strip.
const HEIGHT = 190, TALL = 240, MIN_WIDTH = 200;  // pixels
const SPARSE = 60;  // values; curves with fewer show their points
const STRIP = 5;  // pixels
const COLOURS = {
  light: ["#1663b0", "#b3560a", "#1a7a45", "#b52a2a", "#7440a8", "#6d6200", "#0a7d8c", "#8c5a3c"],
  dark: ["#6db3ff", "#ffad5c", "#6fd39b", "#ff8f8a", "#c9a3ff", "#e6d36a", "#6fd6e0", "#d9b08c"],
};

// Exponential moving average with bias correction, so that the start is not pulled towards 0.
function smoothed(values, decay) {
  if (!decay) return values;
  let mean = 0, weight = 0;
  return values.map((value) => {
    if (value === null) return null;
    mean = decay * mean + (1 - decay) * value;
    weight = decay * weight + (1 - decay);
    return mean / weight;
  });
}

// A line continues to its neighbours outside the range, also if other metrics have values in between.
const straight = uPlot.paths.linear();
function pathsToNeighbours(chart, index, from, to) {
  const values = chart.data[index];
  while (from > 0 && values[from] === null) from--;
  while (to < values.length - 1 && values[to] === null) to++;
  return straight(chart, index, from, to);
}

// Returns the lowest and highest point of a curve between two xs, ends included.
function extentOf(xs, values, from, to) {
  let low = Infinity, high = -Infinity, before = null;
  const add = (y) => { low = Math.min(low, y); high = Math.max(high, y); };
  for (let i = 0; i < xs.length; i++) {
    if (values[i] === null) continue;
    const point = [xs[i], values[i]];
    const crosses = (edge) => before && before[0] < edge && edge < point[0];
    for (const edge of [from, to]) if (crosses(edge)) add(interpolate(edge, [before[0], point[0]], [before[1], point[1]]));
    if (point[0] >= from && point[0] <= to) add(point[1]);
    if (point[0] > to) break;
    before = point;
  }
  return [low, high];
}

// timeline: a Timeline. series: values by metric. marks: {images, tone} of each event.
// bands: spans of one diagnosis, with their colours by name. bounds: images seen of the whole run.
class Curves {
  constructor(timeline, series, marks, bands, colours) {
    const { images } = timeline;
    Object.assign(this, { timeline, images, series, marks, bands, colours, showMarks: true, selected: null, decay: 0, y: "each", charts: [], onRange: () => {} });
    this.bounds = [images[0] ?? 0, images[images.length - 1] ?? 1];
    if (this.bounds[0] === this.bounds[1]) this.bounds[1] += 1;
    this.range = [...this.bounds];
    this.observer = new ResizeObserver(() => this.fit());
  }

  // specs: {title, metrics, hint, floor, log} of each chart.
  add(container, specs, height = HEIGHT) {
    for (const spec of specs) {
      const box = el("div", null, { class: "chart", tabindex: "0", role: "group", "aria-label": `${spec.title}; plus, minus, arrows and 0 zoom` });
      box.append(el("h3", spec.title));
      const hints = [spec.hint, floorHint(spec.floor)].filter(Boolean);
      if (hints.length) box.append(el("p", hints.join(" · "), { class: "hint" }));
      container.append(box);
      box.addEventListener("keydown", (event) => this.key(event));
      const entry = { box, height, names: spec.metrics, spec };
      this.charts.push(entry);
      this.draw(entry);
    }
    this.observer.observe(container);
  }

  draw(entry) {
    entry.chart?.destroy();
    entry.log = this.isLog(entry);
    entry.rows = this.rowsOf(entry.names);
    entry.chart = new uPlot(this.options(entry), this.data(entry), entry.box);
    entry.chart.over.addEventListener("dblclick", () => this.zoom(...this.bounds));
  }

  // Draws all charts anew, after another choice of axes.
  rebuild() {
    for (const entry of this.charts) this.draw(entry);
    this.onRange(this.range);
  }

  isLog({ names, spec }) {
    const positive = () => names.every((name) => this.series[name].every((v) => v === null || v > 0));
    return this.y === "each" ? spec.log : this.y === "log" && (spec.log || positive());
  }

  // The points at which a chart has any value: those of a sparse metric are neighbours there.
  rowsOf(names) {
    return this.images.map((_, i) => i).filter((i) => names.some((name) => this.series[name][i] !== null));
  }

  options({ box, names, spec, log, height }) {
    const axis = plainAxis();
    const series = names.map((name, i) => this.seriesOptions(name, i));
    const ends = ["_high", "_low"].map((end) => 1 + names.findIndex((name) => name.startsWith("interval/") && name.endsWith(end)));
    return {
      width: Math.max(box.clientWidth - 10, MIN_WIDTH), height,
      cursor: { sync: { key: "images" }, drag: { x: true, y: false }, points: { size: 5 } },
      scales: { x: this.timeline.scale(() => this.range), y: { distr: log ? 3 : 1, range: (chart) => this.yRange(chart, spec, log) } },
      axes: [
        { ...axis, size: 30, ...this.timeline.axis() },
        valueAxis(log),
      ],
      legend: { markers: { width: 0, fill: (_, i) => i ? series[i - 1].stroke : "transparent" } },
      series: [{ label: this.timeline.inTime ? "time" : "images", value: (_, v) => this.timeline.label(v) }, ...series],
      bands: ends.every(Boolean) ? [{ series: ends, fill: `${series[0].stroke}22` }] : [],
      hooks: {
        draw: [(chart) => this.drawMarks(chart, spec)],
        setSelect: [(chart) => {
          const { left, width } = chart.select, at = (x) => this.timeline.imagesAt(chart.posToVal(x, "x"));
          if (width > 2) this.zoom(at(left), at(left + width));
        }],
      },
    };
  }

  seriesOptions(name, i) {
    const colours = COLOURS[dark.matches ? "dark" : "light"];
    const count = this.series[name].reduce((n, v) => n + (v !== null), 0);
    const isEnd = name.startsWith("interval/");  // of the 95% interval of the chart's first metric
    return {
      label: isEnd ? name.split("_").at(-1) : name.split("/").slice(name.startsWith("class/") ? 2 : 1).join("/") || name,
      stroke: colours[isEnd ? 0 : i % colours.length], spanGaps: true, paths: pathsToNeighbours,
      ...(isEnd ? { width: 0.7, dash: [4, 3] } : { width: 1.6 }),
      points: { show: count < SPARSE && !isEnd, size: 4 }, value: (_, v) => number(v),
    };
  }

  yRange(chart, { floor }, log) {
    const [min, max] = this.range.map((images) => this.timeline.xOf(images));
    let [low, high] = [floor ?? Infinity, floor ?? -Infinity];
    for (const values of chart.data.slice(1)) {
      const [lowest, highest] = extentOf(chart.data[0], values, min, max);
      low = Math.min(low, lowest); high = Math.max(high, highest);
    }
    if (!(low <= high)) return log ? [1, 10] : [0, 1];
    if (log) return low > 0 ? uPlot.rangeLog(low, high === low ? low * 2 : high, 10, false) : [1e-3, Math.max(high, 1)];
    return uPlot.rangeNum(low, high, 0.1, false);
  }

  data({ names, rows, log }) {
    const shown = (values) => rows.map((i) => log && !(values[i] > 0) ? null : values[i]);
    return [rows.map((i) => this.timeline.xs[i]), ...names.map((name) => smoothed(shown(this.series[name]), this.decay))];
  }

  smooth(decay) {
    this.decay = decay;
    for (const entry of this.charts) entry.chart.setData(this.data(entry));
  }

  zoom(from, to) {
    const [low, high] = this.bounds, minimum = (high - low) / 1e4;
    from = Math.max(from, low); to = Math.min(to, high);
    if (to - from < minimum) return;
    this.range = [from, to];
    for (const { chart } of this.charts) {
      chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      chart.setScale("x", { min: this.timeline.xOf(from), max: this.timeline.xOf(to) });
    }
    document.body.dataset.range = this.range.map(Math.round).join(" ");
    this.onRange(this.range);
  }

  key(event) {
    const [from, to] = this.range, width = to - from, centre = (from + to) / 2;
    const shift = (by) => {
      const offset = Math.max(this.bounds[0] - from, Math.min(by, this.bounds[1] - to));
      this.zoom(from + offset, to + offset);
    };
    const zoomIn = () => this.zoom(centre - width / 4, centre + width / 4);
    const action = {
      "+": zoomIn, "=": zoomIn,
      "-": () => this.zoom(centre - width, centre + width),
      ArrowLeft: () => shift(-width / 4), ArrowRight: () => shift(width / 4),
      0: () => this.zoom(...this.bounds),
    }[event.key];
    if (action) { action(); event.preventDefault(); }
  }

  // Marks the images seen of the sample grid on display.
  select(images) { this.selected = images; this.redraw(); }

  redraw() { for (const { chart } of this.charts) chart.redraw(false); }

  drawMarks(chart, { floor }) {
    const { ctx, bbox } = chart, style = getComputedStyle(document.body);
    const right = bbox.left + bbox.width, at = (images) => Math.round(chart.valToPos(this.timeline.xOf(images), "x", true));
    const draw = (images, colour, dash) => {
      const x = at(images);
      if (!(x >= bbox.left && x <= right)) return;
      ctx.strokeStyle = style.getPropertyValue(colour); ctx.setLineDash(dash);
      ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
    };
    ctx.save(); ctx.lineWidth = devicePixelRatio;
    for (const { start, end, name } of this.bands) {
      // The start of the run has no place on a logarithmic axis.
      const from = Math.max(bbox.left, start > 0 ? at(start) : 0), to = Math.min(right, at(end));
      ctx.fillStyle = this.colours.get(name);
      if (to > from) ctx.fillRect(from, bbox.top, to - from, STRIP * devicePixelRatio);
    }
    if (this.showMarks) for (const { images, tone } of this.marks) draw(images, `--${tone}`, [3, 3]);
    if (this.selected !== null) draw(this.selected, "--soft", []);
    ctx.restore();
    drawFloor(chart, floor);
  }

  fit() {
    for (const { chart, box, height } of this.charts) {
      const width = Math.max(box.clientWidth - 10, MIN_WIDTH);
      if (box.clientWidth && width !== chart.width) chart.setSize({ width, height });
    }
  }
}
