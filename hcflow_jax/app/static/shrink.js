// The tab Shrink and restore.

import { fileAddress } from "./api.js";
import { Compare, bytes, choices, downloads, facts, make, notes, reveal, run } from "./parts.js";

export function shrink(panel, picture) {
  const form = panel.querySelector("form");
  const compare = new Compare(panel.querySelector(".compare"));
  const small = panel.querySelector(".small");
  const place = panel.querySelector(".downloads");
  const table = panel.querySelector(".figures");

  async function start(kind) {
    const chosen = picture();
    if (!chosen) return;
    const format = form.format.value;
    const asked = kind === "shrink" ? { format, refine: Number(form.refine.value) } : {};
    const done = await run(form, { kind, picture: chosen.picture, ...asked });
    if (!done) return;
    reveal(panel, chosen);
    compare.resize(done.result.width, done.result.height);
    facts(panel, chosen, `restored to ${done.result.width} × ${done.result.height} pixels in ${done.seconds.toFixed(1)} s`);
    notes(panel, done.result.notes);
    if (kind === "shrink") showBoth(done.result, chosen, format);
    else showRestored(done.result, chosen);
  }
  form.onsubmit = (event) => {
    event.preventDefault();
    start("shrink");
  };
  form.restore.onclick = () => start("restore");

  function showSmall(address, width, height, size) {
    const image = small.querySelector("img");
    [image.src, image.width, image.height] = [address, width, height];
    small.querySelector("figcaption").textContent = `small picture, ${width} × ${height}, ${bytes(size)}`;
  }

  function showBoth(result, chosen, format) {
    const kind = format === "jpg" ? "JPEG" : "PNG";
    showSmall(fileAddress(result.small), result.small_width, result.small_height, result.bytes.small);
    const original = { address: fileAddress(result.original), name: "original" };
    const restored = { address: fileAddress(result.restored), name: "restored" };
    const white = `error map: white is ${result.error.white.toFixed(0)} of 255 or more`;
    const error = { address: fileAddress(result.error.name), name: white };
    choices(panel.querySelector(".views"), [
      { label: "original and restored", show: () => compare.show(original, restored) },
      { label: "restored and error map", show: () => compare.show(restored, error) },
    ]);
    panel.querySelector(".views").hidden = false;
    table.hidden = false;
    const psnr = (value) => (value === null ? "equal" : `${value.toFixed(2)} dB`);
    const rows = [
      ["Original file", bytes(result.bytes.original)],
      [`Small ${kind}`, bytes(result.bytes.small)],
      ["PSNR of what is restored", psnr(result.psnr)],
      ["PSNR of bicubic, down and up", psnr(result.psnr_bicubic)],
    ].map(([name, value]) =>
      make("tr", {}, make("th", { scope: "row", textContent: name }), make("td", { textContent: value })),
    );
    table.querySelector("tbody").replaceChildren(...rows);
    downloads(place, result.restored, `${chosen.name}_restored`, result.jpeg, "restored ");
    const link = { className: "button", href: fileAddress(result.small), textContent: `Save small ${kind}` };
    place.prepend(make("a", { ...link, download: `${chosen.name}_lr.${format}` }));
  }

  function showRestored(result, chosen) {
    showSmall(fileAddress(chosen.picture), chosen.width, chosen.height, chosen.bytes);
    compare.show(
      { address: fileAddress(result.bicubic), name: "bicubic" },
      { address: fileAddress(result.restored), name: "restored" },
    );
    panel.querySelector(".views").hidden = table.hidden = true;
    downloads(place, result.restored, `${chosen.name}_restored`, result.jpeg, "restored ");
  }
}
