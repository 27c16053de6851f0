// The rating page: one sample or a pair after another. An answer is kept in this tab until the
// server has acknowledged it, under a key that makes it count once however often it is sent.
import { caller, insist, Lost, newKey, Refused, takeToken } from "./connection.js";
import { show } from "./sample.js";

const UNSENT = "tokengym.unsent";
const LOOK_AGAIN = 5_000; // milliseconds, where nothing is left to rate
const $ = (id) => document.getElementById(id);
const call = caller(takeToken("tokengym.token"));
let shown = { assignment: null }; // what the server gave to answer
let melodies = [];
let lastPlayed = -1;
let busy = true; // no answer counts while one is under way
let looking = 0;

start();

async function start() {
  for (const button of document.querySelectorAll("button[data-answer]")) {
    // The second click of a double one meets the next sample: nobody meant that.
    button.addEventListener("click", (event) => event.detail < 2 && answer(button));
  }
  $("undo").addEventListener("click", undo);
  $("undo-last").addEventListener("click", undo);
  document.addEventListener("keydown", pressed);
  addEventListener("offline", () => unreachable());
  addEventListener("online", () => sessionStorage.getItem(UNSENT) || reachable());
  await next(sessionStorage.getItem(UNSENT) ? "Your last answer is sent again." : "");
}

// Send what is kept, then show what comes next.
async function next(say = "") {
  busy = true;
  $("rating").setAttribute("aria-busy", "true");
  try {
    const reply = await insist(deliver, unreachable);
    reachable();
    display(await reply.json(), say);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    refused(error);
  }
}

async function deliver() {
  const unsent = sessionStorage.getItem(UNSENT);
  if (unsent === null) return call("/api/next");
  try {
    const reply = await call("/api/rate", JSON.parse(unsent));
    sessionStorage.removeItem(UNSENT);
    return reply;
  } catch (error) {
    // This answer will never count; the server says why. A link that is refused may be replaced.
    if (error instanceof Refused && ![401, 403].includes(error.status)) {
      sessionStorage.removeItem(UNSENT);
    }
    throw error;
  }
}

async function answer(button) {
  if (busy || shown.assignment === null) return;
  const given = button.dataset.answer;
  const unsent = { assignment: shown.assignment, answer: given, note: $("note").value, key: newKey() };
  sessionStorage.setItem(UNSENT, JSON.stringify(unsent));
  button.classList.add("chosen");
  await next();
  button.classList.remove("chosen");
}

async function undo() {
  if (busy) return;
  busy = true;
  try {
    const reply = await call("/api/undo", {});
    display(await reply.json(), "Your last answer is taken back. Answer again.");
  } catch (error) {
    // Not sent again by itself: a second undo would take back one answer more.
    if (error instanceof Lost) await next("The connection was lost: see whether this is undone.");
    else if (error instanceof Refused) refused(error);
    else throw error;
  }
}

function display(reply, say) {
  const same = reply.assignment !== null && reply.assignment === shown.assignment;
  shown = reply;
  clearTimeout(looking);
  if (reply.question) ask(reply.question);
  count(reply.progress);
  $("rating").hidden = reply.assignment === null;
  $("done").hidden = reply.assignment !== null;
  if (reply.assignment === null) looking = setTimeout(next, LOOK_AGAIN);
  else if (!same) place(reply);
  busy = false;
  $("rating").removeAttribute("aria-busy");
  status(say || (reply.assignment === null ? "Nothing to rate at the moment." : ""));
}

function ask({ text, form, domain }) {
  $("question").textContent = text;
  document.title = text;
  for (const part of document.querySelectorAll("[data-form]")) part.hidden = part.dataset.form !== form;
  for (const part of document.querySelectorAll("dl [data-domain]")) {
    part.hidden = part.dataset.domain !== domain;
  }
}

function place({ left, right, question }) {
  for (const melody of melodies) melody.leave();
  lastPlayed = -1;
  $("note").value = "";
  $("right").hidden = right === null;
  $("samples").classList.toggle("pair", right !== null);
  melodies = [show($("left"), left, question.domain)];
  if (right !== null) melodies.push(show($("right"), right, question.domain));
  melodies = melodies.filter(Boolean);
  const told = ({ caption, text }) => caption || text.slice(0, 300);
  const both = right === null ? told(left) : `A: ${told(left)}. B: ${told(right)}.`;
  $("samples").setAttribute("aria-label", both);
  // Where a button had the focus, the space bar would press it again.
  $("samples").focus({ preventScroll: true });
  scrollTo({ top: 0 });
}

function count({ answered, waiting }) {
  $("bar").max = Math.max(answered + waiting, 1);
  $("bar").value = answered;
  $("count").textContent = `${answered} answered, ${waiting} to go`;
  $("undo").disabled = $("undo-last").disabled = answered === 0;
}

function status(text) {
  if ($("status").textContent !== text) $("status").textContent = text;
}

function unreachable() {
  const kept = sessionStorage.getItem(UNSENT) ? "Your answer is" : "What you answer is";
  $("lost-text").textContent = `The connection is lost. ${kept} kept, and sent until it arrives.`;
  $("lost").hidden = false;
}

function reachable() {
  if (!$("lost").hidden) status("The connection is back.");
  $("lost").hidden = true;
}

function refused(error) {
  reachable();
  if (error.status === 401 || error.status === 403) {
    $("rating").hidden = $("done").hidden = true;
    $("question").textContent = "This link does not work (any more)";
    status(`${error.message} Ask whoever gave you the link for another one.`);
  } else if (error.path === "/api/next") {
    status(error.message);
    looking = setTimeout(next, LOOK_AGAIN);
  } else {
    next(error.message);
  }
}

// Keys: those of the buttons that are there, and the space bar for melodies.
function pressed(event) {
  const typing = event.target.closest("input:not([type=checkbox])");
  if (typing && ["Enter", "Escape"].includes(event.key)) $("samples").focus(); // the note is done
  if (typing || !$("shortcuts").checked || event.repeat) return;
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === " ") {
    if (!event.target.closest("button, summary, input") && melodies.length) act(event, playNext);
    return;
  }
  if (event.key.startsWith("Arrow") && scrolls(event.target.closest("pre"))) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  for (const button of document.querySelectorAll("#rating button[data-keys]")) {
    const there = button.offsetParent !== null && button.dataset.keys.split(" ").includes(key);
    if (there) return act(event, () => button.click());
  }
  if (key === "u" && !$("done").hidden) act(event, undo);
}

function act(event, todo) {
  event.preventDefault();
  todo();
}

function scrolls(element) {
  return element !== null && element.scrollHeight > element.clientHeight;
}

// A, then B, then silence; after the end of one the next.
function playNext() {
  const current = melodies.findIndex((melody) => melody.isPlaying);
  if (current === melodies.length - 1) return melodies[current].stop();
  lastPlayed = (lastPlayed + 1) % melodies.length;
  melodies[lastPlayed].play();
}
