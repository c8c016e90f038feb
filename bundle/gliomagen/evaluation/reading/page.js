"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const QUESTIONS = ["natural", "consistent", ...data.contrasts.flatMap((name) => [`artefacts_${name}`, `quality_${name}`]), "verdict"];
const store = `gliomagen-reader-${data.study}`;
const state = Object.assign({ reader: "", answers: {} }, JSON.parse(localStorage.getItem(store) || "{}"));
const scans = {};
let place = 0;

window.study = { receive: (item, packed) => { scans[item] = packed; } };

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function load(item) {
  if (!scans[item]) await new Promise((resolve, reject) => {
    const element = document.createElement("script");
    element.src = `scans/${item}.js`;
    element.onload = resolve;
    element.onerror = () => reject(new Error(`${element.src} is missing; keep the folder together`));
    document.head.append(element);
  });
  const packed = scans[item];
  if (typeof packed.greys === "string") {
    packed.greys = await unpacked(packed.greys);
    packed.labels = await unpacked(packed.labels);
  }
  return packed;
}

function colour(number) {
  const hex = data.colours[number] || "#ffffff";
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

function draw() {
  const { item, size: [slices, height, width] } = data.items[place];
  const scan = scans[item];
  if (!scan || typeof scan.greys === "string") return;
  const at = Number($("slice").value);
  const low = Number($("level").value) - Number($("window").value) / 2;
  const gain = 255 / Number($("window").value);
  const labels = scan.labels.subarray(at * height * width, (at + 1) * height * width);
  for (const canvas of document.querySelectorAll("canvas[data-contrast]")) {
    const start = (Number(canvas.dataset.contrast) * slices + at) * height * width;
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    for (let k = 0; k < height * width; k += 1) {
      const grey = (scan.greys[start + k] - low) * gain;
      let [r, g, b] = [grey, grey, grey];
      const label = labels[k];
      if ($("overlay").checked && label > 1) {
        const edge = [k - 1, k + 1, k - width, k + width].some((n) => labels[n] !== label);
        if (edge) [r, g, b] = colour(label);
      }
      image.data.set([r, g, b, 255], 4 * k);
    }
    context.putImageData(image, 0, 0);
  }
  document.body.dataset.shown = `${item}/${at}`; // for tests
}

function complete(answer) {
  return Boolean(answer) && QUESTIONS.every((name) => name.startsWith("artefacts_") || answer[name]);
}

function progress() {
  const done = data.items.filter(({ item }) => complete(state.answers[item])).length;
  $("item").textContent = `${data.items[place].item} (${place + 1} of ${data.items.length})`;
  $("done").textContent = `${done} answered`;
  $("previous").disabled = place === 0;
  $("next").disabled = place === data.items.length - 1;
}

async function go(to) {
  place = Math.min(Math.max(to, 0), data.items.length - 1);
  const { item, size } = data.items[place];
  progress();
  $("form").reset();
  for (const [name, value] of Object.entries(state.answers[item] || {})) {
    const field = $("form").elements[name];
    if (field instanceof RadioNodeList) field.value = value;
    else if (field) field.checked = value === "1";
  }
  $("slice").max = size[0] - 1;
  $("slice").value = Math.floor(size[0] / 2);
  try { await load(item); draw(); $("told").textContent = ""; }
  catch (error) { $("told").textContent = error.message; }
}

$("form").addEventListener("change", () => {
  const answer = {};
  for (const name of QUESTIONS) {
    const field = $("form").elements[name];
    answer[name] = field instanceof RadioNodeList ? field.value : (field.checked ? "1" : "0");
  }
  state.answers[data.items[place].item] = answer;
  localStorage.setItem(store, JSON.stringify(state));
  progress();
});
$("reader").value = state.reader;
$("reader").addEventListener("input", () => { state.reader = $("reader").value.trim(); localStorage.setItem(store, JSON.stringify(state)); });
$("previous").addEventListener("click", () => go(place - 1));
$("next").addEventListener("click", () => go(place + 1));
for (const id of ["slice", "level", "window", "overlay"]) $(id).addEventListener("input", draw);
function scroll(by) { $("slice").value = Number($("slice").value) + by; draw(); }
document.querySelector(".stage").addEventListener("wheel", (event) => { event.preventDefault(); scroll(Math.sign(event.deltaY)); }, { passive: false });
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, button")) return;
  const keys = { ArrowUp: () => scroll(1), ArrowDown: () => scroll(-1), ArrowLeft: () => go(place - 1), ArrowRight: () => go(place + 1),
    l: () => { $("overlay").checked = !$("overlay").checked; draw(); } };
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
$("save").addEventListener("click", () => {
  if (!/^[\w-]+$/.test(state.reader)) { $("told").textContent = "enter your initials first: letters and digits"; return; }
  const rows = [["study", "reader", "item", ...QUESTIONS]];
  for (const { item } of data.items) {
    const answer = state.answers[item];
    if (complete(answer)) rows.push([data.study, state.reader, item, ...QUESTIONS.map((name) => answer[name])]);
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([rows.map((row) => row.join(",")).join("\n") + "\n"], { type: "text/csv" }));
  link.download = `answers-${data.study}-${state.reader}.csv`;
  link.click();
  $("told").textContent = `${rows.length - 1} of ${data.items.length} answers saved`;
});
go(0);
