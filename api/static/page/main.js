// Puts the page together: which view is shown, the key, the theme, and whether the page is live.

import { key, onKey, useKey } from "./api.js";
import { attribute, text } from "./dom.js";
import { destinationsView } from "./destinations.js";
import { dropAnywhere } from "./drop.js";
import { failedView } from "./failed.js";
import { jobView } from "./job.js";
import { jobsView } from "./jobs.js";
import { follow, liveState, reset, watch } from "./store.js";
import { systemView } from "./system.js";
import "./rates.js";

const ROUTES = [
  [/^#\/jobs\/([0-9a-f-]{36})$/, jobView, "jobs"],
  [/^#\/failed$/, failedView, "failed"],
  [/^#\/destinations$/, destinationsView, "destinations"],
  [/^#\/system$/, systemView, "system"],
];
const main = document.getElementById("main");
const keyButton = document.getElementById("key");
const dialog = document.getElementById("key-dialog");
const input = document.getElementById("key-input");
let view = null;

function route(moved) {
  const found = ROUTES.map(([form, make, name]) => [location.hash.match(form), make, name]).find(([match]) => match);
  const [match, make, name] = found ?? [[], jobsView, "jobs"];
  view?.close();
  view = make(match[1]);
  main.replaceChildren(view.node);
  document.title = `${view.title} · Bucketline`;
  for (const link of document.querySelectorAll("nav [data-view]")) attribute(link, "aria-current", link.dataset.view === name ? "page" : null);
  if (!moved) return;
  window.scrollTo(0, 0);
  main.querySelector("h1")?.focus({ preventScroll: true });
}

// ---- the key

function showKey(words) {
  if (words) text(document.getElementById("key-said"), words);
  document.getElementById("key-forget").hidden = !key();
  if (!dialog.open) dialog.showModal();
  input.focus();
}

keyButton.addEventListener("click", () => showKey("Enter an API key. It is kept until you close this tab, and sent to this server only."));
document.getElementById("key-close").addEventListener("click", () => dialog.close());
document.getElementById("key-forget").addEventListener("click", () => { dialog.close(); useKey(""); });
document.getElementById("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  dialog.close();
  useKey(input.value.trim());
  input.value = "";
});
onKey("wanted", () => showKey(key() ? "This key is not accepted, or has ended. Enter another one." : null));
onKey("changed", () => {
  keyed();
  reset();
  route(false);
});

function keyed() {
  text(keyButton, key() ? "API key ✓" : "API key");
  attribute(keyButton, "aria-label", key() ? "API key, one is in use" : "API key, none is in use");
}

// ---- the theme

const themeButton = document.getElementById("theme");
const themes = ["auto", "light", "dark"];

function themed() {
  text(themeButton, `Theme: ${document.documentElement.dataset.theme}`);
  document.dispatchEvent(new Event("themed")); // what is painted does not follow the style sheet by itself
}

themeButton.addEventListener("click", () => {
  const root = document.documentElement;
  root.dataset.theme = themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length];
  try { localStorage.setItem("bucketline-theme", root.dataset.theme); } catch { /* it lasts until the page is left */ }
  themed();
});

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themed);

// ---- live

const live = document.getElementById("live");
const SAYS = { off: "connecting", on: "live", lost: "connection lost, trying again", refused: "not live: the key may not look" };

watch((ids) => {
  if (ids !== null) return;
  live.dataset.live = liveState();
  text(live, SAYS[liveState()]);
});

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says which view is shown
  main.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches?.("input, select, textarea") || dialog.open) return;
  const search = document.getElementById("q");
  if (search) { event.preventDefault(); search.focus(); }
});
window.addEventListener("hashchange", () => route(true));

keyed();
themed();
dropAnywhere();
follow();
route(false);
