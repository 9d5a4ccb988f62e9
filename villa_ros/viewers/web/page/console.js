// The page of the console: joins the link to the robot with what is seen and done.

import { HealthPanel } from "./health.js";
import { History } from "./history.js";
import { Link, TOO_MANY_TRIES, WRONG_TOKEN } from "./link.js";
import { Microphone } from "./microphone.js";
import { Objects } from "./objects.js";
import { Requests } from "./requests.js";
import { Screen } from "./screen.js";
import { button, element, percent } from "./words.js";

const $ = (id) => document.getElementById(id);
const LIST_PERIOD_MS = 250; // the list of objects: pictures come faster than anybody reads
const UNANSWERED_MS = 4000;
const STOP_UNANSWERED_MS = 2000; // the server says after one whether the node heard it

const screens = new Map();
const banners = new Map();
const sent = new Map(); // number of a request -> its text, until the server took or refused it
let welcome = null;
let shown = ""; // the camera that is shown alone; empty: all
let number = 0;
let unanswered_stop = null; // a timer, until the server tells what became of the last stop
let heard = null; // what speech recognition understood, while it is unchanged

// ---- token and link ----

const stored = kept("villa-console-token");
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  stored.set(given);
  history.replaceState(null, "", location.pathname); // out of the address bar and of what is copied from it
}
const conversation = kept("villa-console-conversation");
if (!conversation.get()) conversation.set(`page-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`);

const link = new Link(
  {
    open(fields) {
      welcome = fields;
      $("node").textContent = fields.node;
      $("again").hidden = !fields.repeats;
      $("token-form").hidden = true;
      $("main").hidden = false;
      banner("link", "");
      notes.question({ text: "" }); // if one is open, it comes again
      say_why_silent(microphone.allow(fields.microphone));
      watch();
    },
    picture: (message) => screens.get(message.camera)?.show(message),
    note: (fields) => notes[fields.kind]?.(fields),
    closed,
  },
  () => stored.get(),
);

function closed(reason, code) {
  for (const screen of screens.values()) screen.gone(true, null);
  chip("node-state", "not connected", "bad");
  if (code === WRONG_TOKEN || code === TOO_MANY_TRIES) {
    const first = code === WRONG_TOKEN && !stored.get();
    $("token-why").textContent = first ? "It was printed where the console was started." : `${reason}. Try another one.`;
    $("token-form").hidden = false;
    $("main").hidden = true;
    banner("link", "");
    $("token").focus();
    return;
  }
  const why = code >= 4000 ? `: ${reason}` : "";
  banner("link", `No connection to the console on the robot${why}. Trying again by itself.`);
}

$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  stored.set($("token").value.trim());
  $("token").value = "";
  link.connect();
});

// ---- what the server says ----

const notes = {
  requests: (message) => requests.take(message),
  health(message) {
    health.show(message);
    note_cameras(message.cameras);
    note_node(message.node);
    $("note").textContent = message.note;
  },
  accepted(message) {
    sent.delete(message.number);
  },
  refused(message) {
    refuse(message.why);
    if (sent.has(message.number) && !$("text").value) $("text").value = sent.get(message.number);
    sent.delete(message.number);
  },
  stop(message) {
    clearTimeout(unanswered_stop);
    if (!message.heard) {
      shout(message.why);
      return;
    }
    banner("stop", "");
    if (!message.request) announce("The robot has heard the stop."); // a request says itself that it was stopped
  },
  understood(message) {
    say_why_silent("");
    if (message.stop) {
      stop("");
      return;
    }
    $("text").value = message.text;
    heard = { text: message.text, confidence: message.confidence };
    const sure = message.confidence == null ? "" : ` (${percent(message.confidence)} sure)`;
    if (welcome.send_speech) {
      ask();
      announce(`Understood${sure} and sent: ${message.text}`);
    } else {
      $("text").focus();
      say_why_silent(`Understood${sure}. Send it, or edit it first.`);
      announce(`Understood${sure}: ${message.text}. Press Enter to send it.`);
    }
  },
  question(message) {
    $("question-text").textContent = message.text && `Heard by the robot: ${message.text}`;
    $("question").hidden = !message.text;
  },
  misunderstood: (message) => say_why_silent(`Not understood: ${message.why}.`),
};

