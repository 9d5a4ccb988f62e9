// One camera: its picture, the masks of that very picture over it, their names, and a card for the object that is clicked.

import { button, element, percent, STATES } from "./words.js";

const ALPHA = { TRACKED: 110, TENTATIVE: 60, chosen: 165 };
const RATE_WINDOW_MS = 2000;

export class Screen {
  // `act` has shown(camera), stop(object), follow(object).
  constructor(camera, act) {
    this.camera = camera;
    this.act = act;
    this.objects = [];
    this.chosen = null; // id of the object whose card is open
    this.order = Promise.resolve(); // pictures are decoded one after the other, so that none overtakes
    this.times_ms = [];
    this.names = new Map();
    this.figure = element("figure", "camera");
    this.title = element("b", "", camera);
    this.about = element("span");
    const caption = element("figcaption");
    caption.append(this.title, this.about);
    this.stage = element("div", "stage");
    this.picture = element("canvas", "pixels");
    this.inks = element("canvas", "inks");
    this.picture.width = this.inks.width = 640;
    this.picture.height = this.inks.height = 480;
    this.inks.setAttribute("role", "img");
    this.inks.setAttribute("aria-label", `Camera ${camera}. Its objects are in the list of objects.`);
    this.labels = element("div", "names");
    this.labels.setAttribute("aria-hidden", "true"); // the list of objects says the same
    this.veil = element("p", "veil", "No picture yet.");
    this.stage.append(this.picture, this.inks, this.labels, this.veil);
    this.figure.append(caption, this.stage);
    this.inks.addEventListener("click", (event) => this.clicked(event));
    this.stage.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
    });
  }

  show(message) {
    this.order = this.order.then(async () => {
      try {
        const bitmap = await createImageBitmap(message.image);
        this.draw(bitmap, message);
        bitmap.close();
      } catch (error) {
        this.damaged = String(error); // a damaged JPEG: the next picture is drawn again
      }
      this.act.shown(this.camera);
    });
  }

  // Picture and masks are drawn in one go, so that nothing can be seen in between.
  draw(bitmap, message) {
    if (this.picture.width !== bitmap.width || this.picture.height !== bitmap.height) {
      this.picture.width = bitmap.width;
      this.picture.height = bitmap.height;
    }
    this.picture.getContext("2d").drawImage(bitmap, 0, 0);
    this.figure.dataset.stamp = message.stamp;
    this.objects = message.objects;
    this.paint(message);
    this.label();
    this.veil.hidden = !this.stage.classList.contains("gone");
    if (this.chosen !== null && !this.objects.some((object) => object.id === this.chosen)) this.close();
    const now_ms = performance.now();
    this.times_ms.push(now_ms);
    while (now_ms - this.times_ms[0] > RATE_WINDOW_MS) this.times_ms.shift();
    this.latency_ms = message.latency_ms;
  }

  paint(message) {
    const masked = this.objects.filter((object) => object.area > 0);
    const [width, height] = masked.length ? masked[0].size : [message.width, message.height];
    if (this.inks.width !== width || this.inks.height !== height || !this.ink) {
      this.inks.width = width;
      this.inks.height = height;
      this.ink = new ImageData(width, height);
      this.owner = new Uint16Array(width * height); // which object a pixel belongs to, 0: none
    }
    const pixels = new Uint32Array(this.ink.data.buffer);
    pixels.fill(0);
    this.owner.fill(0);
    this.stacked = masked.sort((a, b) => b.area - a.area); // small objects lie on top of large ones
    this.stacked.forEach((object, place) => this.fill(object, place + 1, width));
    this.stacked.forEach((object, place) => this.ink_in(object, place + 1, pixels, width, height));
    this.inks.getContext("2d").putImageData(this.ink, 0, 0);
  }

  fill(object, number, width) {
    const [left, top, box_width] = object.box;
    let place = 0;
    let inside = false;
    for (const run of object.runs) {
      if (inside) {
        for (let rest = run, at = place; rest > 0; ) {
          const column = at % box_width;
          const part = Math.min(rest, box_width - column);
          const from = (top + Math.floor(at / box_width)) * width + left + column;
          this.owner.fill(number, from, from + part);
          at += part;
          rest -= part;
        }
      }
      place += run;
      inside = !inside;
    }
  }

  ink_in(object, number, pixels, width, height) {
    const [left, top, box_width, box_height] = object.box;
    const [red, green, blue] = object.colour;
    const chosen = object.id === this.chosen;
    const colour = (blue << 16) | (green << 8) | red;
    const alpha = chosen ? ALPHA.chosen : (ALPHA[object.state] ?? ALPHA.TRACKED);
    const filled = ((alpha << 24) | colour) >>> 0;
    const edge = (0xff000000 | (chosen ? 0xffffff : colour)) >>> 0;
    const thick = Math.max(1, Math.round(height / 320));
    const owner = this.owner;
    const other = (x, y) => x < 0 || y < 0 || x >= width || y >= height || owner[y * width + x] !== number;
    for (let y = top; y < top + box_height; y++) {
      for (let x = left; x < left + box_width; x++) {
        const at = y * width + x;
        if (owner[at] !== number) continue;
        const rim = other(x - thick, y) || other(x + thick, y) || other(x, y - thick) || other(x, y + thick);
        pixels[at] = rim ? edge : filled;
      }
    }
  }

  // Names over the objects, moved down until they cover no other.
  label() {
    const wide = this.stage.clientWidth;
    const high = this.stage.clientHeight;
    const taken = [];
    const seen = new Set();
    for (const object of this.objects) {
      if (!object.area) continue;
      seen.add(object.id);
      let label = this.names.get(object.id);
      if (!label) {
        label = element("span");
        this.names.set(object.id, label);
        this.labels.append(label);
      }
      const text = titled(object);
      if (label.textContent !== text) label.textContent = text;
      label.style.borderLeftColor = rgb(object.colour);
      const [width, height] = object.size;
      const label_width = Math.min(0.7 * wide, 16 + 7.5 * text.length);
      let x = Math.max(0, Math.min(wide - label_width, (object.box[0] / width) * wide));
      let y = Math.max(0, (object.box[1] / height) * high - 22);
      while (taken.some(([a, b, w]) => Math.abs(b - y) < 20 && x < a + w && a < x + label_width)) y += 21;
      y = Math.min(y, Math.max(0, high - 22));
      taken.push([x, y, label_width]);
      label.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`;
    }
    for (const [id, label] of this.names) {
      if (!seen.has(id)) {
        label.remove();
        this.names.delete(id);
      }
    }
  }

  object_at(x, y) {
    if (!this.owner || x < 0 || y < 0 || x >= this.inks.width || y >= this.inks.height) return null;
    return this.stacked[this.owner[y * this.inks.width + x] - 1] ?? null;
  }

  clicked(event) {
    const box = this.inks.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * this.inks.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * this.inks.height);
    const object = this.object_at(x, y);
    if (object) this.open(object, event.clientX - box.left, event.clientY - box.top);
    else this.close();
  }

  open(object, left, top) {
    this.close();
    this.chosen = object.id;
    const card = element("div", "card");
    card.setAttribute("role", "dialog");
    card.setAttribute("aria-label", object.name || object.id);
    const stop = button("Stop", "small stop", () => this.act.stop(object));
    const follow = button("Follow only this", "small main", () => this.act.follow(object));
    const away = button("Close", "small", () => this.close());
    const actions = element("div", "line");
    actions.append(stop, follow, away);
    const about = element("p", "quiet", described(object));
    card.append(element("b", "", object.name || "(no name)"), about, actions);
    this.stage.append(card);
    card.style.left = `${Math.max(8, Math.min(left + 12, this.stage.clientWidth - card.offsetWidth - 8))}px`;
    card.style.top = `${Math.max(8, Math.min(top + 12, this.stage.clientHeight - card.offsetHeight - 8))}px`;
    this.card = card;
    stop.focus({ preventScroll: true });
  }

  close() {
    this.chosen = null;
    this.card?.remove();
    this.card = null;
  }

  // `state` is what the server says of this camera.
  health(state) {
    const rate = (this.times_ms.length - 1) / (RATE_WINDOW_MS / 1000);
    const parts = [state.topic, `camera ${state.rate_hz.toFixed(1)} Hz`, `shown ${Math.max(0, rate).toFixed(1)} Hz`];
    if (this.latency_ms != null && this.objects.length) parts.push(`masks after ${this.latency_ms.toFixed(0)} ms`);
    if (state.bad) parts.push(`${state.bad} bad images`);
    this.about.textContent = parts.filter(Boolean).join(" · ");
    this.gone(!state.alive, state.silent_s);
  }

  gone(gone, silent_s) {
    this.stage.classList.toggle("gone", gone);
    this.veil.hidden = !gone;
    if (gone) {
      const text = silent_s == null ? "No picture yet: is the camera running?" : `No picture for ${Math.round(silent_s)} s`;
      if (this.veil.textContent !== text) this.veil.textContent = text;
    }
  }
}

export const rgb = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

export function titled(object) {
  const name = object.name || object.id;
  const state = object.state === "TRACKED" ? "" : ` (${STATES[object.state] ?? object.state.toLowerCase()})`;
  return `${name}${state} ${percent(object.score)}`;
}

export function described(object) {
  const parts = [STATES[object.state] ?? object.state.toLowerCase(), `meant ${percent(object.score)}`];
  if (object.area) parts.push(`mask ${percent(object.mask_score)}`);
  parts.push(object.id);
  return parts.join(" · ");
}
