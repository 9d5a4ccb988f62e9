// The list of requests, newest first, with progress, answer, cancel and "ask again".

import { rgb } from "./screen.js";
import { button, element, REQUEST_STATES } from "./words.js";

const STEPS = 5; // QUEUED to TRACKING
const MOST = 64;

export class Requests {
  // `act` has cancel(id), again(request), announce(text).
  constructor(act) {
    this.act = act;
    this.list = document.getElementById("requests");
    this.none = document.getElementById("no-requests");
    this.known = new Map();
    setInterval(() => this.tick(), 1000);
  }

  take(message) {
    if (message.whole) {
      const there = new Set(message.requests.map((request) => request.id));
      for (const id of [...this.known.keys()]) if (!there.has(id)) this.forget(id);
    }
    // They come in the order of their last change; a page that opens lists them as they were asked.
    const coming = message.whole ? message.requests.sort((a, b) => b.asked_ago_s - a.asked_ago_s) : message.requests;
    for (const request of coming) {
      const entry = this.known.get(request.id) ?? this.begun(request);
      entry.asked_ms = performance.now() - 1000 * request.asked_ago_s;
      this.tell(entry.request, request, message.whole);
      entry.request = request;
      this.draw(entry);
    }
    while (this.known.size > MOST) this.forget(this.known.keys().next().value);
    this.none.hidden = this.known.size > 0;
  }

  text_of(id) {
    return this.known.get(id)?.request.text ?? "";
  }

  begun(request) {
    const row = element("li");
    row.dataset.id = request.id;
    const entry = {
      row,
      request: null,
      said: element("p", "said"),
      answer: element("p", "answer"),
      message: element("p", "why"),
      chip: element("span", "chip"),
      time: element("span", "quiet"),
      progress: element("progress"),
      cancel: button("Cancel", "small", () => this.act.cancel(request.id)),
      again: button("Ask again", "small", () => this.act.again(entry.request)),
    };
    entry.progress.max = STEPS;
    const line = element("div", "line");
    line.append(entry.chip, entry.time, element("span", "spare"), entry.cancel, entry.again);
    row.append(entry.said, entry.answer, entry.message, entry.progress, line);
    this.known.set(request.id, entry);
    this.list.prepend(row);
    return entry;
  }

  forget(id) {
    this.known.get(id).row.remove();
    this.known.delete(id);
  }

  draw(entry) {
    const { request } = entry;
    const told = request.text || "(asked elsewhere; its words were not heard)";
    entry.said.textContent = told;
    const [word, kind] = request.lost ? ["the node went away", "bad"] : (REQUEST_STATES[request.state] ?? [request.state, "open"]);
    entry.chip.textContent = word;
    entry.chip.className = `chip ${kind}`;
    entry.row.dataset.state = request.lost ? "GONE" : request.state;
    entry.message.textContent = request.state === "REJECTED" || request.state === "FAILED" ? request.message : "";
    const busy = !request.final && !request.lost;
    entry.progress.hidden = !busy || request.state === "TRACKING";
    entry.progress.value = Math.min(request.step, STEPS);
    entry.progress.setAttribute("aria-label", `Progress of ${told}: ${word}`);
    entry.cancel.hidden = !busy;
    entry.cancel.textContent = request.state === "TRACKING" ? "Stop" : "Cancel";
    entry.cancel.setAttribute("aria-label", `${entry.cancel.textContent} ${told}`);
    entry.again.hidden = busy || !request.text;
    entry.again.setAttribute("aria-label", `Ask again: ${told}`);
    this.write(entry.answer, request);
    this.time(entry);
  }

  // The answer, with a dot in its object's colour behind each object that it names.
  write(place, request) {
    place.replaceChildren();
    if (!request.answer) return;
    const letters = [...request.answer]; // offsets count code points
    let from = 0;
    for (const [offset, colour] of request.named) {
      place.append(letters.slice(from, offset).join(""));
      const dot = element("i", "dot");
      dot.style.backgroundColor = rgb(colour);
      place.append(dot);
      from = Math.max(from, offset);
    }
    place.append(letters.slice(from).join("") + (request.answered || request.final ? "" : " …"));
  }

  time(entry) {
    const { request } = entry;
    const seconds = request.took_s ?? (performance.now() - entry.asked_ms) / 1000;
    const parts = [request.camera, seconds < 120 ? `${seconds.toFixed(request.took_s == null ? 0 : 1)} s` : `${Math.round(seconds / 60)} min`];
    const text = parts.filter(Boolean).join(" · ");
    if (entry.time.textContent !== text) entry.time.textContent = text;
  }

  tick() {
    for (const entry of this.known.values()) if (!entry.request.final) this.time(entry);
  }

  // Answers and ends are said aloud; what was there when the page opened is not.
  tell(before, now, whole) {
    if (whole) return;
    if (now.answered && !before?.answered) this.act.announce(`Answer: ${now.answer}`);
    if (now.final && !before?.final) {
      const [word] = REQUEST_STATES[now.state] ?? [now.state];
      this.act.announce(`${now.text || "Request"}: ${word}. ${now.message}`);
    }
  }
}
