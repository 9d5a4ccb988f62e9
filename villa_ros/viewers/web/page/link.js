// The websocket to the console's server. It comes back by itself; what is newest is sent anew then.

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 5000;
const SILENCE_MS = 5000; // health comes once a second, so a link that is silent for longer is dead
export const WRONG_TOKEN = 4401;
export const TOO_MANY_TRIES = 4429;

export class Link {
  // `on` has open(welcome), picture(message), note(fields), closed(reason, code).
  constructor(on, token) {
    this.on = on;
    this.token = token;
    this.wait_ms = FIRST_WAIT_MS;
    this.socket = null;
    this.opened = false;
    setInterval(() => this.watch(), 1000);
  }

  connect() {
    clearTimeout(this.timer);
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/link`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.heard_ms = performance.now();
    socket.addEventListener("open", () => socket.send(JSON.stringify({ kind: "hello", token: this.token() })));
    socket.addEventListener("message", (event) => {
      if (socket !== this.socket) return;
      this.heard_ms = performance.now();
      if (event.data instanceof ArrayBuffer) {
        this.on.picture(unpacked(event.data));
        return;
      }
      const fields = JSON.parse(event.data);
      if (fields.kind === "welcome") {
        this.opened = true;
        this.wait_ms = FIRST_WAIT_MS;
        this.on.open(fields);
      } else {
        this.on.note(fields);
      }
    });
    socket.addEventListener("close", (event) => {
      if (socket === this.socket) this.lost(event.code, event.reason);
    });
  }

  lost(code, reason) {
    this.socket = null;
    this.opened = false;
    this.on.closed(reason, code);
    if (code === WRONG_TOKEN || code === TOO_MANY_TRIES) return; // trying the same again would not help
    this.timer = setTimeout(() => this.connect(), this.wait_ms);
    this.wait_ms = Math.min(LONGEST_WAIT_MS, 2 * this.wait_ms);
  }

  watch() {
    if (this.socket === null || performance.now() - this.heard_ms < SILENCE_MS) return;
    const socket = this.socket;
    this.lost(0, "nothing comes any more");
    socket.close();
  }

  // False where it cannot arrive. A socket that is closing takes it and throws it away.
  send(fields) {
    if (!this.opened || this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(fields instanceof ArrayBuffer ? fields : JSON.stringify(fields));
    return true;
  }
}

// protocol.py says what is in it.
function unpacked(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;
  for (const object of header.objects) {
    const count = object.runs;
    object.runs = new Uint32Array(buffer, at, count); // every machine with a browser is little endian
    at += 4 * count;
  }
  header.image = new Blob([new Uint8Array(buffer, at)], { type: header.mime });
  return header;
}
