// One metric of all runs of a sweep in one chart.
const NEAR = 28, SPARSE_POINTS = 40;  // pixels; values of a curve below which its points are shown
let overlay = null;

function showCurves() {
  const metrics = Object.keys(data.curves);
  if (!metrics.length) { $("curves").replaceChildren($("h-curves"), el("p", "No metrics yet.", { class: "none" })); return; }
  for (const name of metrics) $("metric").append(el("option", name));
  $("metric").addEventListener("change", () => { $("curve-log").checked = wantsLog(); drawCurves(); });
  $("curve-log").addEventListener("change", drawCurves);
  $("curve-log").checked = wantsLog();
  drawCurves();
  new ResizeObserver(() => overlay?.setSize({ width: chartWidth(), height: overlay.height })).observe($("overlay"));
}

const chartWidth = () => Math.max($("overlay").clientWidth, 240);
const valuesOf = () => Object.values(data.curves[$("metric").value].values).flat().filter((v) => v !== null);

// Of a diverged run, or of a loss over decades, a linear axis shows nothing else.
function wantsLog() {
  const values = valuesOf().sort((a, b) => a - b);
  return values[0] > 0 && values.at(-1) / values[values.length >> 1] > 10;
}

function drawCurves() {
  const { images, values, hint, floor } = data.curves[$("metric").value];
  const drawn = [...bestFirst].reverse().filter((run) => values[run.id]);  // the best lie on top
  const log = $("curve-log").checked;
  const positive = (list) => log ? list.map((v) => v > 0 ? v : null) : list;
  const soft = colourNamed("--soft");
  overlay?.destroy();
  overlay = new uPlot({
    width: chartWidth(), height: innerWidth < 700 ? 280 : 360, legend: { show: false },
    focus: { alpha: 0.15 }, cursor: { focus: { prox: NEAR }, drag: { x: true, y: false } },
    scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
    axes: [{ ...plainAxis(), size: 30, values: (_, ticks) => ticks.map(thousands) }, valueAxis(log)],
    series: [{}, ...drawn.map((run) => ({
      label: run.id, stroke: run.score === null ? soft : colourOf(run), width: 1.5, spanGaps: true,
      ...(run.score === null ? { dash: [4, 3] } : {}),
      show: matching.has(run.id), points: { show: values[run.id].filter((v) => v !== null).length < SPARSE_POINTS, size: 4 },
    }))],
    hooks: {
      setSeries: [(_, i) => nameCurve(i ? drawn[i - 1] : null)],
      draw: [(chart) => drawFloor(chart, floor)],
    },
  }, [images, ...drawn.map((run) => positive(values[run.id]))], $("overlay"));
  overlay.runs = drawn;
  $("curve-hint").textContent = [hint, floorHint(floor), "drag to zoom, double-click to reset"].filter(Boolean).join(" · ");
  nameCurve(null);
}

function nameCurve(run) {
  for (const [id, path] of pathOf) path.classList.toggle("near", id === run?.id);
  if (run) $("near").replaceChildren(linkTo(run, run.name), ` · seed ${run.seed} · ${number(run.score)} · ${run.state}`);
  else if (!$("near").firstChild) $("near").append("Point at a curve to see which run it is.");
}

function showMatchingCurves() {
  overlay?.batch(() => overlay.runs.forEach((run, i) => {
    if (overlay.series[i + 1].show !== matching.has(run.id)) overlay.setSeries(i + 1, { show: matching.has(run.id) });
  }));
}
