// The page of one job: its halves, its transfers with their parts, what was tried, and what one can do.

import { ask, command, post } from "./api.js";
import { badge, coalesced, element, offer, text, title } from "./dom.js";
import { bytes, duration, moment, speed } from "./format.js";
import { hooks } from "./hooks.js";
import { halves } from "./jobrow.js";
import { doing, notice } from "./notices.js";
import { destinations } from "./places.js";
import { OVER, forget, get, rateOf, take, watch } from "./store.js";
import { Timeline } from "./timeline.js";
import { transferBox } from "./transfer.js";

const LOOK_MS = 700; // how often the parts of a job under way are asked for; of very many parts less often
const VERBS = {
  pause: { words: "Pause", when: (job) => ["queued", "running"].includes(job.state) },
  resume: { words: "Resume", when: (job) => job.state === "paused" },
  retry: { words: "Retry", when: (job) => ["failed", "partially_succeeded"].includes(job.state), main: true },
  cancel: { words: "Cancel", when: (job) => !OVER.has(job.state) && job.state !== "cancelling" },
};

export function jobView(id) {
  const heading = title("Job");
  const state = badge();
  state.setAttribute("role", "status");
  const bars = halves();
  const said = element("p", { class: "number" });
  const fault = element("p", { class: "fault", hidden: true });
  const buttons = element("div", { class: "row", role: "group", "aria-label": "Commands" });
  const transfers = element("div", { class: "transfers" });
  const boxes = new Map();
  const timeline = new Timeline();
  const failures = new Map(); // destination -> its latest failed attempts
  const facts = element("dl", { class: "pairs" });
  const deliveries = hooks(id);
  const adding = addition(id);
  let closed = false;
  let timer = 0;

  for (const [verb, { words, main }] of Object.entries(VERBS)) {
    buttons.append(element("button", { type: "button", class: main ? "main" : null, "data-verb": verb, hidden: true, onclick: (event) => doing(event.currentTarget, () => tell(verb)) }, words));
  }
  buttons.append(element("button", { type: "button", class: "plain", "data-verb": "forget", hidden: true, onclick: (event) => doing(event.currentTarget, drop) }, "Forget this job"));

  async function tell(verb) {
    take(await command(id, verb));
    look();
  }

  async function drop() {
    await ask(`/v1/jobs/${id}`, { method: "DELETE" });
    forget(id);
    location.hash = "#/";
  }

  const draw = coalesced(() => {
    const job = get(id);
    if (!job || closed) return;
    text(heading, job.name ?? id);
    document.title = `${job.name ?? id} · Bucketline`;
    state.set(job.state);
    bars.show(job);
    text(said, sentence(job));
    fault.hidden = !job.error;
    text(fault, job.error ? [job.error.title, job.error.detail].filter(Boolean).join(". ") : "");
    offer(buttons, ({ dataset: { verb } }) => (verb === "forget" ? OVER.has(job.state) : VERBS[verb].when(job)));
    for (const one of job.transfers ?? []) {
      if (!boxes.has(one.destination)) {
        boxes.set(one.destination, transferBox(one.destination));
        transfers.append(boxes.get(one.destination).node);
      }
      boxes.get(one.destination).show(one, job);
    }
    list(facts, job);
    timeline.show(job, failures);
    adding.show(job);
  });

  /** Looks at the job and its parts; again as long as something moves. */
  async function look() {
    clearTimeout(timer);
    try {
      const job = await ask(`/v1/jobs/${id}`);
      take(job);
      await Promise.all((job.transfers ?? []).map(async (one) => {
        const query = new URLSearchParams({ destination: one.destination });
        const found = await ask(`/v1/jobs/${id}/parts?${query}`);
        if (closed) return;
        failures.set(one.destination, found.failures);
        draw();
        requestAnimationFrame(() => boxes.get(one.destination)?.parts(found.items));
      }));
      if (OVER.has(job.state)) deliveries.look();
    } catch (error) {
      if (error.status === 404) gone(error);
      else if (error.status && error.status !== 401) notice(error.message);
    }
    const job = get(id);
    if (!closed && job && !OVER.has(job.state)) timer = setTimeout(look, pace(job));
  }

  function gone(error) {
    closed = true;
    text(said, error.message);
  }

  let before = get(id)?.state;
  const unwatch = watch((ids) => {
    if (ids !== null && !ids.has(id)) return;
    const now = get(id)?.state;
    if (now !== before && (OVER.has(now) || OVER.has(before))) look(); // it ended, or was retried
    before = now;
    draw();
  });
  const node = element("div", { class: "job-page" },
    element("p", { class: "back" }, element("a", { href: "#/" }, "← All jobs")),
    element("div", { class: "heading" }, heading, state),
    element("section", { class: "card", "aria-label": "Progress" }, bars, said, fault, buttons),
    transfers, adding.node,
    element("section", { class: "card" }, element("h2", {}, "What happened"), timeline.node),
    element("section", { class: "card" }, element("h2", {}, "Facts and proof"), facts),
    deliveries.node);
  const themed = () => boxes.forEach((box) => box.paint());
  document.addEventListener("themed", themed);
  draw();
  look();
  return { node, title: "Job", close() { closed = true; clearTimeout(timer); unwatch(); document.removeEventListener("themed", themed); } };
}

