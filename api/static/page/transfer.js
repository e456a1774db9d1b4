// One transfer of a job: where it goes, a map of its parts, what fails, and the proof of what is stored.

import { attribute, badge, bar, element, text } from "./dom.js";
import { bytes, count, moment, percent, share } from "./format.js";

const STATES = ["sent", "in_flight", "failing", "pending"];
const SHOWN = 50; // failing parts with their errors

export function transferBox(destination) {
  const state = badge();
  const url = element("code", { class: "quiet" });
  const meter = bar(`Sent to ${destination}`);
  const said = element("p", { class: "number quiet" });
  const fault = element("p", { class: "fault", hidden: true });
  const proof = element("p", { class: "proof", hidden: true });
  const map = partMap(destination);
  const failing = element("ul", { class: "failing", "aria-label": `Parts that fail at ${destination}` });
  const node = element("section", { class: "card transfer", "data-destination": destination },
    element("div", { class: "heading" }, element("h2", {}, destination), state), url, meter, said, fault, proof, map.node, failing);
  return {
    node,
    show(one, job) {
      const fails = one.state === "uploading" && one.parts?.failing > 0;
      state.set(fails ? "failing" : one.state, fails ? "uploading, a part fails" : undefined);
      text(url, one.url ?? "");
      const part = one.state === "succeeded" ? 1 : share(one.sent, job.size);
      meter.set(part, fails ? "failing" : one.state);
      const parts = one.parts ?? {};
      text(said, [percent(part), `${bytes(one.sent)} of ${bytes(job.size)}`, parts.total ? `${parts.sent} of ${count(parts.total, "part")}` : "",
        one.part_size ? `${bytes(one.part_size)} each` : "", one.attempts ? count(one.attempts, "attempt") : "",
        one.next_attempt_at ? `next attempt at ${moment(one.next_attempt_at)}` : ""].filter(Boolean).join(" · "));
      const error = one.state === "succeeded" ? null : one.error;
      fault.hidden = !error;
      fault.dataset.kind = one.state === "failed" ? "final" : "passing";
      text(fault, error ? explained(error) : "");
      proof.hidden = one.state !== "succeeded";
      text(proof, one.state === "succeeded" ? proved(one) : "");
    },
    paint: map.paint,
    parts(items) {
      map.show(items);
      const wrong = items.filter((item) => item.error && item.state !== "sent").slice(0, SHOWN);
      failing.replaceChildren(...wrong.map((item) => element("li", {},
        element("strong", {}, `Part ${item.number}: `), explained(item.error),
        item.next_attempt_at ? ` Tried again at ${moment(item.next_attempt_at)}.` : "")));
    },
  };
}

/** An error of the engine as one sentence or two, with what happens next. */
export function explained(error) {
  const words = [error.title, error.detail].filter(Boolean).map((one) => (/[.!?…]$/.test(one) ? one : `${one}.`)).join(" ");
  return error.retryable === false ? `${words} Trying again does not help.` : words;
}

const PROOFS = {
  checksum: "the store's own checksum of the whole object", part_checksums: "the store's checksums of every part",
  read_back: "the stored bytes, read back and summed", size: "its size only", skip_same: "the same object, which was there already",
};

function proved(one) {
  const sums = [one.checksum, one.etag && `ETag ${one.etag}`, one.version && `version ${one.version}`].filter(Boolean).join(" · ");
  return `Proved by ${PROOFS[one.verified_by] ?? one.verified_by ?? "nothing yet"}.${sums ? ` ${sums}` : ""}`;
}

/** Every part as a square: by its colour and, for whoever cannot see it, in numbers. */
function partMap(destination) {
  const canvas = element("canvas", { class: "map", role: "img" });
  const legend = element("ul", { class: "legend", "aria-hidden": "true" });
  const numbers = Object.fromEntries(STATES.map((name) => [name, element("b", { class: "number" })]));
  legend.append(...STATES.map((name) => element("li", { "data-state": name }, element("span", { class: "swatch" }), `${name.replaceAll("_", " ")} `, numbers[name])));
  const node = element("div", { class: "parts", hidden: true }, canvas, legend);
  let items = [];
  const draw = () => paint(canvas, items);
  new ResizeObserver(() => requestAnimationFrame(draw)).observe(canvas.parentElement);
  return {
    node,
    paint: draw,
    show(found) {
      items = found;
      node.hidden = !items.length;
      const sums = Object.fromEntries(STATES.map((name) => [name, 0]));
      for (const item of items) sums[STATES.includes(item.state) ? item.state : item.state === "failed" ? "failing" : "pending"] += 1;
      for (const name of STATES) text(numbers[name], String(sums[name]));
      attribute(canvas, "aria-label", `Parts at ${destination}: ${STATES.map((name) => `${sums[name]} ${name.replaceAll("_", " ")}`).join(", ")}`);
      draw();
    },
  };
}

function paint(canvas, items) {
  const width = canvas.parentElement.clientWidth;
  if (!width || !items.length) return;
  // The largest squares with which all parts fit into some lines.
  let side = 28;
  while (side > 3 && Math.ceil(items.length / Math.floor(width / side)) * side > 180) side -= 1;
  const across = Math.max(1, Math.floor(width / side));
  const height = Math.ceil(items.length / across) * side;
  const scale = window.devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = height * scale;
  canvas.style.height = `${height}px`;
  const style = getComputedStyle(canvas);
  const colour = Object.fromEntries(["sent", "in_flight", "failing", "failed", "pending", "cancelled"].map((name) => [name, style.getPropertyValue(`--part-${name.replace("_", "-")}`)]));
  const gap = side > 6 ? 2 : 1;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  items.forEach((item, index) => {
    const x = (index % across) * side;
    const y = Math.floor(index / across) * side;
    pen.fillStyle = colour[item.state] ?? colour.pending;
    pen.beginPath();
    pen.roundRect(x, y, side - gap, side - gap, side > 10 ? 4 : 1);
    pen.fill();
    if (item.state === "failing" || item.state === "failed") { // not by colour alone
      pen.fillStyle = style.getPropertyValue("--back");
      pen.fillRect(x + (side - gap) / 2 - side / 14, y + side * 0.2, side / 7, side * 0.35);
      pen.fillRect(x + (side - gap) / 2 - side / 14, y + side * 0.65, side / 7, side / 7);
    }
  });
}
