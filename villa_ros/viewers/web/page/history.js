// What was sent before, for ↑ and ↓ in the text box. It stays in this browser.

const PLACE = "villa-console-history";
const MOST = 50;

export class History {
  constructor(box) {
    this.box = box;
    this.texts = read();
    this.at = this.texts.length;
    this.draft = "";
    box.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
      const { selectionStart, selectionEnd, value } = box;
      if (selectionStart !== selectionEnd) return;
      const first_line = !value.slice(0, selectionStart).includes("\n");
      const last_line = !value.slice(selectionEnd).includes("\n");
      if (event.key === "ArrowUp" && first_line) this.go(event, -1);
      if (event.key === "ArrowDown" && last_line) this.go(event, 1);
    });
  }

  go(event, step) {
    const next = this.at + step;
    if (next < 0 || next > this.texts.length) return;
    event.preventDefault();
    if (this.at === this.texts.length) this.draft = this.box.value;
    this.at = next;
    this.box.value = this.texts[next] ?? this.draft;
    this.box.dispatchEvent(new Event("input"));
  }

  add(text) {
    this.texts = [...this.texts.filter((known) => known !== text), text].slice(-MOST);
    this.at = this.texts.length;
    this.draft = "";
    try {
      localStorage.setItem(PLACE, JSON.stringify(this.texts));
    } catch {
      this.forgetful = true; // a browser that keeps nothing: the history lasts as long as the page
    }
  }
}

function read() {
  try {
    const known = JSON.parse(localStorage.getItem(PLACE) ?? "[]");
    return Array.isArray(known) ? known.filter((text) => typeof text === "string").slice(-MOST) : [];
  } catch {
    return [];
  }
}
