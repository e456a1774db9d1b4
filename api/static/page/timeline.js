// What happened to a job, in the order in which it did: its own moments, and its failed attempts. All of it is asked for, and
// nothing remembered: whoever opens the page late sees what they see who had it open all the time.

import { element } from "./dom.js";
import { bytes, moment } from "./format.js";
import { explained } from "./transfer.js";

const STEPS = {
  look: "looking at the source", begin: "begin of the upload", complete: "completing the upload", end: "taking back what was begun",
};

export class Timeline {
  constructor() {
    this.node = element("ol", { class: "timeline" });
    this.shown = "";
  }

  /** `failures`: the failed attempts of each destination. */
  show(job, failures) {
    const all = [...moments(job), ...(job.transfers ?? []).flatMap((one) => attempts(job, one, failures.get(one.destination)))];
    all.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : a.rank - b.rank));
    const now = JSON.stringify(all);
    if (now === this.shown) return;
    this.shown = now;
    this.node.replaceChildren(...all.map((one) => element("li", { "data-kind": one.kind },
      element("time", { class: "number quiet", datetime: one.at }, moment(one.at)), element("span", {}, one.words))));
  }
}

function* moments(job) {
  yield { rank: 0, at: job.created_at, kind: "neutral", words: `Accepted as ${job.name}${job.size === null ? "" : `, ${bytes(job.size)}`}.` };
  if (job.satisfied_at && job.satisfied_at !== job.finished_at) yield { rank: 2, at: job.satisfied_at, kind: "good", words: "What was asked for is done." };
  if (job.finished_at) yield { rank: 3, at: job.finished_at, kind: job.state === "succeeded" ? "good" : "bad", words: `Ended as ${job.state.replaceAll("_", " ")}.` };
}

/** A ledger that was made again from the disk knows of none; what ended a transfer it still tells. */
function attempts(job, transfer, failures) {
  if (!failures) return [];
  const { destination, error, state } = transfer;
  if (!failures.length && error && state === "failed") return [{ rank: 1, at: job.finished_at ?? job.updated_at, kind: "bad", words: `${destination}: ${explained(error)}` }];
  return failures.map((one) => {
    const what = [job.run > 1 ? `run ${one.run}` : "", destination, one.part ? `part ${one.part}` : STEPS[one.step] ?? one.step, `attempt ${one.attempt}`];
    return { rank: 1, at: one.at, kind: "bad", words: `${what.filter(Boolean).join(", ")}: ${explained(one)}` };
  });
}
