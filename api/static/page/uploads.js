// The files that this page sends: a queue of resumable uploads by tus-js-client, few at a time.

import { askForKey, command, headers, onKey } from "./api.js";
import { PAUSES, explainBreak, keepUpload, passes, pauseAfter, reason, statusOf } from "./breaks.js";
import { Speed } from "./format.js";
import { want } from "./store.js";

const AT_ONCE = 3; // a browser has six connections to one server, and the page needs some

/** How the next files are sent; the panel fills it in. */
export const options = { destinations: "", folder: "", on_conflict: "" };
const uploads = [];
const watchers = new Set();
let last = 0;

export const all = () => uploads;

export function watch(watcher) {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

const tell = () => { for (const watcher of watchers) watcher(); };

/**
 * `state`: waiting sending paused arrived failed cancelled. `job`: its id, as soon as it has one.
 * `until`: when it is tried again after a break, 0 when nothing is waited for.
 */
class Upload {
  constructor(file, path) {
    last += 1;
    const { folder } = options;
    Object.assign(this, {
      id: last, file, name: file.name, size: file.size, sent: 0, state: "waiting", until: 0, job: "", said: "", speed: new Speed(),
      metadata: metadataOf(file, [folder, path].filter(Boolean).join("/") && [folder, path || file.name].filter(Boolean).join("/")),
    });
  }

  async start() {
    this.state = "sending";
    this.tus ??= this.made();
    try {
      if (!this.tus.url) {
        const [before] = await this.tus.findPreviousUploads();
        if (before) this.tus.resumeFromPreviousUpload(before);
      }
    } catch { /* nothing is remembered: it begins anew */ }
    if (this.state !== "sending") return;
    this.tus.start();
    tell();
  }

  made() {
    return new window.tus.Upload(this.file, {
      endpoint: "/v1/tus",
      metadata: this.metadata,
      retryDelays: PAUSES,
      removeFingerprintOnSuccess: true,
      fingerprint: async (file) => ["bucketline", file.name, file.type, file.size, file.lastModified, JSON.stringify(this.metadata)].join("|"),
      onBeforeRequest: (request) => this.asks(request),
      onAfterResponse: (request, answer) => { this.answered(answer); keepUpload(request, answer); },
      onShouldRetry: (error, attempt, told) => this.retries(error, attempt, told),
      onProgress: (sent) => this.progress(sent),
      onSuccess: () => this.settle("arrived", ""),
      onError: (error) => this.failed(error),
    });
  }

  asks(request) {
    for (const [name, value] of Object.entries(headers())) request.setHeader(name, value);
    this.until = 0;
    tell();
  }

  answered(answer) {
    const job = answer.getHeader("Bucketline-Job");
    if (!job || this.job) return;
    this.job = job;
    want(job);
  }

  progress(sent) {
    this.sent = sent;
    this.said = "";
    this.speed.add(sent);
    tell();
  }

  /** tus-js-client takes the pause of this attempt out of `told` when this has said yes. */
  retries(error, attempt, told) {
    if (!passes(statusOf(error))) return false;
    const pause = pauseAfter(error, attempt);
    told.retryDelays = told.retryDelays.with(attempt, pause);
    this.until = Date.now() + pause;
    this.said = explainBreak(error, this.until);
    tell();
    return true;
  }

  failed(error) {
    const status = statusOf(error);
    if (status === 401) {
      askForKey();
      this.settle("waiting-key", "Waits for an API key.");
    } else this.settle("failed", status ? reason(error) : "The connection did not come back. Resume goes on where it was.");
  }

  become(state, said = "") {
    Object.assign(this, { state, said, until: 0 });
  }

  settle(state, said) {
    this.become(state, said);
    if (state === "arrived") { this.sent = this.size; want(this.job); }
    next();
    tell();
  }

  async pause() {
    this.become("paused");
    await this.tus?.abort();
    next();
    tell();
  }

  /** Also tries at once what waits after a break. */
  async resume() {
    if (this.state === "sending") await this.tus?.abort();
    this.become("waiting");
    next();
    tell();
  }

  async cancel() {
    this.become("cancelled");
    next();
    tell();
    // With `true` it is ended on the server, too, which ends the job. Before it is known there, there is nothing to end.
    try {
      await this.tus?.abort(Boolean(this.tus.url));
      this.become("cancelled");
    } catch {
      if (this.job) await command(this.job, "cancel").catch(() => {});
    }
    tell();
  }

  get left() {
    const rate = this.speed.rate();
    return rate ? (this.size - this.sent) / rate : null;
  }
}

function metadataOf(file, key) {
  const found = { filename: file.name };
  if (file.type) found.filetype = file.type;
  if (key) found.key = key;
  for (const name of ["destinations", "on_conflict"]) if (options[name]) found[name] = options[name];
  return found;
}

export function add(found) {
  for (const { file, path } of found) uploads.push(new Upload(file, path));
  next();
  tell();
}

function next() {
  let free = AT_ONCE - uploads.filter((one) => one.state === "sending").length;
  for (const one of uploads) {
    if (free <= 0) return;
    if (one.state === "waiting") { free -= 1; one.start(); }
  }
}

/** Takes what is over off the list. */
export function clear(over) {
  for (let index = uploads.length - 1; index >= 0; index -= 1) if (over(uploads[index])) uploads.splice(index, 1);
  tell();
}

onKey("changed", () => { for (const one of uploads) if (one.state === "waiting-key") one.resume(); });
window.addEventListener("beforeunload", (event) => {
  if (uploads.some((one) => ["waiting", "sending"].includes(one.state))) event.preventDefault();
});
