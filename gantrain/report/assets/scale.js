// The colours of a sweep's runs by rank: blue for the best, orange for the worst, over grey. Blue and
// orange differ for every kind of colour blindness, and their lightness differs too.
const STOPS = dark.matches
  ? [[124, 196, 255], [140, 145, 155], [224, 140, 40]]
  : [[11, 60, 140], [122, 122, 132], [196, 112, 0]];

// rank: from 0 (best) to 1 (worst).
function colourAt(rank) {
  const i = Math.min(Math.floor(rank * 2), 1), t = rank * 2 - i;
  return `rgb(${STOPS[i].map((from, c) => Math.round(from + t * (STOPS[i + 1][c] - from))).join(" ")})`;
}

const colourOf = (run) => run.score === null ? "var(--soft)" : colourAt(relativeRank.get(run.id));

// The legend of the colours: the best, the median and the worst score.
function addLegend(box) {
  if (!scored.length) { box.hidden = true; return; }
  const at = (fraction) => number(scored[Math.round(fraction * (scored.length - 1))].score);
  const stops = [0, 0.25, 0.5, 0.75, 1].map(colourAt).join(",");
  const bar = el("span", null, { class: "ramp", style: `background:linear-gradient(90deg,${stops})` });
  box.append(el("span", `best ${at(0)}`), bar, el("span", `worst ${at(1)}`));
  box.append(el("span", `${board.metric} at ${kimg(board.images)}, coloured by rank; median ${at(0.5)}${scored.length < runs.length ? "; grey: not measured there" : ""}`, { class: "hint" }));
}

// The name of a run as a link to its page, if it has one.
function linkTo(run, label) {
  return run.page ? el("a", label, { href: run.page }) : document.createTextNode(label);
}
