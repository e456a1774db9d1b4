// The view of all jobs: uploads above, then the list with its search and filters, live.

import { coalesced, element, text, title } from "./dom.js";
import { count } from "./format.js";
import { makeRow } from "./jobrow.js";
import { notice } from "./notices.js";
import { Rows } from "./rows.js";
import { all, matches, page, watch } from "./store.js";
import { destinations } from "./places.js";
import { uploadPanel } from "./uploadpanel.js";

const STATES = ["receiving", "queued", "running", "paused", "cancelling", "succeeded", "partially_succeeded", "failed", "cancelled", "expired"];
const filter = { q: "", state: "", destination: "" };

export function jobsView() {
  const said = element("p", { class: "quiet", role: "status", id: "list-said" });
  const empty = element("div", { class: "empty", hidden: true });
  let cursor = null;
  let loading = false;
  let ended = false;
  let asked = 0;
  const rows = new Rows({ label: "Jobs, newest first", make: makeRow, near: () => more() });

  const draw = coalesced(() => {
    const found = [];
    for (const job of all()) if (matches(job, filter)) found.push(job.id);
    found.sort((a, b) => (a < b ? 1 : -1)); // ids begin with the time
    rows.show(found);
    const filtered = Boolean(filter.q || filter.state || filter.destination);
    text(said, loading && !found.length ? "Jobs are being loaded." : `${count(found.length, "job")}${cursor ? " so far" : ""}${filtered ? " found" : ""}`);
    empty.hidden = found.length > 0 || loading || !ended;
    text(empty, filtered ? "No job fits. Search looks for the beginning of a name, or a whole id." : "Nothing has been sent yet. Drop a file anywhere on this page, or choose one above.");
  });

  async function more(fresh = false) {
    if (!fresh && (loading || ended)) return;
    asked += 1;
    const mine = asked;
    loading = true;
    try {
      const found = await page(filter, fresh ? null : cursor, fresh ? 100 : 500);
      if (mine !== asked) return;
      cursor = found.next_cursor;
      ended = !cursor;
    } catch (error) {
      if (mine !== asked) return;
      ended = true;
      if (error.status !== 401) notice(error.message);
    }
    loading = false;
    draw();
  }

  function search() {
    cursor = null;
    ended = false;
    draw();
    more(true);
  }

  const panel = uploadPanel();
  const node = element("div", {}, title("Jobs"), panel.node, filters(search), said, empty, rows.node);
  const unwatch = watch(draw);
  search();
  return { node, title: "Jobs", close: () => { unwatch(); rows.close(); panel.close(); asked += 1; }, again: search };
}

function filters(search) {
  const input = element("input", { type: "search", id: "q", autocomplete: "off", spellcheck: "false", placeholder: "Name begins with, or an id" });
  const state = element("select", { id: "state" }, element("option", { value: "" }, "Any state"), ...STATES.map((one) => element("option", { value: one }, one.replaceAll("_", " "))));
  const place = element("select", { id: "destination" }, element("option", { value: "" }, "Any destination"));
  input.value = filter.q;
  state.value = filter.state;
  destinations().then((found) => {
    place.append(...found.filter((one) => one.kind === "destination").map((one) => element("option", { value: one.name }, one.name)));
    place.value = filter.destination;
  }, () => {});
  let waiting = 0;
  input.addEventListener("input", () => {
    filter.q = input.value;
    clearTimeout(waiting);
    waiting = setTimeout(search, 200);
  });
  for (const [select, name] of [[state, "state"], [place, "destination"]]) {
    select.addEventListener("change", () => { filter[name] = select.value; search(); });
  }
  const field = (label, control) => element("div", { class: "field" }, element("label", { for: control.id }, label), control);
  return element("form", { class: "filters", role: "search", "aria-label": "Jobs", onsubmit: (event) => event.preventDefault() },
    field("Search", input), field("State", state), field("Destination", place));
}
