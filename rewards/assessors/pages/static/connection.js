// The way to the server: the assessor's token, calls, and what a failed call means.

// The link is http://host/#token. What stands after # is sent to no server and kept in no log;
// it leaves the address bar and is kept for this tab, so that a reload goes on.
export function takeToken(name) {
  const given = location.hash.slice(1);
  if (given) {
    sessionStorage.setItem(name, given);
    history.replaceState(null, "", location.pathname);
  }
  addEventListener("hashchange", () => location.hash && location.reload());
  return sessionStorage.getItem(name) ?? "";
}

// The server got the request and says no; the message says what to do.
export class Refused extends Error {
  constructor(message, status, path) {
    super(message);
    Object.assign(this, { status, path });
  }
}

// Nobody knows whether the request arrived: send it again.
export class Lost extends Error {}

export function caller(token) {
  return async (path, body) => {
    const response = await request(path, token, body);
    if (response.ok) return response;
    if (response.status === 429 || response.status >= 500) throw new Lost(`${response.status}`);
    const told = await response.json().catch(() => ({}));
    const message = told.error ?? `The server answered ${response.status}.`;
    throw new Refused(message, response.status, path);
  };
}

async function request(path, token, body) {
  const headers = { Authorization: `Bearer ${token}` };
  const options = { headers, cache: "no-store", signal: AbortSignal.timeout(15_000) };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  try {
    return await fetch(path, options);
  } catch (error) {
    throw new Lost(error.message);
  }
}

// Call until there is an answer; `told(wait)` hears of every failed attempt.
export async function insist(attempt, told) {
  for (let wait = 1; ; wait = Math.min(2 * wait, 10)) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Lost)) throw error;
      told(wait);
      await pause(wait);
    }
  }
}

// Some seconds, or less: until the browser is online again, or somebody asks for it.
function pause(seconds) {
  return new Promise((resolve) => {
    const stop = new AbortController();
    const go = () => {
      stop.abort();
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(go, 1000 * seconds);
    addEventListener("online", go, { signal: stop.signal });
    document.getElementById("retry")?.addEventListener("click", go, { signal: stop.signal });
  });
}

// A name for an answer: sent again under the same one, it counts once.
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID wants https
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
