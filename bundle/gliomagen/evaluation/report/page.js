"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

// --- gallery: pages of a sorted list, pictures loaded when they come into sight ---
const PER_PAGE = 24;
const shuffled = data.cases.map((_, k) => k).sort((a, b) => data.cases[a].random - data.cases[b].random);
const rank = (k, absent) => data.cases[k].rank ?? absent; // a case without a lesion has none, and comes last
const orders = {
  worst: [...data.cases.keys()].sort((a, b) => rank(a, 2) - rank(b, 2)),
  best: [...data.cases.keys()].sort((a, b) => rank(b, -1) - rank(a, -1)),
  random: shuffled,
};
const gallery = { order: "worst", page: 0 };

function picture(entry) {
  const figure = document.createElement("figure");
  const image = document.createElement("img");
  image.loading = "lazy";
  image.src = entry.image;
  image.alt = `${entry.case}: ${data.contrasts.join(", ")}; ${entry.paired ? "real above, synthetic below" : "synthetic"}`;
  figure.style.setProperty("--ratio", entry.paired ? 2 : 4);
  const caption = document.createElement("figcaption");
  caption.textContent = entry.caption;
  figure.append(image, caption);
  return figure;
}

function showGallery() {
  const list = orders[gallery.order];
  const pages = Math.max(1, Math.ceil(list.length / PER_PAGE));
  gallery.page = Math.min(Math.max(gallery.page, 0), pages - 1);
  const shown = list.slice(gallery.page * PER_PAGE, (gallery.page + 1) * PER_PAGE);
  $("gallery").replaceChildren(...shown.map((k) => picture(data.cases[k])));
  $("page").textContent = `page ${gallery.page + 1} of ${pages}`;
  for (const button of document.querySelectorAll("[data-order]"))
    button.setAttribute("aria-pressed", String(button.dataset.order === gallery.order));
  $("previous").disabled = gallery.page === 0;
  $("next").disabled = gallery.page === pages - 1;
}
for (const button of document.querySelectorAll("[data-order]"))
  button.addEventListener("click", () => { gallery.order = button.dataset.order; gallery.page = 0; showGallery(); });
$("previous").addEventListener("click", () => { gallery.page -= 1; showGallery(); });
$("next").addEventListener("click", () => { gallery.page += 1; showGallery(); });
document.addEventListener("keydown", (event) => {
  if (event.target.closest("select, input, canvas") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowRight") { gallery.page += 1; showGallery(); }
  if (event.key === "ArrowLeft") { gallery.page -= 1; showGallery(); }
});
showGallery();

// --- 3-D view: NiiVue and a case's volumes come as scripts, on demand, from this folder ---
function script(path) {
  return new Promise((resolve, reject) => {
    const element = document.createElement("script");
    element.src = path;
    element.onload = resolve;
    element.onerror = () => reject(new Error(`${path} is missing; keep the report's folder together`));
    document.head.append(element);
  });
}
const received = {};
window.gliomagen = { receive: (name, volumes) => { received[name] = volumes; }, ready: false };
const viewers = {};

async function viewer(what) {
  if (viewers[what]) return viewers[what];
  const view = new niivue.Niivue({
    backColor: [0, 0, 0, 1], crosshairColor: [1, 1, 1, 0.4], crosshairWidth: 0.5, show3Dcrosshair: true,
    isRadiologicalConvention: true, loadingText: "", dragAndDropEnabled: false,
    multiplanarLayout: 2, multiplanarShowRender: 1 }); // a grid of three planes and the rendering
  await view.attachToCanvas($(`canvas-${what}`));
  view.setSliceType(view.sliceTypeMultiplanar);
  viewers[what] = view;
  return view;
}

async function show(what, volumes, contrast) {
  const view = await viewer(what);
  for (const volume of [...view.volumes]) view.removeVolume(volume);
  const scan = await niivue.NVImage.loadFromBase64({
    base64: volumes[`${what}/${contrast}`], name: `${contrast}.nii.gz`, colormap: "gray", cal_min: 0, cal_max: 255 });
  const label = await niivue.NVImage.loadFromBase64({
    base64: volumes[`${what}/label`], name: "label.nii.gz", opacity: Number($("overlay").value) });
  view.addVolume(scan);
  view.addVolume(label);
  label.setColormapLabel(data.colormap);
  view.updateGLVolume();
}

async function openViewer() {
  const name = $("viewed").value;
  const status = $("viewer-status");
  window.gliomagen.ready = false;
  try {
    status.textContent = "loading …";
    if (!window.niivue) await script("niivue.umd.js");
    const entry = data.viewed.find((item) => item.case === name);
    if (!received[name]) await script(entry.script);
    for (const what of ["real", "synthetic"]) {
      const there = `${what}/label` in received[name];
      $(`box-${what}`).hidden = !there;
      if (there) await show(what, received[name], $("contrast").value);
    }
    if (viewers.real && !$("box-real").hidden) {
      viewers.real.broadcastTo([viewers.synthetic], { "2d": true, "3d": true });
      viewers.synthetic.broadcastTo([viewers.real], { "2d": true, "3d": true });
    }
    status.textContent = "";
    window.gliomagen.ready = true;
  } catch (error) {
    status.textContent = String(error.message || error);
  }
}
if (data.viewed.length) {
  $("open").addEventListener("click", openViewer);
  for (const id of ["viewed", "contrast", "overlay"])
    $(id).addEventListener("change", () => { if (window.niivue) openViewer(); });
}
