// The latent playground: images come from ONNX Runtime Web in the page, or from the local server.
const { samples, directions, size, channels } = data;
let from = 0;

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Latents to RGBA images.
async function makerOf() {
  if (!data.model) {
    $("how").textContent = "images by the server on this machine";
    return async (latents) => {
      const answer = await fetch("/images", { method: "POST", body: Float32Array.from(latents.flat()) });
      if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
      const pixels = new Uint8Array(await answer.arrayBuffer());
      return latents.map((_, i) => image((place, channel) => pixels[(i * size * size + place) * channels + channel]));
    };
  }
  const code = await unpacked(data.runtime);
  const ort = await import(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = await unpacked(data.wasm);
  const session = await ort.InferenceSession.create(await unpacked(data.model), { executionProviders: ["wasm"] });
  $("how").textContent = "images by ONNX Runtime in this page";
  return async (latents) => {
    const input = new ort.Tensor("float32", Float32Array.from(latents.flat()), [latents.length, latents[0].length]);
    const pixels = (await session.run({ latents: input })).images.data;
    const each = channels * size * size;
    return latents.map((_, i) => image((place, channel) => Math.round((pixels[i * each + channel * size * size + place] + 1) * 127.5)));
  };
}

function image(at) {
  const image = new ImageData(size, size);
  for (let place = 0; place < size * size; place++) {
    for (let c = 0; c < 3; c++) image.data[place * 4 + c] = at(place, channels === 1 ? 0 : c);
    image.data[place * 4 + 3] = 255;
  }
  return image;
}

function paint(canvas, image) {
  canvas.width = canvas.height = size;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function slerp(a, b, share) {
  const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  const la = Math.sqrt(dot(a, a)), lb = Math.sqrt(dot(b, b));
  const angle = Math.acos(Math.max(-1, Math.min(1, dot(a, b) / (la * lb || 1))));
  if (angle < 1e-4 || Math.PI - angle < 1e-4) return a.map((v, i) => v * (1 - share) + b[i] * share);
  const length = la * (1 - share) + lb * share;
  return a.map((v, i) => length * (Math.sin((1 - share) * angle) * v / la + Math.sin(share * angle) * b[i] / lb) / Math.sin(angle));
}

function latentNow() {
  let latent = slerp(samples[from], samples[$("to").value], +$("mix").value).map((v) => v * $("truncation").value);
  directions.forEach(({ vector }, i) => {
    const step = +$(`d${i}`).value;
    if (step) latent = latent.map((v, k) => v + step * vector[k]);
  });
  return latent;
}

let make, busy = false, again = false;
async function draw() {
  if (busy) { again = true; return; }  // the newest state is drawn when the image under way is done
  busy = true;
  try {
    do { again = false; paint($("image"), (await make([latentNow()]))[0]); } while (again);
    document.body.dataset.drawn = +(document.body.dataset.drawn ?? 0) + 1;
  } catch (error) { $("how").textContent = `no image: ${error.message}`; } finally { busy = false; }
}

function controls() {
  $("name").textContent = data.name;
  samples.forEach((_, i) => {
    const button = el("button", null, { type: "button", "aria-pressed": i === from, "aria-label": `sample ${i}` });
    button.append(el("canvas"));
    button.addEventListener("click", () => {
      $("gallery").children[from].setAttribute("aria-pressed", "false");
      from = i; button.setAttribute("aria-pressed", "true"); draw();
    });
    $("gallery").append(button);
    $("to").append(el("option", i, { value: i }));
  });
  $("to").value = Math.min(1, samples.length - 1);
  directions.forEach(({ name, score }, i) => {
    const row = el("div", null, { class: "slider" });
    row.append(el("label", `${name} (${score.toFixed(2)})`, { for: `d${i}` }),
      el("input", null, { id: `d${i}`, type: "range", min: -5, max: 5, step: 0.1, value: 0 }), el("output", "0", { for: `d${i}` }));
    $("directions").append(row);
  });
  if (!directions.length) $("directions").append(el("p", "None was found: the data set or its labels are not at hand.", { class: "none" }));
  for (const slider of document.querySelectorAll("input[type=range]")) {
    const standard = slider.value;
    slider.addEventListener("input", () => { slider.parentElement.querySelector("output").textContent = slider.value; draw(); });
    $("reset").addEventListener("click", () => { slider.value = standard; slider.parentElement.querySelector("output").textContent = standard; });
  }
  $("to").addEventListener("change", draw);
  $("reset").addEventListener("click", draw);
}

controls();
makerOf().then(async (found) => {
  make = found;
  const canvases = [...$("gallery").querySelectorAll("canvas")];
  (await make(samples)).forEach((image, i) => paint(canvases[i], image));
  await draw();
  document.body.dataset.ready = performance.now().toFixed(0);
}).catch((error) => { $("how").textContent = `no images: ${error.message}`; document.body.dataset.ready = "failed"; });
