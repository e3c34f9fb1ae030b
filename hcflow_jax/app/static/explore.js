// The tab Explore.

import { fileAddress, networks, on, upload } from "./api.js";
import { downloads, enlarged, facts, forbid, isThin, make, notes, reveal, run, tellValues } from "./parts.js";
import { Overlay } from "./overlay.js";

const KEPT = 12; // of the last states

export function explore(panel, picture) {
  const field = (name) => panel.querySelector(`[name=${name}]`);
  const number = (name) => Number(field(name).value);
  const forms = Object.fromEntries([...panel.querySelectorAll("form")].map((form) => [form.dataset.form, form]));
  const image = panel.querySelector(".canvas img");
  const list = panel.querySelector(".history");
  const [undo, before] = ["undo", "before"].map(field);
  let states = []; // {name, label, parent, temperature, width, height, seconds, notes, chosen, jpeg}
  let now = null;
  let next = 1; // the number of the sample that the next new draw takes
  let wanted = null; // the last mixture that was asked for while something was drawn
  tellValues(panel);

  const sides = ["x", "y", "w", "h"].map(field);
  const overlay = new Overlay(panel.querySelector("canvas"), (region) =>
    sides.forEach((input, i) => (input.value = region[i])),
  );
  const mark = () => {
    overlay.region = sides.map((side) => Number(side.value));
    overlay.draw();
  };
  sides.forEach((input) => input.addEventListener("input", mark));

  const levels = () => forbid(field("coarse"), "level", networks()?.sr.levels === 1);
  on("ready", levels);

  function select(state) {
    now = state;
    const factor = enlarged(state.width, state.height);
    [image.src, image.width, image.height] = [fileAddress(state.name), state.width, state.height];
    image.style.width = factor > 1 ? `${factor * state.width}px` : "";
    image.classList.toggle("enlarged", factor > 1);
    image.parentElement.classList.toggle("true", isThin(state.width, state.height));
    overlay.resize(state.width, state.height, false);
    [state.width - 1, state.height - 1, state.width, state.height].forEach((most, i) => (sides[i].max = most));
    before.setAttribute("aria-pressed", false);
    before.disabled = undo.disabled = !state.parent;
    for (const name of ["redraw", "fine", "coarse"]) forbid(field(name), "still", state.temperature === 0);
    for (const hint of panel.querySelectorAll("[data-still]")) hint.hidden = state.temperature > 0;
    reveal(panel, state.chosen);
    facts(panel, state.chosen, `${state.label}, ${state.width} × ${state.height} pixels in ${state.seconds.toFixed(1)} s`);
    notes(panel, state.notes);
    downloads(panel.querySelector(".downloads"), state.name, `${state.chosen.name}_explored`, state.jpeg);
    list.replaceChildren(
      ...states.map((one) => {
        const parts = [make("img", { src: fileAddress(one.name), alt: "" }), one.label];
        const button = make("button", { type: "button", aria: { pressed: one === now } }, ...parts);
        button.onclick = () => select(one);
        return make("li", {}, button);
      }),
    );
  }

  // What a state is called: equal ones are numbered.
  function called(label) {
    const others = states.map((state) => state.label);
    let count = 1;
    const name = () => (count > 1 ? `${label} (${count})` : label);
    while (others.includes(name())) count += 1;
    return name();
  }

  // Draws a state, made from `parent` where there is one, with its progress in a form.
  async function draw(form, job, label, temperature, parent, chosen = parent.chosen) {
    const done = await run(form, job);
    if (!done) {
      wanted = null;
      return;
    }
    const { state: name, ...result } = done.result;
    if (states[0]?.chosen.picture !== chosen.picture) [states, next] = [[], 1];
    const known = { name, label: called(label), parent, temperature, chosen, seconds: done.seconds };
    const state = { ...result, ...known };
    states = [...states, state].slice(-KEPT);
    for (const part of panel.querySelectorAll("fieldset")) part.disabled = false;
    select(state);
    const told = make("p", { className: "hint", role: "status", textContent: `Drawn: ${state.label}.` });
    form.querySelector(".job").replaceChildren(told);
    if (wanted) blend();
  }

  const common = () => ({ kind: "draw", temperature: number("temperature"), seed: number("seed") });

  function blend() {
    wanted = { between: [number("from"), number("to")], weight: number("weight") };
    if ("busy" in panel.dataset) return;
    const { between, weight } = wanted;
    wanted = null;
    const job = { ...common(), picture: now.chosen.picture, between, weight };
    draw(forms.blend, job, `${between[0]} to ${between[1]}, ${weight}`, job.temperature, now);
  }

  const actions = {
    draw() {
      const chosen = picture();
      const job = { ...common(), picture: chosen.picture };
      draw(forms.draw, job, `seed ${job.seed}`, job.temperature, null, chosen);
    },
    region() {
      mark();
      const job = { kind: "redraw", state: now.name, region: overlay.region, index: next++ };
      draw(forms.region, job, "new region", now.temperature, now);
    },
    blend,
    levels(event) {
      const level = event.submitter.name;
      const label = level === "fine" ? "new fine detail" : "new structure";
      draw(forms.levels, { kind: "relevel", state: now.name, level, index: next++ }, label, now.temperature, now);
    },
    paint() {
      const job = { kind: "paint", state: now.name, temperature: number("temperature") };
      const sent = async () => ({ ...job, brush: (await upload(await overlay.map())).picture });
      draw(forms.paint, sent, "painted", job.temperature, now);
    },
  };
  for (const [name, form] of Object.entries(forms)) {
    form.onsubmit = (event) => {
      event.preventDefault();
      actions[name](event);
    };
  }
  for (const name of ["from", "to", "weight"]) {
    field(name).addEventListener("change", () => forms.blend.reportValidity() && blend());
  }

  field("brush").onchange = () => {
    overlay.painting = field("brush").checked;
    panel.querySelector(".painting").hidden = !overlay.painting;
    forbid(field("painted"), "brush", !overlay.painting);
    overlay.draw();
  };
  field("brush").onchange();
  field("radius").addEventListener("input", () => {
    overlay.radius = number("radius");
    overlay.draw();
  });
  field("erase").onchange = (event) => (overlay.erase = event.target.checked);
  field("clear").onclick = () => overlay.clear();

  undo.onclick = () => select(now.parent);
  before.onclick = () => {
    const on = before.getAttribute("aria-pressed") !== "true";
    before.setAttribute("aria-pressed", on);
    image.src = fileAddress((on ? now.parent : now).name);
  };
}
