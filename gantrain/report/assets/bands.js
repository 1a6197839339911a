// The diagnosis over the training: a named band above the charts, and a strip in each of them.
// One colour for each problem; blue for no fault, so that nothing hangs on red against green.
const PROBLEMS = { light: ["#b3560a", "#5e1742", "#6d6200", "#7a1f1f", "#5b4bb0"], dark: ["#ffad5c", "#f08fc4", "#ff8f8a", "#b9aaff", "#e6d36a"] };

function bandColours(bands, isDark) {
  const scheme = isDark ? "dark" : "light", style = getComputedStyle(document.body);
  const problems = [...new Set(bands.filter((b) => b.tone === "bad").map((b) => b.name))];
  const fixed = { good: style.getPropertyValue("--link"), soft: style.getPropertyValue("--soft") };
  return new Map(bands.map((b) => [b.name, fixed[b.tone] ?? PROBLEMS[scheme][problems.indexOf(b.name) % PROBLEMS[scheme].length]]));
}

// Shows the bands within a range of images seen, on the axis of a timeline.
class BandBar {
  constructor(bar, legend, bands, colours, timeline) {
    Object.assign(this, { bar, legend, bands, colours, timeline });
    bar.hidden = legend.hidden = !bands.length;
    for (const [name, colour] of colours) {
      const item = el("li"), spans = bands.filter((b) => b.name === name).map((b) => `${+(b.start / 1000).toPrecision(4)}–${+(b.end / 1000).toPrecision(4)}`);
      item.append(el("i", null, { style: `background:${colour}` }), `${name}: ${spans.slice(0, 6).join(", ")}${spans.length > 6 ? ", …" : ""} kimg`);
      legend.append(item);
    }
  }

  show([from, to]) {
    const { timeline } = this, scale = timeline.log ? (x) => Math.log(Math.max(x, 1e-9)) : (x) => x;
    const first = timeline.log ? Math.max(timeline.xOf(from), timeline.xs.find((x) => x > 0) ?? 1) : timeline.xOf(from);
    const low = scale(first), high = scale(timeline.xOf(to));
    const percent = (images) => 100 * Math.min(1, Math.max(0, (scale(timeline.xOf(images)) - low) / (high - low || 1)));
    this.bar.replaceChildren(...this.bands.map(({ start, end, name }) => {
      const left = percent(start), width = percent(end) - left;
      return el("span", name, { title: name, style: `left:${left}%;width:${width}%;background:${this.colours.get(name)}` });
    }));
  }
}
