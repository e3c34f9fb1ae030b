// The tab Evaluate.

import { fileAddress } from "./api.js";
import { forbid, make, notes, reveal, run } from "./parts.js";

const MOST = 2; // of temperatures

// The numbers of "0, 0.5, 0.9"; an Error that quotes what is none.
function numbers(typed) {
  return typed.split(",").map((part) => {
    const text = part.trim();
    if (/^(\d+\.?\d*|\.\d+)$/.test(text) && Number(text) <= MOST) return Number(text);
    const what = text ? `“${text}” is not a temperature from 0 to ${MOST}` : `“${typed}” has a comma too many`;
    throw new Error(`${what}; write them as 0, 0.5, 0.9: points in numbers, commas between them.`);
  });
}

// {columns, rows} as a table whose first column names its rows.
function shown({ columns, rows }) {
  const title = (name) => (name ? make("th", { scope: "col", textContent: name }) : make("td"));
  const head = make("tr", {}, ...columns.map(title));
  const body = rows.map(([name, ...values]) =>
    make(
      "tr",
      {},
      make("th", { scope: "row", textContent: name }),
      ...values.map((value) => make("td", { textContent: value })),
    ),
  );
  const caption = make("caption", { textContent: "Means of all pictures" });
  return make("table", {}, caption, make("thead", {}, head), make("tbody", {}, ...body));
}

export function evaluate(panel, opened) {
  const form = panel.querySelector("form");
  const names = opened.folders.map((name) => make("option", { value: name, textContent: name }));
  form.folder.replaceChildren(...names);
  forbid(form.querySelector("button"), "folder", names.length === 0);
  if (opened.root) {
    const told = names.length ? "Choose a folder, then press Evaluate." : "There are no pictures below the root.";
    panel.querySelector(".empty").textContent = told;
  }
  form.temperatures.oninput = () => {
    form.temperatures.setCustomValidity("");
    try {
      numbers(form.temperatures.value);
    } catch (error) {
      form.temperatures.setCustomValidity(error.message); // which browsers show where it is sent
    }
  };
  form.onsubmit = async (event) => {
    event.preventDefault();
    const folder = form.folder.value;
    const asked = { temperatures: numbers(form.temperatures.value), samples: Number(form.samples.value) };
    const done = await run(form, { kind: "evaluate", folder, task: form.task.value, ...asked });
    if (!done) return;
    reveal(panel);
    panel.querySelector("[data-facts]").replaceChildren(
      make("bdi", { textContent: folder }),
      `: ${form.task.selectedOptions[0].textContent}, in ${done.seconds.toFixed(1)} s`,
    );
    const href = fileAddress(done.result.report);
    const file = `${folder.replace(/^\.*|\.*$/g, "") || "report"}.html`;
    const open = { className: "button main", href, target: "_blank", rel: "noopener", textContent: "Open the report" };
    const save = { className: "button", href, download: file, textContent: "Save the report" };
    panel.querySelector(".downloads").replaceChildren(make("a", open), make("a", save));
    panel.querySelector(".means").replaceChildren(...(done.result.table ? [shown(done.result.table)] : []));
    notes(panel, done.result.notes);
  };
}
