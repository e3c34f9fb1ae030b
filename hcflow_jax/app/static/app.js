// The page: its picture, its tabs, and whether the app answers.

import { fileAddress, on, open, sample, upload } from "./api.js";
import { bytes } from "./parts.js";
import { evaluate } from "./evaluate.js";
import { explore } from "./explore.js";
import { shrink } from "./shrink.js";
import { upscale } from "./upscale.js";

const find = (id) => document.getElementById(id);
const [status, drop, refused, preview] = ["status", "drop", "refused", "preview"].map(find);
let chosen = null; // what the server knows of the picture, and its name without the suffix

function tabs() {
  const all = [...document.querySelectorAll("[role=tab]")];
  const choose = (tab) => {
    for (const one of all) {
      one.setAttribute("aria-selected", one === tab);
      one.tabIndex = one === tab ? 0 : -1;
      find(one.getAttribute("aria-controls")).hidden = one !== tab;
    }
  };
  all.forEach((tab, i) => {
    tab.onclick = () => choose(tab);
    tab.onkeydown = (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: all.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const other = all[(to + all.length) % all.length];
      choose(other);
      other.focus();
    };
  });
}

async function take(sending, name) {
  refused.textContent = "";
  find("about").textContent = `Reading ${name} …`;
  try {
    const found = await sending();
    chosen = { ...found, name: name.replace(/\.[^.]*$/, "") };
    find("about").textContent = `${name}: ${found.width} × ${found.height} pixels, ${bytes(found.bytes)}`;
    document.querySelector(".drop .button").classList.remove("main"); // now what is done with it is
    preview.hidden = !found.shown;
    if (found.shown) preview.src = fileAddress(found.picture);
  } catch (error) {
    find("about").textContent = chosen ? `${chosen.name} is kept.` : "Drop a picture here, or";
    refused.textContent = error.message;
  }
  for (const button of document.querySelectorAll("[data-needs-picture]")) button.disabled = !chosen;
}

function takeFile(file, most) {
  if (!file) return;
  if (file.size > most) refused.textContent = `${file.name} has ${bytes(file.size)}, more than ${bytes(most)}`;
  else take(() => upload(file), file.name);
}

async function start() {
  tabs();
  for (const button of document.querySelectorAll("[data-needs-picture]")) button.disabled = true;
  on("ready", () => (status.textContent = "Ready. Everything stays on the machine that runs hcflow app."));
  on("lost", () => (status.textContent = "The app was closed or restarted; reload this page."));
  let opened;
  try {
    opened = await open();
  } catch (error) {
    status.textContent = error.message;
    return;
  }
  status.textContent = "Loading the networks…";
  upscale(find("upscale"), () => chosen);
  explore(find("explore"), () => chosen);
  shrink(find("shrink"), () => chosen);
  evaluate(find("evaluate"), opened);
  find("file").onchange = (event) => {
    takeFile(event.target.files[0], opened.max_upload);
    event.target.value = "";
  };
  for (const button of document.querySelectorAll("[data-sample]")) {
    const name = button.dataset.sample;
    button.onclick = () => take(() => sample(name), `${name}.png`);
  }
  const stop = (event) => event.preventDefault();
  addEventListener("dragover", stop);
  addEventListener("drop", stop);
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, () => drop.classList.add("over"));
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => takeFile(event.dataTransfer.files[0], opened.max_upload));
}

start();
