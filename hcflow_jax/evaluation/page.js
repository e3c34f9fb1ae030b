"use strict";

// Every element .viewer becomes a comparison of two views of its picture, when it comes into sight.
const pictures = JSON.parse(document.getElementById("data").textContent);
const THUMB = 16; // width of a slider's handle: its middle never reaches the slider's ends

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function choice(label, options, chosen, changed) {
  const made = element("select", {});
  options.forEach((title, i) => made.append(element("option", { value: i }, title)));
  made.value = chosen;
  made.addEventListener("change", () => changed(Number(made.value)));
  return [element("label", {}, label, made), made];
}

function build(viewer) {
  const picture = pictures[viewer.dataset.picture];
  const views = picture.views;
  const titles = views.map((view) => view.title);
  const find = (title, other) => Math.max(titles.indexOf(title), other);
  const first = views.findIndex((v) => v.factor === 1 && !["HR", "bicubic", "Lanczos"].includes(v.title));
  const state = { left: find("bicubic", 0), right: Math.max(first, 0), zoom: 0, x: 0, y: 0, at: 50 };

  const sides = ["left", "right"].map((name) => {
    const image = element("img", { alt: "", draggable: false });
    const tag = element("span", { className: `tag ${name}` });
    return { name, image, tag, box: element("div", { className: "side" }, image) };
  });
  const divider = element("div", { className: "divider" });
  const stage = element("div", { className: "stage", tabIndex: 0, role: "group" });
  stage.append(sides[0].box, sides[1].box, divider, sides[0].tag, sides[1].tag);
  const slider = element("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50 });
  const wipe = element("label", { className: "wipe" }, "Divider", slider);
  const ZOOMS = [0, 1, 2, 4, 8, 16];

  // Pixels of the screen per HR pixel, as large as fits when no zoom is chosen.
  function scale() {
    return ZOOMS[state.zoom] || stage.clientWidth / picture.width;
  }

  function draw() {
    const room = viewer.clientWidth;
    const tall = Math.max(240, 0.7 * window.innerHeight);
    const width = Math.min(room, (tall * picture.width) / picture.height);
    stage.style.width = wipe.style.width = `${width}px`;
    stage.style.height = `${(width * picture.height) / picture.width}px`;
    const by = scale();
    for (const [axis, side, all] of [
      ["x", stage.clientWidth, picture.width],
      ["y", stage.clientHeight, picture.height],
    ]) {
      const spare = side - by * all;
      state[axis] = spare >= 0 ? spare / 2 : Math.min(0, Math.max(spare, state[axis]));
    }
    const line = THUMB / 2 + (state.at / 100) * (stage.clientWidth - THUMB);
    sides.forEach(({ name, image, tag, box }) => {
      const view = views[state[name]];
      if (image.src !== view.source) image.src = view.source;
      image.style.width = `${picture.width}px`;
      image.style.height = `${picture.height}px`;
      image.style.transform = `translate(${state.x}px, ${state.y}px) scale(${by})`;
      image.className = view.factor > 1 || by > 2 ? "squares" : "";
      tag.textContent = view.title;
      const [from, to] = name === "left" ? [0, stage.clientWidth - line] : [line, 0];
      box.style.clipPath = `inset(0 ${to}px 0 ${from}px)`;
    });
    divider.style.left = `${line}px`;
    stage.classList.toggle("zoomed", by * picture.width > stage.clientWidth + 1);
    const shown = `${titles[state.left]} on the left, ${titles[state.right]} on the right`;
    stage.setAttribute("aria-label", `${picture.name}: ${shown}; arrow keys move it when zoomed`);
    slider.setAttribute("aria-valuetext", `${Math.round(state.at)} % ${titles[state.left]}`);
    thumbs.forEach((thumb, i) => thumb.setAttribute("aria-pressed", i === state.right));
  }

  function zoom(to) {
    const before = scale();
    state.zoom = to;
    const by = scale() / before;
    for (const [axis, side] of [["x", stage.clientWidth], ["y", stage.clientHeight]]) {
      state[axis] = side / 2 - by * (side / 2 - state[axis]); // what is in the middle stays there
    }
    draw();
  }

  function choose(name, view) {
    state[name] = view;
    selects[name].value = view;
    draw();
  }

  const selects = {};
  const labels = ["left", "right"].map((name) => {
    const title = name === "left" ? "Left" : "Right";
    const [label, select] = choice(title, titles, state[name], (view) => choose(name, view));
    selects[name] = select;
    return label;
  });
  const names = ZOOMS.map((z) => (z ? `${z} ×` : "fit"));
  const [zooming] = choice("Zoom", names, 0, zoom);
  const thumbs = views.map((view, i) =>
    element(
      "button",
      { type: "button", title: "show on the right", onclick: () => choose("right", i) },
      element("img", { src: view.source, alt: "", className: view.factor > 1 ? "squares" : "" }),
      element("span", {}, view.title),
      element("span", { className: "note" }, view.note),
    ),
  );

  slider.addEventListener("input", () => {
    state.at = Number(slider.value);
    draw();
  });
  stage.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
    const step = steps[event.key];
    if (!step || !stage.classList.contains("zoomed")) return;
    event.preventDefault();
    state.x += step[0];
    state.y += step[1];
    draw();
  });
  drag(stage, state, slider, draw);
  viewer.append(element("div", { className: "choices" }, ...labels, zooming), stage, wipe);
  viewer.append(element("div", { className: "thumbs" }, ...thumbs));
  viewer.classList.add("ready");
  new ResizeObserver(draw).observe(viewer);
  draw();
}

// A pointer moves the divider, when it starts near it or there is nothing to move, or the picture.
function drag(stage, state, slider, draw) {
  let last = null;
  let wiping = false;
  const position = (event) => {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const wipeTo = (x) => {
    const share = (x - THUMB / 2) / (stage.clientWidth - THUMB);
    state.at = slider.value = 100 * Math.min(1, Math.max(0, share));
  };
  stage.addEventListener("pointerdown", (event) => {
    last = position(event);
    const line = THUMB / 2 + (state.at / 100) * (stage.clientWidth - THUMB);
    wiping = !stage.classList.contains("zoomed") || Math.abs(last.x - line) < 14;
    stage.setPointerCapture(event.pointerId);
    stage.classList.add("dragging");
    if (wiping) wipeTo(last.x);
    draw();
  });
  stage.addEventListener("pointermove", (event) => {
    if (!last) return;
    const now = position(event);
    if (wiping) {
      wipeTo(now.x);
    } else {
      state.x += now.x - last.x;
      state.y += now.y - last.y;
    }
    last = now;
    draw();
  });
  for (const end of ["pointerup", "pointercancel"]) {
    stage.addEventListener(end, () => {
      last = null;
      stage.classList.remove("dragging");
    });
  }
}

const viewers = [...document.querySelectorAll(".viewer")];
const seen = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => ready(target)),
  { rootMargin: "600px" },
);

function ready(viewer) {
  seen.unobserve(viewer);
  if (!viewer.classList.contains("ready")) build(viewer);
}

viewers.slice(0, 1).forEach(ready);
viewers.slice(1).forEach((viewer) => seen.observe(viewer));
window.addEventListener("beforeprint", () => viewers.forEach(ready));
