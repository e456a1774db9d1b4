// The view of destinations: what they are, whether they work, and how fast bytes go there.

import { ask, post } from "./api.js";
import { attribute, badge, element, text, title } from "./dom.js";
import { bytes, count, moment, speed } from "./format.js";
import { doing, notice } from "./notices.js";
import { destinations } from "./places.js";
import { ratesOf, spark } from "./rates.js";

export function destinationsView() {
  const list = element("div", { class: "grid" });
  const checkAll = element("button", { type: "button", hidden: true }, "Check all");
  const boxes = [];
  const node = element("div", {}, element("div", { class: "heading" }, title("Destinations"), checkAll),
    element("p", { class: "quiet" }, "A check writes, reads and deletes a small object, as a worker would."), list);
  checkAll.addEventListener("click", () => doing(checkAll, () => Promise.all(boxes.map((box) => box.check()))));

  async function load() {
    try {
      for (const one of await destinations()) {
        if (one.kind === "route") list.append(routeBox(one));
        else {
          const box = placeBox(one);
          boxes.push(box);
          list.append(box.node);
        }
      }
      checkAll.hidden = boxes.length < 2;
      await Promise.all(boxes.map((box) => box.look()));
    } catch (error) {
      if (error.status !== 401) notice(error.message);
    }
  }

  const timer = setInterval(() => boxes.forEach((box) => box.draw()), 1000);
  load();
  return { node, title: "Destinations", close: () => clearInterval(timer) };
}

function routeBox(one) {
  return element("section", { class: "card" }, element("div", { class: "heading" }, element("h2", {}, one.name), element("span", { class: "quiet" }, "route")),
    element("p", {}, `Sends to ${(one.mirror ?? []).join(", ")}.`));
}

function placeBox(one) {
  const state = badge();
  const said = element("p", { class: "quiet", role: "status" });
  const steps = element("ul", { class: "steps" });
  const line = document.getElementById("spark").content.firstElementChild.cloneNode(true);
  const rate = element("span", { class: "number" });
  const button = element("button", { type: "button", "data-check": one.name, "aria-label": `Check ${one.name}`, onclick: () => check() }, "Check");
  const node = element("section", { class: "card place", "data-name": one.name },
    element("div", { class: "heading" }, element("h2", {}, one.name), state, button),
    element("p", { class: "quiet" }, element("code", {}, one.url ?? ""), one.default ? " · the default" : ""),
    element("p", { class: "quiet" }, abilities(one)),
    element("div", { class: "spark" }, line, rate), said, steps);

  function show(health) {
    state.set(health ? (health.ok ? "ok" : "failed") : "pending", health ? (health.ok ? "works" : "does not work") : "not checked");
    text(said, health ? `Checked ${moment(health.at)}.` : "Nobody has checked it since it was configured.");
    steps.replaceChildren(...(health?.steps ?? []).map((step) => element("li", { "data-kind": step.ok ? "good" : "bad" },
      element("strong", {}, step.step), ` ${step.detail ?? ""}`, element("span", { class: "quiet number" }, step.seconds === undefined ? "" : ` ${(step.seconds * 1000).toFixed(0)} ms`))));
    if (health?.detail && !health.ok) steps.append(element("li", { "data-kind": "bad" }, health.detail));
  }

  function draw() {
    const rates = ratesOf(one.name);
    spark(line, rates);
    const now = rates.at(-1) ?? 0;
    text(rate, now ? speed(now) : "idle");
    attribute(line, "aria-label", `Throughput of the last minute: now ${now ? speed(now) : "idle"}, at most ${rates.length ? speed(Math.max(...rates)) : "nothing"}`);
  }

  const look = async () => show((await ask(`/v1/destinations/${encodeURIComponent(one.name)}`)).health);
  const check = () => doing(button, async () => {
    text(said, "A worker is checking.");
    try {
      show((await post(`/v1/destinations/${encodeURIComponent(one.name)}/check`)).health);
    } catch (error) {
      text(said, "The check has no result.");
      throw error;
    }
  });
  show(null);
  draw();
  return { node, look, check, draw };
}

function abilities(one) {
  const can = one.capabilities;
  if (!can) return one.backend;
  return [one.backend, can.max_parts ? `up to ${count(can.max_parts, "part")}` : "", can.max_object ? `objects up to ${bytes(can.max_object)}` : "",
    can.checksums?.length ? can.checksums.join(", ") : ""].filter(Boolean).join(" · ");
}
