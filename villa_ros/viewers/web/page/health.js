// How node, cameras and server do: tiles for what is looked at, everything else in a list.

import { amount, element, number } from "./words.js";

const MARKS = { ok: ["✔", "good"], warn: ["▲", "low"], error: ["✘", "bad"], stale: ["?", "open"] };

export class HealthPanel {
  constructor() {
    this.tiles = document.getElementById("tiles");
    this.lines = document.getElementById("lines");
  }

  show(health) {
    const lines = new Map(health.node.lines.map((line) => [line.name, line]));
    const value = (line, key) => Number.parseFloat(lines.get(line)?.values[key]);
    const several = health.cameras.length > 1;
    const tiles = [];
    for (const camera of health.cameras) {
      const name = `camera ${camera.name}`;
      const of = several ? `, ${camera.name}` : "";
      tiles.push([`pictures${of}`, amount(camera.rate_hz, 1, "Hz")]);
      tiles.push([`processed${of}`, amount(value(name, "rate_used_hz"), 1, "Hz")]);
      tiles.push([`dropped${of}`, dropped(lines.get(name))]);
    }
    tiles.push(["latency p50", amount(value("worker", "frame/p50_ms"), "ms")]);
    tiles.push(["latency p95", amount(value("worker", "frame/p95_ms"), "ms")]);
    tiles.push(["node memory", amount(value("model", "memory/resident_mb"), "MB")]);
    tiles.push(["page server", amount(health.server.cpu_percent, "% CPU")]);
    tiles.push(["its memory", amount(health.server.memory_mb, "MB")]);
    tiles.push(["browsers", number(health.server.browsers)]);
    this.tiles.replaceChildren(...tiles.map(([name, text]) => tile(name, text)));
    if (this.lines.parentElement.open) this.lines.replaceChildren(...health.node.lines.flatMap(listed));
  }
}

function tile(name, text) {
  const made = element("div");
  made.append(element("dt", "", name), element("dd", "", text));
  return made;
}

// Frames that were dropped and images that could not be used, since the node was configured.
function dropped(line) {
  if (!line) return "-";
  const counts = Object.entries(line.values).filter(([key]) => key.startsWith("dropped/") || key === "bad_images");
  return String(counts.reduce((sum, [, count]) => sum + (Number.parseInt(count, 10) || 0), 0));
}

function listed(line) {
  const [mark, kind] = MARKS[line.level] ?? MARKS.stale;
  const title = element("h3");
  title.append(element("span", `chip ${kind}`, `${mark} ${line.name}`), ` ${line.message}`);
  const values = element("dl");
  for (const [key, text] of Object.entries(line.values)) values.append(element("dt", "", key), element("dd", "", text));
  return [title, values];
}
