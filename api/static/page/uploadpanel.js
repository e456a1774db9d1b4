// Choosing files and where they go, and how far each of them is.

import { command } from "./api.js";
import { attribute, badge, coalesced, element, offer, text } from "./dom.js";
import { chosen } from "./drop.js";
import { bytes, count, duration, share, speed } from "./format.js";
import { halves } from "./jobrow.js";
import { doing } from "./notices.js";
import { destinations } from "./places.js";
import { OVER, get, rateOf, take, watch as watchJobs } from "./store.js";
import { all, clear, options, watch } from "./uploads.js";

const SHOWN = 30; // rows; of the others only the number is told
const CONFLICTS = { "": "as usual", replace: "replace it", fail: "refuse", rename: "rename ours", skip_same: "skip the same" };

export function uploadPanel() {
  const files = element("input", { type: "file", multiple: true, id: "files", class: "hidden-input", onchange: () => chosen(files) });
  const folder = element("input", { type: "file", webkitdirectory: true, id: "folder-input", class: "hidden-input", onchange: () => chosen(folder) });
  const list = element("ul", { class: "uploads", "aria-label": "Files that this page sends" });
  const said = element("p", { class: "quiet number", role: "status", id: "uploads-said" });
  const tidy = element("button", { type: "button", class: "plain", onclick: () => clear(isOver) }, "Clear what is over");
  const rows = new Map();

  const draw = coalesced(() => {
    const known = all();
    const first = [...known].sort((a, b) => rank(a) - rank(b) || a.id - b.id).slice(0, SHOWN);
    const wanted = new Set(first);
    for (const [one, row] of rows) if (!wanted.has(one)) { row.remove(); rows.delete(one); }
    first.forEach((one, index) => {
      if (!rows.has(one)) rows.set(one, uploadRow(one));
      const row = rows.get(one);
      if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
      row.show();
    });
    const arrived = known.filter((one) => one.state === "arrived").length;
    const stored = known.filter((one) => get(one.job)?.state === "succeeded").length;
    const more = known.length > first.length ? ` ${count(known.length - first.length, "file")} more not shown.` : "";
    text(said, known.length ? `${count(known.length, "file")}: ${arrived} at Bucketline, ${stored} stored.${more}` : "");
    tidy.hidden = !known.some(isOver);
  });
  const ends = [watch(draw), watchJobs((ids) => { if (ids === null || all().some((one) => ids.has(one.job))) draw(); })];
  const node = element("section", { class: "card send", "aria-label": "Send files" },
    element("div", { class: "send-top" },
      element("div", {}, element("h2", {}, "Send files"), element("p", { class: "quiet" }, "Drop files or folders anywhere on this page, or choose them. An upload that breaks off goes on where it was.")),
      element("div", { class: "row" },
        files, element("label", { for: "files", class: "button main" }, "Choose files"),
        folder, element("label", { for: "folder-input", class: "button" }, "Choose a folder"))),
    settings(), said, list, element("p", { class: "row end" }, tidy));
  draw();
  return { node, close: () => ends.forEach((end) => end()) };
}

const isOver = (one) => ["failed", "cancelled"].includes(one.state) || (one.state === "arrived" && (!get(one.job) || OVER.has(get(one.job).state)));

/** After a break; at the server's wish perhaps for long. */
const waits = (one) => one.state === "sending" && one.until > 0;

function rank(one) {
  if (["failed", "waiting-key", "sending"].includes(one.state)) return 0;
  if (one.state === "arrived") return OVER.has(get(one.job)?.state) ? 4 : 1;
  return { paused: 1, waiting: 2, cancelled: 5 }[one.state] ?? 3;
}

