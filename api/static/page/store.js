// What the page knows of jobs: pages of the list, and everything that the stream of events says since.

import { ask } from "./api.js";
import { Speed } from "./format.js";
import { Stream } from "./sse.js";

export const OVER = new Set(["succeeded", "partially_succeeded", "failed", "cancelled", "expired"]);
const MOST = 20_000; // jobs that are remembered; beyond, the list is read anew
const PAGE = 200;
const AT_ONCE = 4;

const jobs = new Map();
const speeds = new Map(); // of unfinished jobs
const flows = new Map(); // bytes that went to each destination since this page was opened
const watchers = new Set();
const missing = new Set();
let changed = new Set();
let told = false;
let live = "off";
let asking = 0;

export const get = (id) => jobs.get(id);
export const all = () => jobs.values();
export const liveState = () => live;

/** Bytes sent to a destination so far, as far as this page has seen it. */
export const sentTo = (destination) => flows.get(destination) ?? 0;
export const destinationsSeen = () => flows.keys();

/** Calls `watcher(ids)` before a picture is drawn, with what has changed; null: anything may have. */
export function watch(watcher) {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

function tell(id) {
  if (id === null) changed = null;
  else changed?.add(id);
  if (told) return;
  told = true;
  // A page in the background draws nothing, but what waits for a change must not wait for ever.
  const soon = document.hidden ? (call) => setTimeout(call, 500) : requestAnimationFrame;
  soon(() => {
    const now = changed;
    changed = new Set();
    told = false;
    for (const watcher of [...watchers]) watcher(now);
  });
}

/** Takes a whole job, or what an event says of one. */
export function take(news) {
  const known = jobs.get(news.id);
  if (!known && !news.created_at) {
    want(news.id);
    return;
  }
  if (known?.updated_at && news.updated_at && news.updated_at < known.updated_at) return;
  measure(known, news);
  const transfers = merge(known?.transfers, news.transfers);
  jobs.set(news.id, { ...known, ...news, ...(transfers ? { transfers } : {}) });
  if (OVER.has(news.state)) speeds.delete(news.id);
  tell(news.id);
}

function merge(known, news) {
  if (!news || !known) return news ?? known;
  const found = new Map(known.map((one) => [one.destination, one]));
  for (const one of news) found.set(one.destination, { ...found.get(one.destination), ...one });
  return [...found.values()];
}

function measure(known, news) {
  if (!known) return;
  for (const one of news.transfers ?? []) {
    const before = known.transfers?.find((other) => other.destination === one.destination)?.sent ?? 0;
    if (one.sent > before) flows.set(one.destination, (flows.get(one.destination) ?? 0) + one.sent - before);
  }
  if (news.sent === undefined || OVER.has(news.state)) return;
  if (!speeds.has(news.id)) speeds.set(news.id, new Speed());
  speeds.get(news.id).add(news.sent);
}

/** Bytes a second to the destinations, lately. */
export function rateOf(id) {
  return speeds.get(id)?.rate() || jobs.get(id)?.rate || 0;
}

/** Asks for a job that is not known yet: few at a time, each once. */
export function want(id) {
  missing.add(id);
  while (asking < AT_ONCE && missing.size) fetchMissing();
}

async function fetchMissing() {
  const [id] = missing;
  missing.delete(id);
  asking += 1;
  try {
    take(await ask(`/v1/jobs/${id}`));
  } catch { /* gone, not ours, or told again by the next event */ } finally {
    asking -= 1;
    if (missing.size) want(missing.values().next().value);
  }
}

export function forget(id) {
  jobs.delete(id);
  tell(id);
}

/** One page of the list, which is also remembered. */
export async function page(filter, cursor = null, limit = PAGE) {
  const query = new URLSearchParams({ limit });
  for (const [name, value] of Object.entries(filter)) if (value) query.set(name, value);
  if (cursor) query.set("cursor", cursor);
  const found = await ask(`/v1/jobs?${query}`);
  if (jobs.size > MOST) jobs.clear();
  for (const job of found.items) take(job);
  return found;
}

export function matches(job, filter) {
  return (!filter.state || job.state === filter.state)
    && (!filter.destination || job.transfers?.some((one) => one.destination === filter.destination))
    && (!filter.q || job.id === filter.q || (job.name ?? "").startsWith(filter.q));
}

/** After a break the stream may have begun anew: what was unfinished is looked at again. */
async function catchUp() {
  try { await page({}); } catch { return; }
  for (const job of jobs.values()) if (!OVER.has(job.state)) want(job.id);
}

const stream = new Stream("/v1/events", {
  event(kind, data) {
    if (data?.id) take(data);
  },
  connected(again) {
    setLive("on");
    if (again) catchUp();
  },
  lost(problem) {
    setLive(problem?.status === 401 || problem?.status === 403 ? "refused" : "lost");
  },
});

function setLive(state) {
  live = state;
  tell(null);
}

export const follow = () => stream.start();

/** Everything of another key is forgotten. */
export function reset() {
  jobs.clear();
  speeds.clear();
  missing.clear();
  tell(null);
  stream.start();
}
