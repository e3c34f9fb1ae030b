// The tab Evaluate.

import { fileAddress } from "./api.js";
import { make, notes, reveal, run } from "./parts.js";

export function evaluate(panel, opened) {
  const form = panel.querySelector("form");
  const names = opened.folders.map((name) => make("option", { value: name, textContent: name }));
  form.folder.replaceChildren(...names);
  form.querySelector("button").disabled = names.length === 0;
  if (opened.root) {
    const told = names.length ? "Choose a folder, then press Evaluate." : "There are no pictures below the root.";
    panel.querySelector(".empty").textContent = told;
  }
  form.onsubmit = async (event) => {
    event.preventDefault();
    const temperatures = form.temperatures.value.split(",").map(Number);
    const job = { kind: "evaluate", folder: form.folder.value, task: form.task.value };
    const done = await run(panel, { ...job, temperatures, samples: Number(form.samples.value) });
    if (!done) return;
    reveal(panel);
    const href = fileAddress(done.result.report);
    const open = { className: "button main", href, target: "_blank", rel: "noopener", textContent: "Open the report" };
    const save = { className: "button", href, download: `${form.folder.value}.html`, textContent: "Save the report" };
    panel.querySelector(".downloads").replaceChildren(make("a", open), make("a", save));
    notes(panel, [...done.result.notes, `It took ${done.seconds.toFixed(1)} s.`]);
  };
}
