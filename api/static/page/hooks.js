// The deliveries of a job's end to its webhook or actor, each with its attempts, and telling it again.

import { ask, post } from "./api.js";
import { badge, element } from "./dom.js";
import { moment } from "./format.js";
import { doing } from "./notices.js";

const AGAIN_MS = 1000;

export function hooks(id) {
  const list = element("ul", { class: "deliveries" });
  const node = element("section", { class: "card", hidden: true, id: "deliveries" }, element("h2", {}, "Told to others"), list);
  let timer = 0;

  async function look() {
    clearTimeout(timer);
    let items;
    try { ({ items } = await ask(`/v1/jobs/${id}/webhooks`)); } catch { return; }
    node.hidden = !items.length;
    const now = JSON.stringify(items);
    if (list.shown !== now) {
      list.shown = now;
      list.replaceChildren(...items.map(row));
    }
    if (node.isConnected && items.some((one) => one.state === "pending")) timer = setTimeout(look, AGAIN_MS);
  }

  function row(one) {
    const what = one.actor ? `${one.type} to the actor ${one.actor}` : `${one.type} to the webhook`;
    const replay = element("button", { type: "button", "data-replay": one.id, "aria-label": `Deliver ${what} again`, onclick: (event) => doing(event.currentTarget, async () => {
      await post(`/v1/jobs/${id}/webhooks/${encodeURIComponent(one.id)}/replay`);
      await look();
    }) }, "Deliver again");
    return element("li", {},
      element("div", { class: "heading" }, element("strong", {}, what), badge().set(one.state), replay),
      element("ol", { class: "timeline" }, ...one.attempts.map((attempt) => element("li", { "data-kind": attempt.error ? "bad" : "good" },
        element("time", { class: "number quiet", datetime: attempt.at }, moment(attempt.at)),
        element("span", {}, attempt.error ?? (attempt.status ? `Taken: HTTP ${attempt.status}.` : "Taken."))))),
      one.next_attempt_at ? element("p", { class: "quiet" }, `Tried again at ${moment(one.next_attempt_at)}.`) : "");
  }

  return { node, look };
}
