// The list of objects of all cameras that are shown: what clicking does in the picture, for keyboard and screen readers.

import { described, rgb } from "./screen.js";
import { button, element } from "./words.js";

export class Objects {
  constructor(act) {
    this.act = act;
    this.list = document.getElementById("objects");
    this.none = document.getElementById("no-objects");
    this.count = document.getElementById("objects-count");
    this.rows = new Map();
  }

  show(screens) {
    const objects = screens.flatMap((screen) => screen.objects.map((object) => ({ ...object, camera: screen.camera })));
    const several = screens.length > 1;
    const seen = new Set(objects.map((object) => object.id));
    for (const [id, row] of this.rows) {
      if (!seen.has(id)) {
        row.remove();
        this.rows.delete(id);
      }
    }
    for (const object of objects) {
      const row = this.rows.get(object.id) ?? this.row(object);
      row.object = object;
      const about = described(object) + (several ? ` · ${object.camera}` : "");
      if (row.about.textContent !== about) row.about.textContent = about;
    }
    this.none.hidden = objects.length > 0;
    this.count.textContent = objects.length ? String(objects.length) : "";
  }

  row(object) {
    const row = element("li");
    row.dataset.id = object.id;
    const swatch = element("span", "swatch");
    swatch.style.backgroundColor = rgb(object.colour);
    row.about = element("span", "about quiet");
    const name = object.name || "(no name)";
    const stop = button("Stop", "small", () => this.act.stop(row.object));
    stop.setAttribute("aria-label", `Stop following ${name}`);
    const follow = button("Follow only this", "small", () => this.act.follow(row.object));
    follow.setAttribute("aria-label", `Follow only ${name}`);
    row.append(swatch, element("span", "name", name), row.about, stop, follow);
    this.rows.set(object.id, row);
    this.list.append(row);
    return row;
  }
}