function note_node(node) {
  const lifecycle = node.lines.find((line) => line.name === "lifecycle");
  if (!node.alive) {
    chip("node-state", "gone", "bad");
    const since = node.silent_s == null ? "was not heard of yet" : "is not heard of any more";
    banner("node", `The node ${node.name} ${since}. Is it running? The page goes on by itself when it is back.`);
    return;
  }
  const active = lifecycle?.values.state === "active";
  const enabled = lifecycle?.values.enabled !== "False";
  chip("node-state", active && !enabled ? "disabled" : (lifecycle?.values.state ?? "there"), active && enabled ? "good" : "low");
  if (active && enabled) banner("node", "");
  else if (active) banner("node", `The node ${node.name} is disabled: ~/set_enabled switches it on.`, "low");
  else banner("node", `The node ${node.name} is not active: ${lifecycle?.message ?? "no word of its state"}.`, "low");
}

function note_cameras(cameras) {
  const names = cameras.map((camera) => camera.name);
  if (names.join("\n") !== [...screens.keys()].join("\n")) {
    for (const name of names) if (!screens.has(name)) screens.set(name, new Screen(name, screen_acts));
    for (const name of [...screens.keys()]) if (!names.includes(name)) screens.delete(name);
    if (!screens.has(shown)) shown = "";
    offer_cameras(names);
    place_screens();
  }
  for (const camera of cameras) screens.get(camera.name).health(camera);
  const gone = cameras.filter((camera) => !camera.alive && camera.silent_s != null).map((camera) => camera.name);
  const several = gone.length > 1;
  banner("cameras", gone.length ? `No pictures come from camera${several ? "s" : ""} ${gone.join(", ")}.` : "", "low");
}

// ---- cameras ----

function offer_cameras(names) {
  const several = names.length > 1;
  $("shown").hidden = !several;
  $("camera-label").hidden = !several;
  const choices = ["", ...names].map((name) => {
    const choice = button(name || "All", "", () => {
      shown = name;
      if (name) $("camera").value = name;
      for (const other of choices) other.setAttribute("aria-pressed", String(other === choice));
      place_screens();
    });
    choice.setAttribute("aria-pressed", String(name === shown));
    return choice;
  });
  $("shown").replaceChildren(...choices);
  const before = $("camera").value;
  $("camera").replaceChildren(...names.map((name) => new Option(name, name)));
  if (names.includes(before)) $("camera").value = before;
}

const in_view = () => [...screens.values()].filter((screen) => !shown || screen.camera === shown);

function place_screens() {
  $("screens").replaceChildren(...in_view().map((screen) => screen.figure));
  $("no-camera").hidden = screens.size > 0;
  watch();
}

function watch() {
  const cameras = document.hidden ? [] : in_view().map((screen) => screen.camera);
  link.send({ kind: "watch", cameras, masks: $("masks").checked });
}

document.addEventListener("visibilitychange", watch);
$("masks").addEventListener("change", watch);
setInterval(() => objects.show(in_view()), LIST_PERIOD_MS);

// ---- asking and stopping ----

const acts = {
  cancel: (id) => stop(id),
  stop(object) {
    stop(object.request);
    close_cards();
  },
  follow(object) {
    const name = object.name.trim();
    if (!name) {
      refuse("This object has no name to ask for. Ask for it in words.");
      return;
    }
    send(/^(the|a|an|my|this|that) /i.test(name) ? name : `the ${name}`, object.camera);
    close_cards();
  },
  again: (request) => send(request.text, request.camera),
  announce,
};
const screen_acts = {
  shown: (camera) => link.send({ kind: "shown", camera }),
  stop: acts.stop,
  follow: acts.follow,
};

const requests = new Requests(acts);
const objects = new Objects(acts);
const health = new HealthPanel();
const past = new History($("text"));

