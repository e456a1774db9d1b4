// The view of the system: what waits, what works, and whether everything that is needed is there.

import { ask } from "./api.js";
import { badge, bar, element, text, title } from "./dom.js";
import { bytes, count, percent, share, speed } from "./format.js";

const AGAIN_MS = 2000;

export function systemView() {
  const said = element("p", { class: "fault", role: "status", hidden: true });
  const checks = element("ul", { class: "checks" });
  const states = element("dl", { class: "tiles" });
  const spool = bar("Spool in use");
  const spoolSaid = element("p", { class: "number quiet" });
  const totals = element("dl", { class: "pairs" });
  const workers = element("tbody");
  const none = element("p", { class: "empty" }, "No worker was seen in the last 15 seconds. Jobs are accepted and wait: start `bucketline worker`.");
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...["Worker", "Node", "Threads"].map((name) => element("th", { scope: "col" }, name)))), workers);
  const node = element("div", {}, title("System"), said,
    section("Is everything there?", checks), section("Jobs", states), section("Queues", totals),
    section("Spool", spool, spoolSaid), section("Workers", table, none));
  let timer = 0;
  let closed = false;

  async function look() {
    try {
      const [stats, ready] = await Promise.all([ask("/v1/stats"), readiness()]);
      if (closed) return;
      said.hidden = true;
      show(stats);
      checks.replaceChildren(...Object.entries(ready.checks ?? {}).map(([name, one]) => element("li", {},
        badge().set(one.ok ? "ok" : "failed", name), element("span", { class: "quiet" }, one.detail ?? ""))));
    } catch (error) {
      said.hidden = error.status === 401;
      text(said, error.message);
    }
    if (!closed) timer = setTimeout(look, document.hidden ? 10 * AGAIN_MS : AGAIN_MS);
  }

  function show(stats) {
    states.replaceChildren(...Object.entries(stats.jobs).map(([name, number]) => element("div", { "data-state": name, class: number ? null : "none" },
      element("dt", {}, name.replaceAll("_", " ")), element("dd", { class: "number" }, number.toLocaleString("en")))));
    const waiting = Object.entries(stats.queues.waiting).map(([name, number]) => [`Tokens in ${name}`, number.toLocaleString("en")]);
    pairs(totals, [["Transfers under way", stats.queues.active_transfers], ["Jobs that wait", stats.jobs.queued], ["To destinations now", speed(stats.rates.sent)],
      ["Received in all", bytes(stats.bytes.received)], ["Sent in all", bytes(stats.bytes.sent)], ...waiting]);
    const used = share(stats.spool.used, stats.spool.limit);
    spool.set(used, used > 0.9 ? "failing" : "succeeded");
    text(spoolSaid, `${bytes(stats.spool.used)} of ${bytes(stats.spool.limit)} (${percent(used)})`);
    none.hidden = stats.workers.length > 0;
    table.hidden = !none.hidden;
    table.setAttribute("aria-label", count(stats.workers.length, "worker"));
    workers.replaceChildren(...stats.workers.map((one) => element("tr", {}, element("td", {}, one.name), element("td", {}, one.node ?? "–"), element("td", { class: "number" }, String(one.threads ?? "–")))));
  }

  look();
  return { node, title: "System", close() { closed = true; clearTimeout(timer); } };
}

/** What is missing is told with 503, which is no failure of the question. */
async function readiness() {
  const answer = await fetch("/readyz", { cache: "no-store" });
  return answer.json();
}

function section(name, ...inside) {
  return element("section", { class: "card" }, element("h2", {}, name), ...inside);
}

function pairs(node, rows) {
  node.replaceChildren(...rows.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", { class: "number" }, String(value)))));
}
