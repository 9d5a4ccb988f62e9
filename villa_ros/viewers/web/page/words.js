// Small pieces of page, and what states are called. All text goes in as text.

export function element(kind, name = "", text = "") {
  const made = document.createElement(kind);
  if (name) made.className = name;
  if (text) made.textContent = text;
  return made;
}

export function button(text, name, pressed) {
  const made = element("button", name, text);
  made.type = "button";
  made.addEventListener("click", pressed);
  return made;
}

export const percent = (share) => (share == null ? "?" : `${Math.round(100 * share)} %`);

export const number = (value, digits = 0) => (Number.isFinite(value) ? value.toFixed(digits) : "-");

export const amount = (value, ...more) => {
  const unit = more.pop();
  return Number.isFinite(value) ? `${number(value, ...more)} ${unit}` : "-";
};

// Of objects
export const STATES = {
  TENTATIVE: "not confirmed yet",
  TRACKED: "in view",
  OCCLUDED: "out of sight",
  LOST: "lost",
};

// Of requests: word, kind of chip
export const REQUEST_STATES = {
  UNKNOWN: ["sent, no word from the node yet", "open"],
  QUEUED: ["waits for its turn", "open"],
  BUFFERING: ["waits for pictures", "open"],
  DECODING: ["reads and answers", "open"],
  SEGMENTING: ["makes masks", "open"],
  TRACKING: ["follows", "good"],
  SUCCEEDED: ["done", "good"],
  NO_TARGET: ["not there", "low"],
  REJECTED: ["refused", "bad"],
  CANCELED: ["stopped", "open"],
  SUPERSEDED: ["replaced by a newer one", "open"],
  FAILED: ["failed", "bad"],
};
