// Charts over images seen that zoom together, with events as vertical lines.
const dark = matchMedia("(prefers-color-scheme: dark)");
const HEIGHT = 190, MIN_WIDTH = 240;  // pixels
const SPARSE = 60;  // values; curves with fewer show their points
const COLOURS = {
  light: ["#1663b0", "#b3560a", "#1a7a45", "#b52a2a", "#7440a8", "#6d6200"],
  dark: ["#6db3ff", "#ffad5c", "#6fd39b", "#ff8f8a", "#c9a3ff", "#e6d36a"],
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

// series: values by metric. groups: [title, [metric, …], {log}] of each chart.
// marks: {images, tone} of each event. bounds: the whole run.
class Curves {
  constructor(container, images, series, groups, marks) {
    Object.assign(this, { images, series, marks, showMarks: true, selected: null, charts: [] });
    this.bounds = [images[0] ?? 0, images[images.length - 1] ?? 1];
    if (this.bounds[0] === this.bounds[1]) this.bounds[1] += 1;
    this.range = [...this.bounds];
    for (const group of groups) this.add(container, group);
    new ResizeObserver(() => this.fit()).observe(container);
    dark.addEventListener("change", () => location.reload());
  }

  add(container, [title, names, options]) {
    const label = `${title} over images seen; plus, minus, arrows and 0 zoom`;
    const box = el("div", null, { class: "chart", tabindex: "0", role: "group", "aria-label": label });
    box.append(el("h3", title));
    container.append(box);
    const chart = new uPlot(this.options(box, names, options), this.data(names, 0, options), box);
    chart.over.addEventListener("dblclick", () => this.zoom(...this.bounds));
    box.addEventListener("keydown", (event) => this.key(event));
    this.charts.push({ chart, box, names, options });
  }

  options(box, names, options) {
    const style = getComputedStyle(document.body);
    const line = style.getPropertyValue("--line");
    const axis = { stroke: style.getPropertyValue("--soft"), grid: { stroke: line, width: 1 }, ticks: { stroke: line }, font: "11px system-ui" };
    const thousands = (t) => t >= 1000 || t === 0 ? `${+(t / 1000).toPrecision(6)}k` : t;
    return {
      width: Math.max(box.clientWidth - 10, MIN_WIDTH), height: HEIGHT,
      cursor: { sync: { key: "images" }, drag: { x: true, y: false }, points: { size: 5 } },
      scales: { x: { time: false, range: () => this.range }, y: options?.log ? { distr: 3 } : {} },
      axes: [
        { ...axis, size: 30, values: (_, ticks) => ticks.map(thousands) },
        { ...axis, size: 52, values: (_, ticks) => ticks.map((t) => t === null ? "" : number(t)) },
      ],
      series: [
        { label: "images", value: (_, v) => v === null ? "—" : v.toLocaleString("en") },
        ...names.map((name, i) => this.seriesOptions(name, i)),
      ],
      hooks: {
        draw: [(chart) => this.drawMarks(chart)],
        setSelect: [(chart) => {
          const { left, width } = chart.select;
          if (width > 2) this.zoom(chart.posToVal(left, "x"), chart.posToVal(left + width, "x"));
        }],
      },
    };
  }

  seriesOptions(name, i) {
    const colours = COLOURS[dark.matches ? "dark" : "light"];
    const count = this.series[name].reduce((n, v) => n + (v !== null), 0);
    const isEnd = name.startsWith("interval/");  // of the 95% interval of the chart's first metric
    return {
      label: isEnd ? name.split("_").at(-1) : name.split("/").slice(1).join("/") || name,
      stroke: colours[isEnd ? 0 : i % colours.length], spanGaps: true,
      ...(isEnd ? { width: 0.7, dash: [4, 3] } : { width: 1.4 }),
      points: { show: count < SPARSE && !isEnd, size: 4 }, value: (_, v) => number(v),
    };
  }

  data(names, decay, options) {
    const positive = (values) => options?.log ? values.map((v) => v > 0 ? v : null) : values;
    return [this.images, ...names.map((name) => smoothed(positive(this.series[name]), decay))];
  }

  smooth(decay) {
    for (const { chart, names, options } of this.charts) chart.setData(this.data(names, decay, options));
  }

  zoom(from, to) {
    const [low, high] = this.bounds, minimum = (high - low) / 1e4;
    from = Math.max(from, low); to = Math.min(to, high);
    if (to - from < minimum) return;
    this.range = [from, to];
    for (const { chart } of this.charts) {
      chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      chart.setScale("x", { min: from, max: to });
    }
    document.body.dataset.range = this.range.map(Math.round).join(" ");
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

  drawMarks(chart) {
    const { ctx, bbox } = chart, style = getComputedStyle(document.body);
    const draw = (images, colour, dash) => {
      const x = Math.round(chart.valToPos(images, "x", true));
      if (!(x >= bbox.left && x <= bbox.left + bbox.width)) return;
      ctx.strokeStyle = style.getPropertyValue(colour); ctx.setLineDash(dash);
      ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
    };
    ctx.save(); ctx.lineWidth = devicePixelRatio;
    if (this.showMarks) for (const { images, tone } of this.marks) draw(images, `--${tone}`, [3, 3]);
    if (this.selected !== null) draw(this.selected, "--soft", []);
    ctx.restore();
  }

  fit() {
    for (const { chart, box } of this.charts) {
      const width = Math.max(box.clientWidth - 10, MIN_WIDTH);
      if (width !== chart.width) chart.setSize({ width, height: HEIGHT });
    }
  }
}
