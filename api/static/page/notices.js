// Sentences about what went wrong, shown until they are read.

import { element } from "./dom.js";

const MOST = 4;

export function notice(words) {
  const place = document.getElementById("notices");
  if ([...place.children].some((one) => one.firstChild.textContent === words)) return;
  const box = element("div", { class: "notice" }, element("p", {}, words));
  box.append(element("button", { type: "button", class: "plain", "aria-label": "Close this message", onclick: () => box.remove() }, "Close"));
  place.append(box);
  while (place.children.length > MOST) place.firstChild.remove();
}

/** Runs what a button is for; the button waits meanwhile but keeps the focus, and a refusal is told. */
export async function doing(button, work) {
  if (button.getAttribute("aria-disabled") === "true") return null;
  button.setAttribute("aria-disabled", "true");
  try {
    return await work();
  } catch (error) {
    if (error.status !== 401) notice(error.message);
    return null;
  } finally {
    button.removeAttribute("aria-disabled");
  }
}