function uploadRow(one) {
  const state = badge();
  const bars = halves();
  const name = element("span", { class: "name" }, one.name);
  const link = element("a", { hidden: true }, "Details");
  const said = element("p", { class: "number quiet" });
  const button = (words, label, work) => element("button", { type: "button", class: "small", "data-act": label, "aria-label": `${words} ${one.name}`, onclick: (event) => doing(event.currentTarget, work) }, words);
  const tell = async (verb) => take(await command(one.job, verb));
  const pause = button("Pause", "pause", () => (one.state === "arrived" ? tell("pause") : one.pause()));
  const resume = button("Resume", "resume", () => (one.state === "arrived" ? tell("resume") : one.resume()));
  const cancel = button("Cancel", "cancel", () => (one.state === "arrived" ? tell("cancel") : one.cancel()));
  const retry = button("Retry", "retry", () => tell("retry"));
  const acts = element("span", { class: "row" }, link, pause, resume, retry, cancel);
  const row = element("li", { class: "upload" }, element("div", { class: "heading" }, name, state, acts), bars, said);
  row.show = () => {
    const job = get(one.job);
    const there = one.state === "arrived";
    const shown = there ? (job?.state === "receiving" ? "queued" : job?.state ?? "queued") : one.state === "waiting-key" || waits(one) ? "waiting" : one.state;
    row.dataset.state = shown;
    state.set(shown);
    bars.show({ size: one.size, sent: 0, transfers: [], ...job, received: one.sent, state: shown, size: one.size }, one.size ? share(one.sent, one.size) : Number(there));
    text(said, words(one, job, there));
    link.hidden = !one.job;
    attribute(link, "aria-label", `Details of ${one.name}`);
    if (one.job) attribute(link, "href", `#/jobs/${one.job}`);
    const over = there && OVER.has(shown);
    const fits = {
      pause: ["sending", "waiting"].includes(one.state) || (there && ["queued", "running"].includes(shown)),
      resume: ["paused", "failed"].includes(one.state) || waits(one) || (there && shown === "paused"),
      retry: over && ["failed", "partially_succeeded"].includes(shown),
      cancel: one.state !== "cancelled" && !over && shown !== "cancelling",
    };
    offer(acts, (act) => fits[act.dataset.act]);
  };
  return row;
}

function words(one, job, there) {
  if (one.said) return one.said;
  if (!there) {
    const rate = one.speed.rate();
    return [`${bytes(one.sent)} of ${bytes(one.size)}`, one.state === "sending" ? speed(rate) : "", one.state === "sending" && rate ? `${duration(one.left)} left` : ""].filter(Boolean).join(" · ");
  }
  if (!job) return "At Bucketline.";
  const failing = job.transfers?.find((transfer) => transfer.error && transfer.state !== "succeeded")?.error;
  if (failing) return [failing.title, failing.detail].filter(Boolean).join(". ");
  if (job.state === "succeeded") return `${bytes(one.size)}, stored and compared.`;
  const rate = rateOf(job.id);
  return [`${bytes(job.sent)} of ${bytes(one.size)} stored`, rate ? speed(rate) : "", rate ? `${duration((one.size - job.sent) / rate)} left` : ""].filter(Boolean).join(" · ");
}

/** Where the next files go. */
function settings() {
  const places = element("fieldset", { class: "places" }, element("legend", {}, "To"));
  const folder = element("input", { id: "folder", type: "text", autocomplete: "off", spellcheck: "false", placeholder: "optional" });
  const conflict = element("select", { id: "conflict" }, ...Object.entries(CONFLICTS).map(([value, said]) => element("option", { value }, said)));
  folder.value = options.folder;
  conflict.value = options.on_conflict;
  folder.addEventListener("input", () => { options.folder = folder.value.trim().replace(/^\/+|\/+$/g, ""); });
  conflict.addEventListener("change", () => { options.on_conflict = conflict.value; });
  destinations().then((found) => {
    const before = new Set(options.destinations ? options.destinations.split(",") : found.filter((one) => one.default).map((one) => one.name));
    places.append(...found.map((one) => {
      const box = element("input", { type: "checkbox", value: one.name });
      box.checked = before.has(one.name);
      return element("label", { class: "chip" }, box, one.name, one.kind === "route" ? element("span", { class: "quiet" }, " route") : "");
    }));
    const told = () => { options.destinations = [...places.querySelectorAll("input:checked")].map((box) => box.value).join(","); };
    places.addEventListener("change", told);
    told();
  }, () => {});
  const field = (label, control) => element("div", { class: "field" }, element("label", { for: control.id }, label), control);
  return element("div", { class: "settings" }, places, field("Folder there", folder), field("If the name is taken", conflict));
}
