// The tab Explore.

import { fileAddress, upload } from "./api.js";
import { downloads, make, notes, reveal, run, tellValues } from "./parts.js";
import { Overlay } from "./overlay.js";

const KEPT = 12; // of the last states

export function explore(panel, picture) {
  const form = panel.querySelector("form");
  const image = panel.querySelector(".canvas img");
  const list = panel.querySelector(".history");
  const [undo, before] = ["undo", "before"].map((name) => panel.querySelector(`[name=${name}]`));
  let states = []; // {name, label, parent, base, width, height, seconds, notes, chosen, jpeg}
  let now = null;
  let next = 1; // the number of the sample that the next new draw takes
  let busy = false;
  tellValues(form);

  const sides = ["x", "y", "w", "h"].map((name) => form[name]);
  const overlay = new Overlay(panel.querySelector("canvas"), (region) =>
    sides.forEach((input, i) => (input.value = region[i])),
  );
  sides.forEach((input) =>
    input.addEventListener("input", () => {
      overlay.region = sides.map((side) => Number(side.value));
      overlay.draw();
    }),
  );

  function select(state) {
    now = state;
    [image.src, image.width, image.height] = [fileAddress(state.name), state.width, state.height];
    overlay.resize(state.width, state.height, false);
    before.setAttribute("aria-pressed", false);
    before.disabled = undo.disabled = !state.parent;
    const size = `${state.width} × ${state.height} pixels`;
    panel.querySelector("[data-facts]").textContent = `${state.label}: ${size} in ${state.seconds.toFixed(1)} s`;
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

  // Draws a state, made from `parent` where there is one; `base`: the sample of its coarse level.
  async function draw(job, label, parent, chosen, base) {
    if (busy) return;
    busy = true;
    const done = await run(panel, job);
    busy = false;
    if (!done) return;
    const { state: name, ...result } = done.result;
    const state = { ...result, name, label, parent, chosen, base, seconds: done.seconds };
    states = [...states, state].slice(-KEPT);
    reveal(panel);
    for (const part of form.querySelectorAll("fieldset")) part.disabled = false;
    select(state);
  }

  const common = () => ({
    kind: "draw",
    temperature: Number(form.temperature.value),
    seed: Number(form.seed.value),
  });

  form.onsubmit = (event) => {
    event.preventDefault();
    const chosen = picture();
    if (!chosen || busy) return;
    states = [];
    next = 1;
    form.weight.value = 0;
    form.weight.dispatchEvent(new Event("input"));
    overlay.clear();
    draw({ ...common(), picture: chosen.picture }, "sample 0", null, chosen, 0);
  };
  form.redraw.onclick = () => {
    const region = sides.map((input) => Number(input.value));
    overlay.region = region;
    overlay.draw();
    draw({ kind: "redraw", state: now.name, region, index: next++ }, "a part anew", now, now.chosen, now.base);
  };
  form.weight.addEventListener("change", () => {
    const [between, weight] = [[form.from, form.to].map((i) => Number(i.value)), Number(form.weight.value)];
    const label = `${between[0]} to ${between[1]}, ${weight}`;
    draw({ ...common(), picture: now.chosen.picture, between, weight }, label, now, now.chosen, between[0]);
  });
  form.fine.onclick = () => {
    const levels = { coarse: now.base, fine: next++ };
    draw({ ...common(), picture: now.chosen.picture, ...levels }, "fine anew", now, now.chosen, now.base);
  };
  form.coarse.onclick = () => {
    const levels = { coarse: next++, fine: now.base };
    draw({ ...common(), picture: now.chosen.picture, ...levels }, "coarse anew", now, now.chosen, now.base);
  };

  form.brush.onchange = () => {
    panel.querySelector(".painting").hidden = !form.brush.checked;
    overlay.painting = form.brush.checked;
    overlay.draw();
  };
  form.radius.addEventListener("input", () => {
    overlay.radius = Number(form.radius.value);
    overlay.draw();
  });
  form.erase.onchange = () => (overlay.erase = form.erase.checked);
  form.clear.onclick = () => overlay.clear();
  form.painted.onclick = async () => {
    const brush = (await upload(await overlay.map())).picture;
    draw({ ...common(), picture: now.chosen.picture, brush }, "painted", now, now.chosen, 0);
  };

  undo.onclick = () => select(now.parent);
  before.onclick = () => {
    const on = before.getAttribute("aria-pressed") !== "true";
    before.setAttribute("aria-pressed", on);
    image.src = fileAddress((on ? now.parent : now).name);
  };
}
