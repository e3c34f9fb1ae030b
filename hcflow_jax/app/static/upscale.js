// The tab Upscale.

import { fileAddress, networks, on } from "./api.js";
import { Compare, choices, downloads, facts, notes, reveal, run, tellValues } from "./parts.js";

export function upscale(panel, picture) {
  const form = panel.querySelector("form");
  const compare = new Compare(panel.querySelector(".compare"));
  tellValues(form);
  on("ready", () => {
    form.scale.max = networks().sr.most;
    form.scale.value = networks().sr.scale;
    form.scale.dispatchEvent(new Event("input"));
  });
  form.temperature.addEventListener("input", () => {
    if (form.temperature.value === "0") form.samples.value = 1;
  });
  form.samples.addEventListener("input", () => {
    if (form.samples.value > 1 && form.temperature.value === "0") {
      form.temperature.value = 0.8; // at 0 all samples are the same
      form.temperature.dispatchEvent(new Event("input"));
    }
  });
  form.onsubmit = async (event) => {
    event.preventDefault();
    const chosen = picture();
    if (!chosen) return;
    const numbers = ["scale", "temperature", "seed", "samples"].map((n) => [n, Number(form[n].value)]);
    const job = { kind: "upscale", picture: chosen.picture, ...Object.fromEntries(numbers) };
    const done = await run(form, job);
    if (done) show(done, chosen, job);
  };

  function show({ result, seconds }, chosen, { scale }) {
    reveal(panel, chosen);
    compare.resize(result.width, result.height);
    const bicubic = { address: fileAddress(result.bicubic), name: "bicubic" };
    const label = (i) => (result.samples.length > 1 ? `sample ${i + 1}` : "hcflow");
    const place = panel.querySelector(".downloads");
    const views = result.samples.map((name, i) => ({
      label: label(i),
      thumbnail: fileAddress(name),
      show() {
        compare.show(bicubic, { address: fileAddress(name), name: label(i) });
        const number = result.samples.length > 1 ? `_${i + 1}` : "";
        downloads(place, name, `${chosen.name}_x${scale}${number}`, result.jpeg);
      },
    }));
    if (result.spread) {
      views.push({
        label: "spread",
        thumbnail: fileAddress(result.spread.name),
        show() {
          const name = `standard deviation; white is ${result.spread.white.toFixed(1)} of 255 or more`;
          const spread = { address: fileAddress(result.spread.name), name };
          compare.show({ address: fileAddress(result.samples[0]), name: label(0) }, spread);
          downloads(place, result.spread.name, `${chosen.name}_spread`, result.jpeg);
        },
      });
    }
    choices(panel.querySelector(".views"), views);
    panel.querySelector(".views").hidden = views.length < 2;
    const size = `${chosen.width} × ${chosen.height} → ${result.width} × ${result.height} pixels`;
    facts(panel, chosen, `${size} in ${seconds.toFixed(1)} s`);
    notes(panel, result.notes);
  }
}
