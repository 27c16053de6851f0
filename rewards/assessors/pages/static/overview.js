// The overview: figures of all ratings, looked up again every half minute.
import { caller, insist, Lost, Refused, takeToken } from "./connection.js";
import { show } from "./sample.js";

const AGAIN = 30_000; // milliseconds
const SVG = "http://www.w3.org/2000/svg";
const NAMES = { left: "A", right: "B", equal: "equal", yes: "yes", no: "no" };
const $ = (id) => document.getElementById(id);
const call = caller(takeToken("tokengym.owner"));
const melodies = new Map(); // those that can be played, by the place they are in
const seen = new Map(); // what a part shows, so that one that is the same is left alone

for (const button of document.querySelectorAll("[data-format]")) {
  button.addEventListener("click", () => download(button.dataset.format));
}
look();

async function look() {
  try {
    const reply = await insist(() => call("/api/overview"), () => ($("lost").hidden = false));
    $("lost").hidden = true;
    display(await reply.json());
    setTimeout(look, AGAIN);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    $("question").textContent = "No overview";
    $("status").textContent = error.message;
  }
}

function display({ question, ...figures }) {
  $("overview").hidden = false;
  $("question").textContent = question.text;
  part("tiles", tiles(figures), (of) => of.flatMap(tile));
  part("time", figures.over_time, chart);
  $("agreement").textContent = agreement(figures.agreement);
  part("assessors", [question.form, figures.assessors], ([form, all]) => table(form, all));
  part("best", figures.best, (all) => all.map((each, i) => best(each, i, question)));
  part("disputed", figures.disputed, (all) => all.map((each, i) => disputed(each, i, question)));
}

// Make a part anew only when its figures changed: focus and playing melodies stay.
function part(id, figures, make) {
  const now = JSON.stringify(figures);
  if (seen.get(id) === now) return;
  seen.set(id, now);
  for (const [place, melody] of melodies) if (place.startsWith(id)) melody?.leave();
  const made = make(figures);
  $(id).replaceChildren(...(made.length ? made : [element("p", "Nothing yet.", "explain")]));
}

function element(tag, text = "", name = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

const percent = ({ hits, of }) => (of ? `${Math.round((100 * hits) / of)} %` : "–");
const counted = ({ hits, of }) => (of ? `${hits} of ${of}` : "none yet");

function tiles({ ratings, waiting, agreement: { alpha, units }, skips, repeats, gold }) {
  return [
    ["Ratings", ratings, `${waiting} unanswered`],
    ["Agreement", alpha === null ? "–" : alpha.toFixed(2), `Krippendorff's alpha, ${units} compared`],
    ["Skipped", percent(skips), counted(skips)],
    ["Repeats answered alike", percent(repeats), counted(repeats)],
    ["Known answers met", percent(gold), counted(gold)],
  ];
}

function tile([name, value, small]) {
  const box = element("div", "", "tile");
  const figure = element("dd", value);
  figure.append(element("small", small));
  box.append(element("dt", name), figure);
  return [box];
}

function chart({ start, step, counts }) {
  if (!counts.length) return [];
  const most = Math.max(...counts);
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("class", "chart");
  drawing.setAttribute("viewBox", `0 0 ${counts.length} ${most}`);
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", `Ratings in spans of ${span(step)}: ${counts.join(", ")}`);
  counts.forEach((count, x) => {
    const bar = document.createElementNS(SVG, "rect");
    const place = { x: x + 0.08, y: most - count, width: 0.84, height: count };
    for (const name in place) bar.setAttribute(name, place[name]);
    drawing.append(bar);
  });
  const axis = element("div", "", "axis");
  const middle = `a bar is ${span(step)}, the highest ${most} ratings`;
  axis.append(
    element("span", when(start)),
    element("span", middle),
    element("span", when(start + step * counts.length)),
  );
  return [drawing, axis];
}

const when = (seconds) =>
  new Date(1000 * seconds).toLocaleString([], { dateStyle: "short", timeStyle: "short" });

function span(seconds) {
  for (const [long, name] of [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]]) {
    const many = seconds / long;
    if (many >= 1) return many === 1 ? `1 ${name}` : `${many} ${name}s`;
  }
}

function agreement({ alpha, metric, units, answers }) {
  if (alpha !== null) {
    return `Alpha is ${alpha.toFixed(3)} (${metric}), from ${answers} answers to ${units} questions that two assessors or more answered.`;
  }
  if (!units) return "No question was answered by two assessors yet, so there is nothing to compare.";
  return "All answers are the same, which says nothing about agreement.";
}

function table(form, all) {
  if (!all.length) return [];
  const heads = ["Assessor", "Ratings", "Skipped", "Answers", "Repeats alike", "Known met", "Last"];
  const rows = all.map((one) => [
    one.name,
    one.ratings,
    percent(one.skips),
    answers(one.answers),
    counted(one.repeats),
    counted(one.gold),
    when(one.last),
  ]);
  const head = element("thead");
  const body = element("tbody");
  head.append(row(heads, "col"));
  body.append(...rows.map((cells) => row(cells, "row")));
  return [head, body];
}

function row(cells, scope) {
  const made = element("tr");
  cells.forEach((cell, i) => {
    const tag = element(scope === "col" || i === 0 ? "th" : "td", cell);
    if (tag.tagName === "TH") tag.scope = scope;
    made.append(tag);
  });
  return made;
}

function answers(counts) {
  return Object.entries(counts).map(([name, n]) => `${NAMES[name] ?? name} (${n})`).join(" · ");
}

function best({ sample, mean, ratings }, i, { form, domain }) {
  const card = element("article");
  const of = { scale: `${mean.toFixed(1)} of 5`, yes_no: `${Math.round(100 * mean)} % yes` };
  const value = of[form] ?? `preferred in ${Math.round(100 * mean)} %`;
  card.append(element("h3", `${value}, ${ratings} ${ratings === 1 ? "rating" : "ratings"}`));
  card.append(figure(sample, "", `best${i}`, domain));
  return card;
}

function disputed({ left, right, answers: given }, i, { domain }) {
  const card = element("article");
  const both = element("div", "", right ? "pair" : "");
  both.append(figure(left, right ? "A" : "", `disputed${i}a`, domain));
  if (right) both.append(figure(right, "B", `disputed${i}b`, domain));
  card.append(element("h3", answers(given)), both);
  return card;
}

function figure(sample, name, place, domain) {
  const made = $("figure").content.firstElementChild.cloneNode(true);
  made.querySelector("strong").textContent = name;
  melodies.set(place, show(made, sample, domain));
  return made;
}

// A link cannot carry the token, so the file is fetched and handed on.
async function download(format) {
  try {
    const reply = await call(`/api/export?format=${format}`);
    const link = element("a");
    link.href = URL.createObjectURL(await reply.blob());
    link.download = `ratings.${format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    $("status").textContent = `Exported ratings.${format}.`;
  } catch (error) {
    if (!(error instanceof Refused || error instanceof Lost)) throw error;
    $("status").textContent = `Not exported: ${error.message}`;
  }
}