function pace(job) {
  const parts = (job.transfers ?? []).reduce((sum, one) => sum + (one.parts?.total ?? 0), 0);
  return Math.max(LOOK_MS, 2 * parts) * (document.hidden ? 10 : 1);
}

function sentence(job) {
  const rate = rateOf(job.id);
  if (job.state === "succeeded") return `${bytes(job.size)}, stored and compared.`;
  if (OVER.has(job.state)) return `${bytes(job.size)}.`;
  const left = rate && job.size ? `${duration((job.size - job.sent) / rate)} left` : "";
  return [`${bytes(job.received)} of ${bytes(job.size)} received`, `${bytes(job.sent)} sent`, rate ? speed(rate) : "", left].filter(Boolean).join(" · ");
}

function list(node, job) {
  const rows = [
    ["Id", job.id], ["Key", job.key], ["Type", job.content_type], ["Size", job.size === null ? null : `${(job.size ?? 0).toLocaleString("en")} bytes`],
    ["Created", moment(job.created_at)], ["Finished", job.finished_at && moment(job.finished_at)], ["Run", job.run > 1 ? job.run : null],
    ["CRC32C", job.checksums?.crc32c], ["SHA-256", job.checksums?.sha256], ["If the key is taken", job.on_conflict?.replaceAll("_", " ")],
    ["Priority", job.priority], ["Kept for a retry until", job.source?.available_until && moment(job.source.available_until)],
    ["Source", job.source && job.source.kind !== "body" ? [job.source.kind, job.source.url ?? job.source.key].filter(Boolean).join(" ") : null],
    ...Object.entries(job.labels ?? {}).map(([name, value]) => [`Label ${name}`, value]),
    ...Object.entries(job.metadata ?? {}).map(([name, value]) => [`Metadata ${name}`, value]),
  ].filter(([, value]) => value !== null && value !== undefined && value !== "");
  const now = JSON.stringify(rows);
  if (node.shown === now) return;
  node.shown = now;
  node.replaceChildren(...rows.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, String(value)))));
}

/** Sending the file to one more place, while it is still there. */
function addition(id) {
  const select = element("select", { id: "add-to" });
  const button = element("button", { type: "submit" }, "Add destination");
  const node = element("form", { class: "row card", hidden: true, onsubmit: (event) => { event.preventDefault(); add(); } },
    element("div", { class: "field" }, element("label", { for: "add-to" }, "Send it to another place, too"), select), button);
  let known = [];
  destinations().then((found) => { known = found.filter((one) => one.kind === "destination").map((one) => one.name); node.show(get(id)); }, () => {});
  const add = () => doing(button, async () => take(await post(`/v1/jobs/${id}/destinations`, { destinations: [select.value] })));
  node.show = (job) => {
    if (!job) return;
    const used = new Set((job.transfers ?? []).map((one) => one.destination));
    const free = known.filter((name) => !used.has(name));
    const kept = !OVER.has(job.state) || job.source?.kind !== "body" || job.source?.available_until;
    node.hidden = !free.length || !kept || job.state === "receiving" || job.state === "cancelling";
    if (select.shown === free.join("\n")) return;
    select.shown = free.join("\n");
    select.replaceChildren(...free.map((name) => element("option", { value: name }, name)));
  };
  return { node, show: node.show };
}
