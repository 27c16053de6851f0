// One sample in its <figure>: a molecule as picture, a melody as piano roll, and the text of each.
// Samples are hostile: an SVG goes behind <img>, where nothing in it runs, text into textContent.
import { Melody } from "./melody.js";

export function picture(svg) {
  const bytes = new TextEncoder().encode(svg);
  const binary = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  return `data:image/svg+xml;base64,${btoa(binary)}`;
}

// Shows a sample; the melody that can be played, where it is one.
export function show(figure, sample, domain) {
  const part = (name) => figure.querySelector(`.${name}`);
  const image = part("molecule");
  const described = `${sample.caption || "text"}: ${sample.text}`;
  figure.hidden = false;
  figure.dataset.domain = domain;
  part("caption").textContent = sample.caption;
  part("text").textContent = sample.text;
  image.hidden = !sample.svg;
  if (sample.svg) image.src = picture(sample.svg);
  else image.removeAttribute("src");
  image.alt = described.slice(0, 500);
  part("roll").hidden = part("play").hidden = !sample.notes;
  part("roll").setAttribute("aria-label", described.slice(0, 500));
  return sample.notes ? new Melody(sample.notes, part("roll"), part("play")) : null;
}
