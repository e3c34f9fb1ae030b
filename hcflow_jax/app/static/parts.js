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
  count < 1000 ? `${count} B` : count < 1e6 ? `${(count / 1e3).toFixed(1)} kB` : `${(count / 1e6).toFixed(2)} MB`;

// Shows the values of sliders beside them.
export function tellValues(form) {
  for (const input of form.querySelectorAll("input[type=range]")) {
    const output = input.parentElement.querySelector("output");
    const tell = () => (output.textContent = `${input.dataset.before ?? ""}${Number(input.value)}`);
    input.addEventListener("input", tell);
    tell();
  }
}

function said(job) {
  if (job.state === "waiting" && job.ahead > 0) return `${job.ahead} ahead of this one, ${job.queue} in all`;
  if (job.state === "waiting" || !networks()) return "Loading the networks…";
  return job.total > 1 ? `${job.done} of ${job.total} tiles` : "Drawing…";
}

// Runs a job with its progress and a button to cancel it below the controls of a panel. The
// finished job; null where it failed or was cancelled, which is then said there.
export async function run(panel, job) {
  const place = panel.querySelector(".job");
  const buttons = [...panel.querySelectorAll(".controls button")].filter((b) => !b.disabled);
  const bar = make("progress", { max: 1, aria: { label: "Progress" } });
  const text = make("p", { className: "hint", role: "status" });
  let number = null;
  const stop = make("button", { type: "button", textContent: "Cancel" });
  stop.onclick = () => number !== null && cancel(number);
  place.replaceChildren(bar, text, stop);
  for (const button of buttons) button.disabled = true;
  try {
    const done = await ask(job, (told) => {
      number = told.number;
      text.textContent = said(told);
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
    for (const button of buttons) button.disabled = false;
  }
}

export function notes(panel, lines) {
  const list = panel.querySelector(".notes");
  list.replaceChildren(...lines.map((line) => make("li", { textContent: line })));
}

// Links to save a result as PNG and, where there is no transparency, as JPEG.
export function downloads(place, name, label, jpeg) {
  const links = [["png", null], ["jpg", "jpg"]].slice(0, jpeg ? 2 : 1).map(([suffix, as]) =>
    make("a", {
      className: "button",
      href: fileAddress(name, as),
      download: `${label}.${suffix}`,
      textContent: `Save ${suffix === "png" ? "PNG" : "JPEG"}`,
    }),
  );
  place.replaceChildren(...links);
}

export function reveal(panel) {
  panel.querySelector(".empty").hidden = true;
  panel.querySelector(".shown").hidden = false;
}

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
    this.true.onclick = () => {
      const on = this.sheet.classList.toggle("true");
      this.true.setAttribute("aria-pressed", on);
    };
    place.replaceChildren(this.names, pane, this.range, this.true);
    this.sheet.onpointerdown = (event) => {
      this.sheet.setPointerCapture(event.pointerId);
      this.follow(event);
    };
    this.sheet.onpointermove = (event) => event.buttons & 1 && this.follow(event);
    this.put(50);
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
