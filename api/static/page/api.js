// Asking the API: the key, the answers, and what a refusal says.

const STORED = "bucketline-key";
const wanted = new EventTarget();

export function key() {
  try { return sessionStorage.getItem(STORED) ?? ""; } catch { return remembered; }
}
let remembered = "";

export function useKey(value) {
  remembered = value;
  try {
    if (value) sessionStorage.setItem(STORED, value);
    else sessionStorage.removeItem(STORED);
  } catch { /* storage is off: it is known until the page is left */ }
  wanted.dispatchEvent(new Event("changed"));
}

/** `wanted`: the API asked for a key, or refused ours; `changed`: there is another one. */
export function onKey(what, listener) {
  wanted.addEventListener(what, listener);
}

export function askForKey() {
  wanted.dispatchEvent(new Event("wanted"));
}

export function headers(more = {}) {
  return key() ? { ...more, Authorization: `Bearer ${key()}` } : more;
}

/** What the API refused, or that it cannot be reached; `message` is a sentence for people. */
export class Refused extends Error {
  constructor(status, problem) {
    super(sentence(status, problem));
    this.status = status;
    this.code = problem?.code ?? "";
    this.retryable = problem?.retryable ?? true;
  }
}

function sentence(status, problem) {
  if (!status) return "Bucketline cannot be reached. It is tried again by itself.";
  const title = problem?.title ?? `The server answered ${status}`;
  return problem?.detail && problem.detail !== title ? `${title}. ${problem.detail}` : `${title}.`;
}

/** `used`: the key that was refused. When there is another one meanwhile, nobody has to be asked. */
export async function refusalOf(answer, used) {
  let problem = null;
  try { problem = await answer.json(); } catch { /* not ours: a proxy's */ }
  if (answer.status === 401 && used === key()) askForKey();
  return new Refused(answer.status, problem);
}

/** The JSON of an answer, null for an empty one. Raises Refused. */
export async function ask(path, { method = "GET", json, signal } = {}) {
  const told = { method, signal, cache: "no-store", headers: headers(json ? { "Content-Type": "application/json" } : {}) };
  if (json) told.body = JSON.stringify(json);
  const used = key();
  let answer;
  try {
    answer = await fetch(path, told);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, null);
  }
  if (!answer.ok) throw await refusalOf(answer, used);
  return answer.status === 204 ? null : answer.json();
}

export const post = (path, json) => ask(path, { method: "POST", json });
export const command = (id, verb) => post(`/v1/jobs/${id}/${verb}`);
