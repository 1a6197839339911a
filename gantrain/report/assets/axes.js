// The axes of charts, in the page's colours.
const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => location.reload());  // canvases keep their colours

const colourNamed = (name) => getComputedStyle(document.body).getPropertyValue(name);
const thousands = (t) => t >= 1000 || t === 0 ? `${+(t / 1000).toPrecision(6)}k` : t;

function plainAxis() {
  const line = colourNamed("--line");
  return { stroke: colourNamed("--soft"), grid: { stroke: line, width: 1 }, ticks: { stroke: line }, font: "11px system-ui" };
}

function valueAxis(log) {
  const axis = plainAxis();
  return { ...axis, ...(log ? logAxis(axis) : {}), size: 54, values: (_, ticks) => ticks.map((t) => t === null ? "" : number(t)) };
}

// A logarithmic axis has a line at each digit of a decade; over many decades only at some of these.
function logAxis({ grid, ticks }) {
  const exponent = (t) => Math.floor(Math.log10(t) + 1e-9), digit = (t) => Math.round(t / 10 ** exponent(t));
  const keeping = (digits) => (_, splits) => {
    const every = splits.length > 30 ? Math.ceil(splits.length / 9 / 6) : 0;  // decades
    const kept = (t) => every ? digit(t) === 1 && exponent(t) % every === 0 : digits.includes(digit(t));
    return splits.map((t) => t !== null && kept(t) ? t : null);
  };
  const lines = keeping([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  return { grid: { ...grid, filter: lines }, ticks: { ...ticks, filter: lines }, filter: keeping([1, 2, 5]) };
}

// Draws a dashed line at what real images score.
function drawFloor(chart, floor) {
  const { ctx, bbox } = chart;
  const y = floor === null ? NaN : Math.round(chart.valToPos(floor, "y", true));
  if (!(y >= bbox.top && y <= bbox.top + bbox.height)) return;
  ctx.save(); ctx.strokeStyle = colourNamed("--ink"); ctx.lineWidth = devicePixelRatio; ctx.setLineDash([6, 4]);
  ctx.beginPath(); ctx.moveTo(bbox.left, y); ctx.lineTo(bbox.left + bbox.width, y); ctx.stroke(); ctx.restore();
}

const floorHint = (floor) => floor === null ? "" : `dashed: real images against real ones, ${number(floor)}`;
