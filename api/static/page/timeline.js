// What happened to a job, in the order in which it did: its own moments, and the attempts that this page has seen fail.

import { element } from "./dom.js";
import { bytes, moment } from "./format.js";
import { explained } from "./transfer.js";

const MOST = 200;

export class Timeline {
  constructor() {
    this.node = element("ol", { class: "timeline" });
    this.entries = new Map();
    this.states = new Map();
    this.shown = "";
  }

  /** The moments that the job itself tells, and each change of a transfer that is seen while the page is open. */
  job(job) {
    this.add("created", job.created_at, "neutral", `Accepted as ${job.name}${job.size === null ? "" : `, ${bytes(job.size)}`}.`);
    for (const one of job.transfers ?? []) this.transfer(one, job);
    if (job.satisfied_at && job.satisfied_at !== job.finished_at) this.add("satisfied", job.satisfied_at, "good", "What was asked for is done.");
    if (job.finished_at) {
      const good = job.state === "succeeded";
      this.add(`end ${job.run}`, job.finished_at, good ? "good" : "bad", `Ended as ${job.state.replaceAll("_", " ")}.`);
    }
    this.change("job", job.state, job.updated_at, `The job is ${job.state.replaceAll("_", " ")}.`);
    this.draw();
  }

  transfer(one, job) {
    const name = one.destination;
    if (one.error && one.state !== "succeeded") this.fail(name, 0, one.error, job.updated_at);
    this.change(name, one.state, job.updated_at, `${name}: ${one.state.replaceAll("_", " ")}.`);
  }

  /** The failures that the parts remember; each is kept here when the next attempt has taken its place. */
  parts(destination, items) {
    for (const item of items) if (item.error) this.fail(destination, item.number, item.error);
    this.draw();
  }

  fail(destination, number, error, at = new Date().toISOString()) {
    const attempt = error.attempt ?? "";
    const known = `fail ${destination} ${attempt} ${error.code} ${error.detail}`;
    const what = [destination, number ? `part ${number}` : "", attempt ? `attempt ${attempt}` : ""].filter(Boolean).join(", ");
    const before = this.entries.get(known);
    if (before && (before.number || !number)) return;
    this.entries.set(known, { at: before?.at ?? at, kind: "bad", words: `${what}: ${explained(error)}`, number });
  }

  change(what, state, at, words) {
    const before = this.states.get(what);
    this.states.set(what, state);
    if (before && before !== state) this.add(`${what} ${state} ${at}`, at, state === "failed" ? "bad" : state === "succeeded" ? "good" : "neutral", words);
  }

  add(known, at, kind, words) {
    if (at && !this.entries.has(known)) this.entries.set(known, { at, kind, words });
  }

  draw() {
    const all = [...this.entries.values()].sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0)).slice(-MOST);
    const now = JSON.stringify(all);
    if (now === this.shown) return;
    this.shown = now;
    this.node.replaceChildren(...all.map((one) => element("li", { "data-kind": one.kind },
      element("time", { class: "number quiet", datetime: one.at }, moment(one.at)), element("span", {}, one.words))));
  }
}
