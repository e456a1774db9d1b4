// Making elements. Text is only ever set as text, so no name and no error can become markup.

/** element("a", {href: "#/", class: "x", onclick: f}, "text", child, …); null and "" are left out. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** Sets text only where it changed: a screen reader is not told the same again, and nothing is laid out in vain. */
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

export function attribute(node, name, value) {
  if (value === null || value === undefined) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/** A bar that fills up; `set(share, words)` moves it, and null means that nobody knows how far it is. */
export function bar(label) {
  const fill = element("span", { class: "fill" });
  const node = element("span", { class: "meter", role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 }, fill);
  node.set = (share, state = "") => {
    attribute(node, "aria-valuenow", share === null ? null : Math.floor(share * 100));
    attribute(node, "data-state", state || null);
    fill.style.transform = `scaleX(${share ?? 0})`;
  };
  node.set(null);
  return node;
}

const SIGNS = {
  receiving: "↓", queued: "…", pending: "…", running: "↑", uploading: "↑", in_flight: "↑", completing: "↑", paused: "‖",
  cancelling: "×", cancelled: "×", succeeded: "✓", sent: "✓", partially_succeeded: "◐", failed: "!", failing: "!",
  expired: "○", ok: "✓", waiting: "…", sending: "↓", delivered: "✓", disabled: "!",
};

/** A state in a word, with a sign and a colour. */
export function badge() {
  const sign = element("span", { class: "sign", "aria-hidden": "true" });
  const word = element("span");
  const node = element("span", { class: "badge" }, sign, word);
  node.set = (state, words = state.replaceAll("_", " ")) => {
    attribute(node, "data-state", state);
    text(sign, SIGNS[state] ?? "·");
    text(word, words);
    return node;
  };
  return node;
}

/** A heading that takes the focus when its view is shown, so that a screen reader begins there. */
export function title(words) {
  return element("h1", { tabindex: "-1" }, words);
}

/** Shows those buttons of a group that fit. The focus goes on to another one when its own is gone. */
export function offer(group, fits) {
  const had = group.contains(document.activeElement) ? document.activeElement : null;
  for (const button of group.querySelectorAll("button")) button.hidden = !fits(button);
  if (had?.hidden) group.querySelector("button:not([hidden])")?.focus();
}

/** Calls `draw` once before the next picture, however often it is asked for. */
export function coalesced(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  };
}
