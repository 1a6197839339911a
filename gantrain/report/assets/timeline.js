// The x axis of charts: images seen, or seconds of training, from images seen at each point.
const SPANS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 43200, 86400, 172800, 432000, 864000];

// Returns y at x on the line through points with ascending xs; the outer segments end there.
function interpolate(x, xs, ys) {
  if (x <= xs[0]) return ys[0];
  let low = 0, high = xs.length - 1;
  if (x >= xs[high]) return ys[high];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= x) low = middle; else high = middle;
  }
  return ys[low] + (ys[high] - ys[low]) * (x - xs[low]) / (xs[high] - xs[low] || 1);
}

function duration(seconds) {
  const [size, unit] = seconds < 60 ? [1, "s"] : seconds < 3600 ? [60, "min"] : [3600, "h"];
  return `${+(seconds / size).toPrecision(3)} ${unit}`;
}

// images, seconds: at each point. Positions on the axis are called x.
class Timeline {
  constructor(images, seconds) {
    Object.assign(this, { images, seconds, unit: "images", log: false });
    this.from = [0, ...images]; this.to = [0, ...seconds];
  }

  get inTime() { return this.unit === "time" && this.seconds.length > 0; }
  get xs() { return this.inTime ? this.seconds : this.images; }
  xOf(images) { return this.inTime ? interpolate(images, this.from, this.to) : images; }
  imagesAt(x) { return this.inTime ? interpolate(x, this.to, this.from) : x; }

  scale(range) {
    const low = () => this.xOf(range()[0]), high = () => this.xOf(range()[1]);
    // Nothing at 0 has a place on a logarithmic axis.
    const first = this.xs.find((x) => x > 0) ?? 1;
    return this.log ? { time: false, distr: 3, range: () => [Math.max(low(), first), high()] } : { time: false, range: () => [low(), high()] };
  }

  axis() {
    const label = this.inTime ? duration : thousands;
    return { values: (_, ticks) => ticks.map((t) => t === null ? "" : label(t)), ...(this.inTime && !this.log ? { incrs: SPANS } : {}) };
  }

  label(x) { return x === null ? "—" : this.inTime ? duration(x) : x.toLocaleString("en"); }
}
