// What lies over the picture in Explore: a rectangle that is dragged, or a brush.

const CELLS = 512; // of the longer side of what is painted
const MOST = 8192; // pixels of a side of the canvas: browsers draw nothing on far larger ones

export class Overlay {
  // `chosen` is called with a new rectangle [x, y, w, h], in pixels of the picture.
  constructor(canvas, chosen) {
    this.canvas = canvas;
    this.chosen = chosen;
    this.painting = false;
    this.radius = 24;
    this.erase = false;
    this.region = null;
    this.mask = document.createElement("canvas");
    this.cursor = null;
    canvas.onpointerdown = (event) => this.begin(event);
    canvas.onpointermove = (event) => event.buttons & 1 && this.go(event);
    canvas.onkeydown = (event) => this.key(event);
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  // For a picture of this size; what was painted goes where `fresh`.
  resize(width, height, fresh) {
    [this.width, this.height] = [width, height];
    this.cursor ??= [width / 2, height / 2];
    const factor = Math.min(1, CELLS / Math.max(width, height));
    const sides = [width, height].map((side) => Math.max(1, Math.round(factor * side)));
    if (fresh || this.mask.width !== sides[0] || this.mask.height !== sides[1]) {
      [this.mask.width, this.mask.height] = sides;
      this.cursor = [width / 2, height / 2];
    }
    this.draw();
  }

  clear() {
    this.mask.getContext("2d").clearRect(0, 0, this.mask.width, this.mask.height);
    this.draw();
  }

  // The painted places in white on black, as a PNG.
  map() {
    const flat = document.createElement("canvas");
    [flat.width, flat.height] = [this.mask.width, this.mask.height];
    const context = flat.getContext("2d");
    context.fillRect(0, 0, flat.width, flat.height);
    context.drawImage(this.mask, 0, 0);
    return new Promise((resolve) => flat.toBlob(resolve, "image/png"));
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const inside = (value, most) => Math.min(most, Math.max(0, value));
    return [
      inside(((event.clientX - box.left) / box.width) * this.width, this.width),
      inside(((event.clientY - box.top) / box.height) * this.height, this.height),
    ];
  }

  begin(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.start = this.cursor = this.at(event);
    if (this.painting) this.paint();
  }

  go(event) {
    const before = this.cursor;
    this.cursor = this.at(event);
    if (this.painting) this.paint(before);
    else this.select(this.start, this.cursor);
  }

  select([x0, y0], [x1, y1]) {
    const [x, y] = [Math.floor(Math.min(x0, x1)), Math.floor(Math.min(y0, y1))];
    const [w, h] = [Math.ceil(Math.max(x0, x1)) - x, Math.ceil(Math.max(y0, y1)) - y];
    if (w < 1 || h < 1) return;
    this.region = [x, y, w, h];
    this.chosen(this.region);
    this.draw();
  }

  paint(before = this.cursor) {
    const factor = this.mask.width / this.width;
    const context = this.mask.getContext("2d");
    context.globalCompositeOperation = this.erase ? "destination-out" : "source-over";
    [context.lineCap, context.strokeStyle, context.lineWidth] = ["round", "#fff", 2 * this.radius * factor];
    context.beginPath();
    context.moveTo(before[0] * factor, before[1] * factor);
    context.lineTo(this.cursor[0] * factor + 0.01, this.cursor[1] * factor);
    context.stroke();
    this.draw();
  }

  key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step) {
      const far = event.shiftKey ? 32 : 8;
      const sides = [this.width, this.height];
      if (this.painting) {
        this.cursor = this.cursor.map((v, i) => Math.min(sides[i], Math.max(0, v + far * step[i])));
      } else if (this.region) {
        const [x, y, w, h] = this.region;
        this.region = [...[x, y].map((v, i) => Math.min(sides[i] - [w, h][i], Math.max(0, v + far * step[i]))), w, h];
        this.chosen(this.region);
      }
    } else if (event.key === " " && this.painting) {
      this.paint();
    } else return;
    event.preventDefault();
    this.draw();
  }

  draw() {
    if (!this.width) return;
    const box = this.canvas.getBoundingClientRect();
    const dense = Math.min(window.devicePixelRatio || 1, MOST / Math.max(box.width, box.height, 1));
    [this.canvas.width, this.canvas.height] = [box.width * dense, box.height * dense];
    const context = this.canvas.getContext("2d");
    const factor = this.canvas.width / this.width;
    if (this.painting) {
      context.drawImage(this.mask, 0, 0, this.canvas.width, this.canvas.height);
      [context.globalCompositeOperation, context.fillStyle] = ["source-in", "#2f7de180"];
      context.fillRect(0, 0, this.canvas.width, this.canvas.height);
      context.globalCompositeOperation = "source-over";
      context.beginPath();
      context.arc(this.cursor[0] * factor, this.cursor[1] * factor, this.radius * factor, 0, 7);
      this.outline(context, dense, []);
    } else if (this.region) {
      const [x, y, w, h] = this.region.map((value) => value * factor);
      context.beginPath();
      context.rect(x, y, w, h);
      this.outline(context, dense, [6 * dense, 4 * dense]);
    }
  }

  outline(context, dense, dash) {
    for (const [colour, width, dashes] of [["#000a", 4, []], ["#fff", 2, dash]]) {
      [context.strokeStyle, context.lineWidth] = [colour, width * dense];
      context.setLineDash(dashes);
      context.stroke();
    }
  }
}
