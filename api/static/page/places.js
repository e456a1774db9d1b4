// The destinations and routes, asked for once a minute at most.

import { ask, onKey } from "./api.js";

let known = null;
let until = 0;

export function destinations() {
  if (!known || performance.now() > until) {
    known = ask("/v1/destinations").then((found) => found.items);
    until = performance.now() + 60_000;
    known.catch(() => { known = null; });
  }
  return known;
}

onKey("changed", () => { known = null; });
