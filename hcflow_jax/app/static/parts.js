// Parts of the page that several tabs have.

import { ask, cancel, fileAddress, networks } from "./api.js";

export function make(tag, properties = {}, ...children) {
  const { data, aria, ...others } = properties;
  const element = Object.assign(document.createElement(tag), others);
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(aria ?? {})) element.setAttribute(`aria-${name}`, value);
  element.append(...children);
  return element;
}

export const plural = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
export const bytes = (count) =>
  count < 1000 ? `${count}\u00a0B` : count < 1e6 ? `${(count / 1e3).toFixed(1)}\u00a0kB` : `${(count / 1e6).toFixed(2)}\u00a0MB`;

// Shows the values of sliders beside them.
export function tellValues(form) {
  for (const input of form.querySelectorAll("input[type=range]")) {
    const output = input.parentElement.querySelector("output");
    const tell = () => (output.textContent = `${input.dataset.before ?? ""}${Number(input.value)}`);
    input.addEventListener("input", tell);
    tell();
  }
}

// Disables a button for a reason, or takes that reason back; one without any is enabled.
export function forbid(button, reason, on) {
  const why = new Set((button.dataset.why ?? "").split(" ").filter((one) => one && one !== reason));
  if (on) why.add(reason);
  button.dataset.why = [...why].join(" ");
  button.disabled = why.size > 0;
}

let chosen = null;

// Makes a picture, or null, the one that the buttons work on.
export function choose(picture) {
  chosen = picture;
  for (const button of document.querySelectorAll("[data-needs-picture]")) forbid(button, "picture", !chosen);
  for (const empty of document.querySelectorAll("[data-chosen]")) {
    if (chosen) empty.textContent = empty.dataset.chosen;
  }
  const [shrink, restore] = ["shrink", "restore"].map((name) => document.querySelector(`#shrink button[name=${name}]`));
  shrink.classList.toggle("main", !chosen?.small);
  restore.classList.toggle("main", Boolean(chosen?.small));
  for (const panel of document.querySelectorAll("[role=tabpanel]")) tellWhose(panel);
}

// Says of results of another picture whose they are.
function tellWhose(panel) {
  const { picture, file } = panel.querySelector(".shown").dataset;
  const old = picture !== undefined && picture !== chosen?.picture;
  panel.querySelector(".shown").classList.toggle("old", old);
  const place = panel.querySelector(".whose");
  if (place) place.replaceChildren(...(old ? ["Of ", make("bdi", { textContent: file }), ", not of the chosen picture."] : []));
}

// Shows results, of a picture where they are of one.
export function reveal(panel, of) {
  panel.querySelector(".empty").hidden = true;
  const shown = panel.querySelector(".shown");
  shown.hidden = false;
  if (of) Object.assign(shown.dataset, { picture: of.picture, file: of.file });
  tellWhose(panel);
}

// What is known of results, after the name of their picture.
export function facts(panel, of, text) {
  panel.querySelector("[data-facts]").replaceChildren(make("bdi", { textContent: of.file }), `: ${text}`);
}

function said(job) {
  if (job.state === "waiting" && job.ahead > 0) return `Waiting: ${plural(job.ahead, "job")} before yours`;
  if (job.state === "waiting" || !networks()) return "Loading the networks…";
  return job.total > 1 ? `${job.done} of ${job.total} steps` : "Drawing…";
}

// Runs a job, or what `asked` makes in the end, with its progress and a button to cancel it at the
// end of the form whose button was pressed. The finished job; null where it failed or was
// cancelled, which is then said there, or where one of that panel runs already.
export async function run(form, asked) {
  const panel = form.closest("[role=tabpanel]");
  const buttons = panel.querySelectorAll(".controls button");
  if ("busy" in panel.dataset) return null;
  panel.dataset.busy = "";
  for (const button of buttons) forbid(button, "busy", true);
  for (const place of panel.querySelectorAll(".job")) place.replaceChildren();
  const place = form.querySelector(".job");
  const bar = make("progress", { max: 1, aria: { label: "Progress" } });
  const text = make("p", { className: "hint", role: "status", textContent: "Sending…" });
  const stop = make("button", { type: "button", textContent: "Cancel" });
  let number = null;
  stop.onclick = () => {
    stop.disabled = true;
    text.textContent = "Cancelling after this step…";
    if (number !== null) cancel(number);
  };
  place.replaceChildren(bar, text, stop);
  try {
    const job = typeof asked === "function" ? await asked() : asked;
    const done = await ask(job, (told) => {
      if (stop.disabled && number === null) cancel(told.number);
      number = told.number;
      if (!stop.disabled) text.textContent = said(told);
      if (told.state === "running" && told.total > 1) bar.value = told.done / told.total;
      else bar.removeAttribute("value");
    });
    place.replaceChildren();
    return done;
  } catch (error) {
    const told = error ? error.message : "Cancelled.";
    place.replaceChildren(make("p", { className: error ? "error" : "hint", role: "alert", textContent: told }));
    return null;
  } finally {
    for (const button of buttons) forbid(button, "busy", false);
    delete panel.dataset.busy;
  }
}

