// The page: its picture, its tabs, and whether the app answers.

import { fileAddress, networks, on, open, sample, upload } from "./api.js";
import { bytes, choose, make } from "./parts.js";
import { evaluate } from "./evaluate.js";
import { explore } from "./explore.js";
import { shrink } from "./shrink.js";
import { upscale } from "./upscale.js";

const find = (id) => document.getElementById(id);
const [status, drop, refused, preview, about] = ["status", "drop", "refused", "preview", "about"].map(find);
let chosen = null; // what the server knows of the picture, its file's name and that without suffix
let taken = 0; // pictures that were sent

function tabs() {
  const all = [...document.querySelectorAll("[role=tab]")];
  const select = (tab) => {
    for (const one of all) {
      one.setAttribute("aria-selected", one === tab);
      one.tabIndex = one === tab ? 0 : -1;
      find(one.getAttribute("aria-controls")).hidden = one !== tab;
    }
  };
  all.forEach((tab, i) => {
    tab.onclick = () => select(tab);
    tab.onkeydown = (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: all.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const other = all[(to + all.length) % all.length];
      select(other);
      other.focus();
    };
  });
}

const named = (name) => make("bdi", { textContent: name });

function tellPicture(kept) {
  if (!chosen) return about.replaceChildren("Drop a picture anywhere on this page, or");
  const size = `${chosen.width} × ${chosen.height} pixels, ${bytes(chosen.bytes)}`;
  return about.replaceChildren(named(chosen.file), `: ${size}${kept ? "; it stays chosen" : ""}`);
}

// What is wrong with a picture: nothing, or that its enlargement would have too many pixels.
function tooLarge({ width, height }, most) {
  const scale = networks()?.sr.scale ?? 4;
  if (scale * scale * width * height <= most) return "";
  const fits = Math.floor(2 * Math.sqrt(most / (width * height))) / 2;
  const told = `×${scale} of it would be more than ${most.toLocaleString("en")} pixels`;
  return `${told}: ${fits > 1 ? `Upscale takes it up to ×${fits}` : "take a part of it for Upscale"}.`;
}

// Sends a picture; of several the last one counts, however long the others take.
async function take(sending, file, most) {
  const number = ++taken;
  refused.textContent = "";
  about.replaceChildren("Reading ", named(file), " …");
  let found = null;
  let told = "";
  try {
    found = await sending();
  } catch (error) {
    told = error.message;
  }
  if (number !== taken) return;
  refused.textContent = told;
  if (found) {
    chosen = { ...found, file, name: file.replace(/\.[^.]*$/, "") || "picture" };
    find("large").textContent = tooLarge(chosen, most);
    document.querySelector(".drop .button").classList.remove("main"); // now what is done with it is
    preview.hidden = !found.shown;
    if (found.shown) preview.src = fileAddress(found.picture);
    choose(chosen);
  }
  tellPicture(!found);
}

function takeFile(file, { max_upload: most, max_pixels: pixels }) {
  if (file.size > most) refused.textContent = `${file.name} has ${bytes(file.size)}, more than ${bytes(most)}`;
  else take(() => upload(file), file.name, pixels);
}

function dropping(opened) {
  const isFile = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.toggle("over", isFile(event));
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? drop.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const file = event.dataTransfer.files[0];
    if (file) takeFile(file, opened);
    else refused.textContent = "That is a link or text, not a file: save the picture, and drop its file.";
  });
}

async function start() {
  tabs();
  choose(null);
  const ready = () => (status.textContent = "Ready. Everything stays on the machine that runs hcflow app.");
  on("ready", ready);
  on("back", ready);
  on("lost", () => (status.textContent = "The app has ended. Start hcflow app again, then reload this page."));
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
  dropping(opened);
  find("file").onchange = (event) => {
    const file = event.target.files[0];
    if (file) takeFile(file, opened);
    event.target.value = "";
  };
  for (const button of document.querySelectorAll("[data-sample]")) {
    const name = button.dataset.sample;
    button.onclick = () => take(() => sample(name), `${name}.png`, opened.max_pixels);
  }
  for (const one of document.querySelectorAll("#file, [data-sample]")) one.disabled = false;
}

start();
