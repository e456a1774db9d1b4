// Files and folders that are dropped anywhere on the page, and chosen in its inputs.

import { notice } from "./notices.js";
import { add } from "./uploads.js";

const MOST = 20_000; // files of one drop

/** Every file below the dropped things, with its path from there: [{file, path}]. */
export async function gathered(transfer) {
  // The entries have to be taken at once: after the first wait the list is empty.
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const found = [];
  for (const entry of entries) if (entry) await walk(entry, found);
  return found;
}

async function walk(entry, found) {
  if (found.length >= MOST) return;
  if (entry instanceof File) found.push({ file: entry, path: "" });
  else if (entry.isFile) found.push({ file: await promised((done, fail) => entry.file(done, fail)), path: pathOf(entry) });
  else if (entry.isDirectory) {
    const reader = entry.createReader();
    for (;;) { // it tells a hundred at a time, and then none
      const some = await promised((done, fail) => reader.readEntries(done, fail));
      if (!some.length) return;
      for (const one of some) await walk(one, found);
    }
  }
}

/** "" for a file that was dropped by itself. */
function pathOf(entry) {
  const path = entry.fullPath.replace(/^\//, "");
  return path.includes("/") ? path : "";
}

const promised = (begin) => new Promise((done, fail) => { begin(done, fail); });

export function chosen(input) {
  const found = [...input.files].map((file) => ({ file, path: file.webkitRelativePath ?? "" }));
  input.value = "";
  take(found);
}

function take(found) {
  if (found.length >= MOST) notice(`Only the first ${MOST} files are taken at once.`);
  if (found.length) add(found);
  if (location.hash.length > 2) location.hash = "#/";
}

export function dropAnywhere() {
  const cover = document.getElementById("drop");
  let depth = 0;
  const files = (event) => event.dataTransfer?.types.includes("Files");
  const shown = (depth_) => { depth = Math.max(0, depth_); cover.hidden = !depth; };
  document.addEventListener("dragenter", (event) => { if (files(event)) { event.preventDefault(); shown(depth + 1); } });
  document.addEventListener("dragleave", (event) => { if (files(event)) shown(depth - 1); });
  document.addEventListener("dragover", (event) => { if (files(event)) { event.preventDefault(); event.dataTransfer.dropEffect = "copy"; } });
  document.addEventListener("drop", async (event) => {
    if (!files(event)) return;
    event.preventDefault();
    shown(0);
    try {
      take(await gathered(event.dataTransfer));
    } catch (error) {
      notice(`What was dropped cannot be read: ${error.message}`);
    }
  });
}