export function notes(panel, lines) {
  const list = panel.querySelector(".notes");
  list.replaceChildren(...lines.map((line) => make("li", { textContent: line })));
}

// Links to save a result as PNG and, where it can be one, as JPEG; `what` names it on the buttons.
export function downloads(place, name, label, jpeg, what = "") {
  const links = [["png", null], ["jpg", "jpg"]].slice(0, jpeg ? 2 : 1).map(([suffix, as]) =>
    make("a", {
      className: "button",
      href: fileAddress(name, as),
      download: `${label}.${suffix}`,
      textContent: `Save ${what}${suffix === "png" ? "PNG" : "JPEG"}`,
    }),
  );
  place.replaceChildren(...links);
}

const SMALL = 288; // pixels: results below are shown enlarged

// How many times a picture is enlarged on the screen, each pixel a square, so that it is seen.
export const enlarged = (width, height) => Math.max(1, Math.floor(SMALL / Math.max(width, height)));

// Whether a picture is so thin that little of it is left where it fits the page.
export const isThin = (width, height) => Math.max(width, height) > 8 * Math.min(width, height);

// Two pictures of one size, one over the other, and a divider between them.
export class Compare {
  constructor(place) {
    this.over = make("img", { draggable: false });
    this.under = make("img", { className: "under", draggable: false });
    this.line = make("span", { className: "line" });
    this.sheet = make("div", { className: "sheet" }, this.over, this.under, this.line);
    this.names = make("p", { className: "names" }, make("span"), make("span"));
    this.range = make("input", { type: "range", min: 0, max: 100, value: 50, aria: { label: "Divider between the pictures" } });
    this.range.oninput = () => this.put(this.range.value);
    const pane = make("div", { className: "pane", tabIndex: 0, role: "region", aria: { label: "Pictures" } }, this.sheet);
    this.true = make("button", { type: "button", className: "plain", textContent: "True size", aria: { pressed: "false" } });
    this.true.onclick = () => this.setTrue(!this.sheet.classList.contains("true"));
    place.replaceChildren(this.names, pane, this.range, this.true);
    this.sheet.onpointerdown = (event) => {
      this.sheet.setPointerCapture(event.pointerId);
      this.follow(event);
    };
    this.sheet.onpointermove = (event) => event.buttons & 1 && this.follow(event);
    this.put(50);
  }

  setTrue(on) {
    this.sheet.classList.toggle("true", on);
    this.true.setAttribute("aria-pressed", on);
  }

  // For pictures of this size, before the first of them is shown.
  resize(width, height) {
    const factor = enlarged(width, height);
    this.sheet.classList.toggle("enlarged", factor > 1);
    this.over.style.width = factor > 1 ? `${factor * width}px` : "";
    this.setTrue(isThin(width, height));
  }

  // `left` and `right` are {address, name}.
  show(left, right) {
    [this.under.src, this.under.alt] = [left.address, left.name];
    [this.over.src, this.over.alt] = [right.address, right.name];
    [this.names.firstChild.textContent, this.names.lastChild.textContent] = [left.name, right.name];
  }

  follow(event) {
    const box = this.sheet.getBoundingClientRect();
    this.put(Math.min(100, Math.max(0, (100 * (event.clientX - box.left)) / box.width)));
  }

  put(percent) {
    this.range.value = percent;
    this.under.style.clipPath = `inset(0 ${100 - percent}% 0 0)`;
    this.line.style.left = `${percent}%`;
  }
}

// Buttons of which one is pressed: views are {label, thumbnail, show}.
export function choices(place, views) {
  const buttons = views.map(({ label, thumbnail, show }) => {
    const parts = thumbnail ? [make("img", { src: thumbnail, alt: "" }), label] : [label];
    const button = make("button", { type: "button", className: thumbnail ? "" : "plain" }, ...parts);
    button.onclick = () => {
      for (const other of buttons) other.setAttribute("aria-pressed", other === button);
      show();
    };
    return button;
  });
  place.replaceChildren(...buttons);
  buttons[0]?.click();
}
