// One row of the list of jobs, and the two halves of the way that every job goes.

import { badge, bar, element, text } from "./dom.js";
import { bytes, duration, moment, percent, share, speed } from "./format.js";
import { OVER, get, rateOf } from "./store.js";

/** To Bucketline, then to each destination: a bar each; `show(job, arrived)` moves them. */
export function halves() {
  const node = element("div", { class: "halves" });
  const first = half("to Bucketline");
  const others = new Map();
  node.append(first);
  node.show = (job, arrived = share(job.received, job.size)) => {
    const over = OVER.has(job.state);
    const size = job.size ?? null;
    const whole = job.received >= size && size !== null;
    const broken = over && job.state !== "succeeded" && !whole && !job.sent;
    first.show(job.size === 0 && job.state !== "receiving" ? 1 : arrived, broken ? job.state : whole ? "succeeded" : job.state === "paused" ? "paused" : "receiving");
    const transfers = job.transfers ?? [];
    for (const one of transfers) {
      if (!others.has(one.destination)) {
        others.set(one.destination, half(`to ${one.destination}`));
        node.append(others.get(one.destination));
      }
      const failing = one.parts?.failing > 0 && one.state === "uploading";
      const stopped = job.state === "paused" && one.state !== "succeeded";
      others.get(one.destination).show(one.state === "succeeded" ? 1 : share(one.sent, size), stopped ? "paused" : failing ? "failing" : one.state);
    }
    for (const [name, gone] of others) {
      if (transfers.some((one) => one.destination === name)) continue;
      gone.remove();
      others.delete(name);
    }
  };
  return node;
}

function half(label) {
  const meter = bar(label);
  const said = element("span", { class: "half-share number" });
  const node = element("div", { class: "half" }, element("span", { class: "half-label" }, label), meter, said);
  node.show = (part, state) => {
    meter.set(part, state);
    text(said, percent(part));
  };
  return node;
}

/** "12 MB of 30 MB · 4 MB/s" */
export function standing(job) {
  if (OVER.has(job.state)) return job.error?.title ? `${bytes(job.size)} · ${job.error.title}` : bytes(job.size);
  const rate = rateOf(job.id);
  return [`${bytes(job.sent)} of ${bytes(job.size)}`, rate ? speed(rate) : ""].filter(Boolean).join(" · ");
}

export function makeRow() {
  const name = element("a", { class: "name" });
  const key = element("span", { class: "quiet key" });
  const state = badge();
  const bars = halves();
  const said = element("span", { class: "number" });
  const at = element("time", { class: "quiet number" });
  const row = element("div", { class: "row-item job", role: "listitem" },
    element("div", { class: "what" }, name, key),
    state, bars,
    element("div", { class: "facts" }, said, at));
  row.show = (id) => {
    const job = get(id);
    if (!job || row.shown === job) return;
    row.shown = job;
    row.dataset.id = id;
    row.dataset.state = job.state;
    text(name, job.name ?? id);
    name.href = `#/jobs/${id}`;
    const places = job.transfers?.length ?? 0;
    text(key, [places > 1 ? `${places} destinations` : "", job.key].filter(Boolean).join(" · "));
    state.set(job.state);
    bars.show(job);
    text(said, standing(job));
    const rate = OVER.has(job.state) ? 0 : rateOf(id);
    text(at, rate && job.size ? `${duration((job.size - job.sent) / rate)} left` : moment(job.created_at));
    at.dateTime = job.created_at ?? "";
  };
  return row;
}
