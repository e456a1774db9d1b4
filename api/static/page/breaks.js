// What breaks an upload off: which answers pass by themselves, when the next try is, and what to say of it.

import { moment } from "./format.js";

/** After each break; bytes that arrive begin it anew. A Retry-After that asks for more gets it. */
export const PAUSES = [0, 1000, 2000, 4000, ...Array(40).fill(8000)];
const LONGEST = 86_400_000;
const GONE = [404, 410];

/** The answer that an error of tus-js-client is about, if there was one. */
export const answerOf = (error) => error.originalResponse ?? error.causingError?.answer ?? null;
export const statusOf = (error) => answerOf(error)?.getStatus() ?? 0;

/**
 * To any refusal of its HEAD tus-js-client begins a new upload, which forgets what has been sent. Only when the upload is
 * gone that is right; to every other answer this throws, which is retried or not like all that fails.
 */
export function keepUpload(request, answer) {
  const status = answer.getStatus();
  if (request.getMethod() !== "HEAD" || status === 423 || GONE.includes(status) || (status >= 200 && status < 300)) return;
  throw Object.assign(new Error(`answered ${status}`), { answer });
}

/** The network and the server's own troubles pass, and so do a slow line, a quota, and another request for the same upload. */
export const passes = (status) => !status || status >= 500 || [408, 409, 423, 425, 429].includes(status);

/** Milliseconds until the next try. */
export function pauseAfter(error, attempt) {
  return Math.min(LONGEST, Math.max(PAUSES[attempt] ?? 0, asked(answerOf(error)?.getHeader("Retry-After"))));
}

/** Retry-After is in seconds, or a date. */
function asked(value) {
  if (!value) return 0;
  const found = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Math.max(0, found) || 0;
}

/** A sentence or two for people: why, and when it goes on. */
export function explainBreak(error, until) {
  const why = statusOf(error) ? reason(error) : "The connection is gone.";
  const soon = until - Date.now() < 10_000;
  return `${/[.!?…]$/.test(why) ? why : `${why}.`} ${soon ? "It goes on by itself." : `It goes on by itself at ${moment(until)}.`}`;
}

/** What a refusal says: the detail of its problem. */
export function reason(error) {
  const answer = answerOf(error);
  try {
    const problem = JSON.parse(answer.getBody());
    return [problem.title, problem.detail].filter(Boolean).join(". ");
  } catch {
    return `The server answered ${answer?.getStatus()}.`;
  }
}
