// A melody: its piano roll on a canvas, and its sound from oscillators.
// Notes are {pitch, start, duration}: MIDI pitch (60 is middle C, 69 is 440 Hz), times in whole notes.

const SECONDS = 2; // a whole note at 120 quarter notes a minute
const AHEAD = 0.05; // seconds, so that the first note is not cut
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");
let audio = null;
let playing = null;

export class Melody {
  constructor(notes, canvas, button) {
    Object.assign(this, { notes, canvas, button });
    this.length = Math.max(...notes.map((note) => note.start + note.duration));
    const pitches = notes.map((note) => note.pitch);
    // The octaves from C to C that it needs, two at least.
    this.low = Math.floor(Math.min(...pitches) / 12) * 12;
    this.high = Math.max(Math.floor(Math.max(...pitches) / 12) * 12 + 12, this.low + 24);
    this.events = new AbortController();
    const on = (target, name, act) =>
      target.addEventListener(name, act, { signal: this.events.signal });
    on(button, "click", () => (playing === this ? this.stop() : this.play()));
    on(canvas, "click", (event) => this.play(this.timeAt(event.offsetX)));
    on(dark, "change", () => this.draw());
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(canvas);
  }

  get isPlaying() {
    return playing === this;
  }

  // Another sample takes its place.
  leave() {
    this.stop();
    this.events.abort();
    this.resized.disconnect();
  }

  play(from = 0) {
    playing?.stop();
    audio ??= new AudioContext();
    audio.resume();
    this.tones = [];
    this.out = new GainNode(audio, { gain: 0.25 });
    this.out.connect(audio.destination);
    this.began = audio.currentTime + AHEAD - from * SECONDS;
    for (const note of this.notes) if (note.start + note.duration > from) this.sound(note, from);
    playing = this;
    this.label(true);
    this.frame = requestAnimationFrame(() => this.follow());
  }

  sound({ pitch, start, duration }, from) {
    const begin = this.began + Math.max(start, from) * SECONDS;
    const end = Math.max(this.began + (start + duration) * SECONDS - 0.02, begin + 0.02);
    const frequency = 440 * 2 ** ((pitch - 69) / 12);
    const tone = new OscillatorNode(audio, { type: "triangle", frequency });
    const envelope = new GainNode(audio, { gain: 0 });
    envelope.gain.setValueAtTime(0, begin);
    envelope.gain.linearRampToValueAtTime(1, begin + 0.01);
    envelope.gain.setTargetAtTime(0.5, begin + 0.01, 0.2);
    envelope.gain.setTargetAtTime(0, end, 0.02);
    tone.connect(envelope).connect(this.out);
    tone.start(begin);
    tone.stop(end + 0.15);
    this.tones.push(tone);
  }

  stop() {
    if (playing !== this) return;
    playing = null;
    cancelAnimationFrame(this.frame);
    for (const tone of this.tones) tone.stop();
    this.out.disconnect();
    this.label(false);
    this.draw();
  }

  follow() {
    const now = this.now();
    if (now > this.length) return this.stop();
    this.draw();
    this.frame = requestAnimationFrame(() => this.follow());
  }

  now() {
    return (audio.currentTime - this.began) / SECONDS;
  }

  label(on) {
    this.button.setAttribute("aria-pressed", on);
    this.button.querySelector(".sign").textContent = on ? "■" : "▶";
    this.button.querySelector(".word").textContent = on ? "Stop" : "Play";
  }

  timeAt(x) {
    return Math.min(Math.max((x - GUTTER) / (this.canvas.clientWidth - GUTTER), 0), 1) * this.length;
  }

  draw() {
    const { width, height, paint, colour } = surface(this.canvas);
    const row = height / (this.high - this.low + 1);
    const top = (pitch) => (this.high - pitch) * row;
    const left = (time) => GUTTER + (time / this.length) * (width - GUTTER);
    this.grid(paint, colour, { width, height, row, top, left });
    const now = this.isPlaying ? this.now() : -1;
    for (const { pitch, start, duration } of this.notes) {
      const sounds = start <= now && now < start + duration;
      paint.fillStyle = colour(sounds ? "--sounding" : "--accent");
      const long = Math.max(left(start + duration) - left(start) - 1.5, 1.5);
      paint.beginPath();
      paint.roundRect(left(start), top(pitch), long, Math.max(row - 0.5, 2), Math.min(row, long) / 4);
      paint.fill();
    }
    if (now >= 0 && !calm.matches) {
      paint.fillStyle = colour("--ink");
      paint.fillRect(left(now), 0, 1.5, height);
    }
  }

  grid(paint, colour, { width, height, row, top, left }) {
    paint.font = "11px system-ui, sans-serif";
    paint.textBaseline = "middle";
    for (let c = this.low; c <= this.high; c += 12) {
      paint.fillStyle = colour("--line");
      paint.fillRect(GUTTER, top(c), width - GUTTER, row);
      paint.fillStyle = colour("--grey");
      const middle = Math.min(Math.max(top(c) + row / 2, 7), height - 7);
      paint.fillText(`C${c / 12 - 1}`, 2, middle);
    }
    const step = 2 ** Math.max(0, Math.ceil(Math.log2(this.length / 16))); // sixteen lines at most
    paint.fillStyle = colour("--line");
    for (let whole = 0; whole < this.length; whole += step) {
      paint.fillRect(left(whole), 0, 1, height);
    }
  }
}

const GUTTER = 26; // pixels, for the names of the octaves

// The canvas as large as it is on the screen, cleared, and the page's colours.
function surface(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const paint = canvas.getContext("2d");
  const sharp = devicePixelRatio || 1;
  canvas.width = Math.round(width * sharp);
  canvas.height = Math.round(height * sharp);
  paint.scale(sharp, sharp);
  const style = getComputedStyle(canvas);
  return { width, height, paint, colour: (name) => style.getPropertyValue(name).trim() };
}
