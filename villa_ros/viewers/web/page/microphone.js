// Push to talk: the microphone is open while the button is held, and only then.

const RATE_HZ = 16000;
const TAP_MS = 350; // a press that is shorter switches on, and the next one off: not everybody can hold a button

export class Microphone {
  // `on` has begin(rate), piece(buffer), end(), failed(why).
  constructor(place, on) {
    this.button = place;
    this.on = on;
    this.why = "";
    this.pressed_ms = 0;
    place.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      place.setPointerCapture(event.pointerId);
      this.press();
    });
    place.addEventListener("pointerup", () => this.release());
    place.addEventListener("pointercancel", () => this.stop());
    place.addEventListener("contextmenu", (event) => event.preventDefault()); // what a long touch would open
    place.addEventListener("keydown", (event) => {
      if (event.key !== " " && event.key !== "Enter") return;
      event.preventDefault();
      if (!event.repeat) this.press();
    });
    place.addEventListener("keyup", (event) => {
      if (event.key === " " || event.key === "Enter") this.release();
    });
    place.addEventListener("blur", () => this.stop());
  }

  // `server` says whether there is speech recognition; returns why the microphone is off, or nothing.
  allow(server) {
    if (!window.isSecureContext) {
      this.why =
        "The microphone is off: browsers give it only to pages that come by https, or from this very machine. " +
        "Start the console with --tls-self-signed, or with --tls-cert and --tls-key.";
    } else if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) {
      this.why = "The microphone is off: this browser has none to give.";
    } else {
      this.why = server.on ? "" : `The microphone is off: ${server.why}.`;
    }
    this.button.setAttribute("aria-disabled", String(this.why !== ""));
    return this.why;
  }

  press() {
    if (this.why) {
      this.on.failed(this.why);
      return;
    }
    if (this.recording) {
      this.stop();
      return;
    }
    this.pressed_ms = performance.now();
    this.start();
  }

  release() {
    if (this.recording && performance.now() - this.pressed_ms > TAP_MS) this.stop();
  }

  async start() {
    const recording = { ended: false };
    this.recording = recording;
    this.button.setAttribute("aria-pressed", "true");
    try {
      const audio = { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true };
      recording.stream = await navigator.mediaDevices.getUserMedia({ audio });
      recording.context = await context_for(recording.stream);
      if (recording.ended) {
        this.shut(recording);
        return;
      }
      const { context } = recording;
      recording.node = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
      recording.node.port.onmessage = (event) => {
        if (event.data !== "end") {
          this.on.piece(event.data);
          return;
        }
        this.shut(recording);
        this.on.end();
      };
      this.on.begin(context.sampleRate);
      context.source.connect(recording.node);
    } catch (error) {
      this.recording = null;
      this.button.setAttribute("aria-pressed", "false");
      this.shut(recording);
      const denied = error.name === "NotAllowedError";
      this.on.failed(denied ? "The microphone is off: the browser was told not to give it to this page." : `No sound: ${error.message}`);
    }
  }

  stop() {
    const { recording } = this;
    if (!recording) return;
    recording.ended = true;
    this.recording = null;
    this.button.setAttribute("aria-pressed", "false");
    if (recording.node) recording.node.port.postMessage("flush"); // what is still in it comes, then "end"
  }

  shut(recording) {
    for (const track of recording.stream?.getTracks() ?? []) track.stop();
    recording.context?.close();
  }
}

// Recognition wants 16 kHz; a browser that cannot turn the microphone's rate into it keeps its own.
async function context_for(stream) {
  for (const options of [{ sampleRate: RATE_HZ }, {}]) {
    const context = new AudioContext(options);
    try {
      context.source = context.createMediaStreamSource(stream);
      await context.audioWorklet.addModule("recorder.js");
      return context;
    } catch (error) {
      await context.close();
      if (!options.sampleRate) throw error;
    }
  }
  return null;
}
