// Runs beside the page: sound from the microphone, in pieces of 16-bit samples.

const PIECE = 2048;

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Int16Array(PIECE);
    this.filled = 0;
    this.port.onmessage = () => {
      this.flush();
      this.port.postMessage("end");
      this.ended = true;
    };
  }

  process(inputs) {
    const sound = inputs[0][0];
    if (sound) {
      for (const sample of sound) {
        this.piece[this.filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
        if (this.filled === PIECE) this.flush();
      }
    }
    return !this.ended;
  }

  flush() {
    if (this.filled) this.port.postMessage(this.piece.slice(0, this.filled).buffer);
    this.filled = 0;
  }
}

registerProcessor("recorder", Recorder);
