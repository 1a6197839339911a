// The samples of all runs of a sweep at the same images seen, beside real images.
// Only cards in view update their image, so that the slider stays fluid with hundreds of runs.
function showWall() {
  const slider = $("when");
  slider.max = Math.max(moments.length - 1, 0); slider.value = slider.max; slider.disabled = moments.length < 2;
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) { inView.add(target.dataset.run); updateCard(target.dataset.run); } else inView.delete(target.dataset.run);
    }
  }, { rootMargin: "600px" });
  for (const [label, url] of data.real) {
    const card = el("article", null, { class: "card real", "aria-label": label });
    card.append(el("img", null, { src: url, alt: label }), el("p", "real images", { class: "score" }), el("p", label, { class: "settings", title: label }));
    $("wall-grid").append(card);
  }
  for (const run of bestFirst) {
    const card = el("article", null, { class: "card", "data-run": run.id, "aria-label": run.name });
    const line = el("p", null, { class: "score" });
    line.append(el("span", number(run.score)), el("span", run.state, { class: run.state, title: run.reason }));
    card.append(el("div"), line);
    if (wordsOf(run)) card.append(el("p", wordsOf(run), { class: "quality", title: run.evidence }));
    const settings = el("p", null, { class: "settings", title: run.name });
    settings.append(linkTo(run, run.name), ` · seed ${run.seed}`);
    card.append(settings); card.style.borderTopColor = colourOf(run);
    cards.set(run.id, card); $("wall-grid").append(card); observer.observe(card);
  }
  const showMoment = () => {
    const images = moments[slider.value];
    $("seen").textContent = images === undefined ? "no samples yet" : kimg(images);
    slider.setAttribute("aria-valuetext", $("seen").textContent);
  };
  let frame = 0;
  slider.addEventListener("input", () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => { showMoment(); for (const id of inView) updateCard(id); });
  });
  showMoment();
  $("order").addEventListener("change", (event) => {
    for (const run of event.target.value === "score" ? bestFirst : runs) $("wall-grid").append(cards.get(run.id));
  });
}

function updateCard(id) {
  const run = byId.get(id), url = run.wall[$("when").value], current = cards.get(id).firstChild;
  if (!url) {
    current.replaceWith(el("div", run.images ? `${run.state} at ${kimg(run.images)}` : run.state, { class: "gone" }));
  } else if (current.tagName !== "IMG") {
    current.replaceWith(el("img", null, { src: url, alt: `samples of ${run.name}`, decoding: "async" }));
  } else if (current.src !== url) current.src = url;
}
