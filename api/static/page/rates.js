// How fast bytes have gone to each destination lately: a sample a second, from what the stream of events says.

import { destinationsSeen, sentTo } from "./store.js";

const KEPT = 60;
const series = new Map();
let before = performance.now();

function sample() {
  const now = performance.now();
  const seconds = Math.max(0.2, (now - before) / 1000); // a page in the background is called late
  before = now;
  for (const name of destinationsSeen()) {
    const found = series.get(name) ?? { total: 0, rates: [] };
    series.set(name, found);
    found.rates.push((sentTo(name) - found.total) / seconds);
    found.total = sentTo(name);
    if (found.rates.length > KEPT) found.rates.shift();
  }
}

setInterval(sample, 1000);

/** Bytes a second, the newest last; at most a minute of them. */
export const ratesOf = (name) => series.get(name)?.rates ?? [];

/** Moves the line of a sparkline (of the template `spark`). */
export function spark(svg, rates) {
  const most = Math.max(1, ...rates);
  const step = 120 / (KEPT - 1);
  const from = KEPT - rates.length;
  const points = rates.map((rate, index) => `${((from + index) * step).toFixed(1)},${(30 - (rate / most) * 28).toFixed(1)}`);
  svg.querySelector("polyline").setAttribute("points", points.join(" "));
}