function stop(id) {
  clearTimeout(unanswered_stop);
  if (!link.send({ kind: "stop", request: id })) {
    shout("there is no connection to the console on the robot");
    return;
  }
  unanswered_stop = setTimeout(() => shout("the console on the robot does not answer"), STOP_UNANSWERED_MS);
}

// It stays until a stop is heard.
function shout(why) {
  banner("stop", `THE STOP WAS NOT HEARD: ${why}. Use the robot's own emergency stop.`, "alarm");
  navigator.vibrate?.([300, 100, 300, 100, 300]);
}

function close_cards() {
  for (const screen of screens.values()) screen.close();
}

function send(text, camera, more = {}) {
  refuse("");
  number += 1;
  const mine = number;
  const asked = { kind: "ask", number: mine, text, camera: camera ?? "", conversation: conversation.get(), ...more };
  if (!link.send(asked)) {
    refuse("There is no connection: the request was not sent.");
    return false;
  }
  sent.set(mine, text);
  setTimeout(() => {
    if (sent.delete(mine)) refuse("The console did not take the request. Send it again.");
  }, UNANSWERED_MS);
  return true;
}

function ask() {
  const box = $("text");
  const text = box.value.trim();
  const longest = welcome?.max_text ?? Infinity;
  const letters = [...text].length;
  if (!text) {
    refuse("Say what to look for, for instance: the red mug.");
    return;
  }
  if (letters > longest) {
    refuse(`The request has ${letters.toLocaleString("en")} characters; at most ${longest.toLocaleString("en")} are taken. Shorten it.`);
    return;
  }
  const camera = screens.size > 1 ? $("camera").value : "";
  const more = { follow_up: $("follow-up").checked };
  if (heard?.text === text && heard.confidence != null) more.confidence = heard.confidence;
  if (!send(text, camera, more)) return;
  past.add(text);
  box.value = "";
  heard = null;
  $("follow-up").checked = false;
  say_why_silent(welcome ? microphone.why : "");
}

function refuse(why) {
  $("text-why").textContent = why;
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
$("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ask();
});
$("text").addEventListener("input", () => refuse(""));
$("stop-all").addEventListener("click", () => stop(""));
for (const id of ["yes", "no"]) {
  $(id).addEventListener("click", () => {
    if (!link.send({ kind: "confirm", yes: id === "yes" })) refuse("There is no connection: nothing was confirmed.");
  });
}
$("again").addEventListener("click", () => link.send({ kind: "again" }));

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input:not([type=checkbox]), textarea, select")) return;
  if (event.key === "/") {
    event.preventDefault();
    $("text").focus();
  }
  if (event.key === "m") $("masks").click();
});

// ---- speaking ----

const microphone = new Microphone($("talk"), {
  begin(rate) {
    link.send({ kind: "talk", rate });
    say_why_silent("Listening …");
  },
  piece: (buffer) => link.send(buffer),
  end() {
    link.send({ kind: "talked" });
    say_why_silent("Understanding …");
  },
  failed: (why) => say_why_silent(why),
});

function say_why_silent(text) {
  $("talk-why").textContent = text;
}

// ---- small things ----

function announce(text) {
  $("announcer").textContent = text;
}

function chip(id, text, kind) {
  $(id).textContent = text;
  $(id).className = `chip ${kind}`;
}

// One banner for each thing that can be wrong; written only when it changes, as it is read aloud then.
function banner(about, text, kind = "bad") {
  const known = banners.get(about);
  if ((known?.textContent ?? "") === text) return;
  known?.remove();
  banners.delete(about);
  if (text) {
    const made = element("p", `banner ${kind}`, text);
    banners.set(about, made);
    $("banners").append(made);
  }
}

// A value of this tab, which outlives a reload where the browser allows it.
function kept(name) {
  let value = "";
  try {
    value = sessionStorage.getItem(name) ?? "";
  } catch {
    value = "";
  }
  return {
    get: () => value,
    set(text) {
      value = text;
      try {
        sessionStorage.setItem(name, text);
      } catch {
        value = text; // a browser that keeps nothing
      }
    },
  };
}

link.connect();
