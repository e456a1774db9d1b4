// The view of failed jobs, to be looked through and retried, many at once.

import { command } from "./api.js";
import { badge, coalesced, element, text, title } from "./dom.js";
import { bytes, count, moment } from "./format.js";
import { doing, notice } from "./notices.js";
import { Rows } from "./rows.js";
import { all, get, page, take, watch } from "./store.js";

const STATES = ["failed", "partially_succeeded"];
const AT_ONCE = 4;

export function failedView() {
  const chosen = new Set();
  let shown = [];
  let cursors = Object.fromEntries(STATES.map((state) => [state, ""]));
  let loading = false;
  const said = element("p", { class: "quiet", role: "status", id: "failed-said" });
  const every = element("input", { type: "checkbox", id: "every" });
  const retry = element("button", { type: "button", class: "main", id: "retry-chosen", disabled: true }, "Retry");
  const empty = element("div", { class: "empty", hidden: true }, "No job has failed. What fails for good is listed here, with a way to try all of it again.");
  const tools = element("div", { class: "row failed-tools" }, element("label", { class: "chip" }, every, "All of them"), retry);
  const rows = new Rows({ label: "Failed jobs, newest first", make: () => failedRow(chosen, () => draw()), near: () => more() });

  const draw = coalesced(() => {
    shown = [...all()].filter((job) => STATES.includes(job.state)).map((job) => job.id).sort((a, b) => (a < b ? 1 : -1));
    for (const id of chosen) if (!STATES.includes(get(id)?.state)) chosen.delete(id);
    rows.show(shown);
    empty.hidden = shown.length > 0 || loading;
    tools.hidden = !shown.length;
    every.checked = shown.length > 0 && chosen.size === shown.length;
    every.indeterminate = chosen.size > 0 && chosen.size < shown.length;
    if (retry.dataset.busy) return;
    retry.disabled = !chosen.size;
    text(retry, chosen.size ? `Retry ${count(chosen.size, "job")}` : "Retry");
    text(said, shown.length ? `${count(shown.length, "job")} failed${Object.values(cursors).some(Boolean) ? " so far" : ""}.` : "");
  });

  async function more() {
    if (loading || Object.values(cursors).every((cursor) => cursor === null)) return;
    loading = true;
    try {
      for (const state of STATES) {
        if (cursors[state] !== null) cursors[state] = (await page({ state }, cursors[state], 500)).next_cursor;
      }
    } catch (error) {
      cursors = Object.fromEntries(STATES.map((state) => [state, null]));
      if (error.status !== 401) notice(error.message);
    }
    loading = false;
    draw();
  }

  async function retryAll() {
    const ids = [...chosen];
    const total = ids.length;
    const refused = new Map();
    let done = 0;
    retry.dataset.busy = "yes";
    const one = async () => {
      for (let id = ids.pop(); id; id = ids.pop()) {
        try { take(await command(id, "retry")); } catch (error) { refused.set(error.message, (refused.get(error.message) ?? 0) + 1); }
        done += 1;
        text(said, `${done} of ${total} asked to try again.`);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, one));
    delete retry.dataset.busy;
    chosen.clear();
    for (const [words, number] of refused) notice(`${count(number, "job")} could not be retried. ${words}`);
    draw();
  }

  every.addEventListener("change", () => {
    chosen.clear();
    if (every.checked) for (const id of shown) chosen.add(id);
    draw();
    for (const row of rows.used.values()) row.tick();
  });
  retry.addEventListener("click", async () => { await doing(retry, retryAll); draw(); });
  const unwatch = watch(draw);
  more();
  return { node: element("div", {}, title("Failed jobs"), tools, said, empty, rows.node), title: "Failed jobs", close: () => { unwatch(); rows.close(); } };
}

function failedRow(chosen, changed) {
  const box = element("input", { type: "checkbox" });
  const name = element("a", { class: "name" });
  const why = element("span", { class: "quiet why" });
  const state = badge();
  const facts = element("span", { class: "number quiet facts" });
  const row = element("div", { class: "row-item failed", role: "listitem" }, box, element("div", { class: "what" }, name, why), state, facts);
  let mine = "";
  row.tick = () => { box.checked = chosen.has(mine); };
  box.addEventListener("change", () => {
    if (box.checked) chosen.add(mine);
    else chosen.delete(mine);
    changed();
  });
  row.show = (id) => {
    const job = get(id);
    mine = id;
    row.dataset.id = id;
    row.tick();
    if (!job) return;
    text(name, job.name ?? id);
    name.href = `#/jobs/${id}`;
    box.setAttribute("aria-label", `Choose ${job.name ?? id}`);
    const broken = job.transfers?.find((one) => one.state === "failed" && one.error);
    const error = broken?.error ?? job.error;
    text(why, error ? [broken?.destination, error.title, error.detail].filter(Boolean).join(" · ") : "");
    state.set(job.state);
    text(facts, `${bytes(job.size)} · ${moment(job.finished_at ?? job.updated_at)}`);
  };
  return row;
}
