// A list of any length: only the rows that can be seen are in the document.

import { attribute, coalesced, element } from "./dom.js";

const AROUND = 6; // rows above and below what is seen, for the keyboard and quick hands

/** `make(): node` with `node.show(item)`; `near()` is called when the end of the list comes into view. */
export class Rows {
  constructor({ label, make, near = () => {} }) {
    Object.assign(this, { make, near, items: [], used: new Map(), spare: [] });
    this.node = element("div", { class: "rows", role: "list", "aria-label": label });
    this.draw = coalesced(() => this.place());
    this.onScroll = () => this.draw();
    this.node.addEventListener("keydown", (event) => this.move(event));
    window.addEventListener("scroll", this.onScroll, { passive: true });
    window.addEventListener("resize", this.onScroll);
  }

  close() {
    window.removeEventListener("scroll", this.onScroll);
    window.removeEventListener("resize", this.onScroll);
  }

  show(items) {
    this.items = items;
    this.draw();
  }

  get height() {
    return parseFloat(getComputedStyle(this.node).getPropertyValue("--row")) || 64;
  }

  place() {
    if (!this.node.isConnected) return;
    const height = this.height;
    const top = this.node.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(-top / height) - AROUND);
    const last = Math.min(this.items.length, Math.ceil((window.innerHeight - top) / height) + AROUND);
    this.node.style.height = `${this.items.length * height}px`;
    const wanted = new Map();
    for (let index = first; index < last; index += 1) wanted.set(this.items[index], index);
    for (const [id, row] of this.used) {
      // The row that has the focus stays while its item does, wherever one scrolls.
      if (wanted.has(id) || (row.contains(document.activeElement) && this.items[row.index] === id)) continue;
      this.used.delete(id);
      row.remove();
      this.spare.push(row);
    }
    for (const [id, index] of wanted) this.put(id, index, height);
    if (last >= this.items.length - AROUND) this.near();
  }

  put(id, index, height) {
    let row = this.used.get(id);
    if (!row) {
      row = this.spare.pop() ?? this.make();
      this.used.set(id, row);
      this.node.append(row);
    }
    row.index = index;
    row.style.transform = `translateY(${index * height}px)`;
    attribute(row, "aria-setsize", this.items.length);
    attribute(row, "aria-posinset", index + 1);
    row.show(id);
  }

  /** Arrows go from row to row, Home and End to the first and last. */
  move(event) {
    const row = event.target.closest(".row-item");
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
    if (!row || !(event.key in steps) || event.target.matches("input[type=text], select")) return;
    event.preventDefault();
    const index = Math.max(0, Math.min(this.items.length - 1, row.index + steps[event.key]));
    const top = this.node.getBoundingClientRect().top + index * this.height;
    if (top < 80) window.scrollBy(0, top - 80);
    else if (top + this.height > window.innerHeight) window.scrollBy(0, top + this.height - window.innerHeight + 16);
    this.place();
    this.used.get(this.items[index])?.querySelector("a, input")?.focus({ preventScroll: true });
  }
}
