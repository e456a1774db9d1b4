// Server-sent events by fetch, which can send the key in a header; EventSource cannot.

import { headers, key, refusalOf } from "./api.js";

/** Takes text as it comes, and calls `tell({id, event, data})` for each whole event. */
export class Parser {
  constructor(tell) { this.tell = tell; this.rest = ""; this.id = ""; this.begin(); }

  begin() { this.event = "message"; this.data = []; }

  feed(chunk) {
    // LF or CRLF end a line; nothing else does: file names may hold U+2028.
    const lines = (this.rest + chunk).split("\n");
    this.rest = lines.pop();
    for (const line of lines) this.line(line.endsWith("\r") ? line.slice(0, -1) : line);
  }

  line(line) {
    if (!line) {
      if (this.data.length) this.tell({ id: this.id, event: this.event, data: this.data.join("\n") });
      this.begin();
      return;
    }
    const at = line.indexOf(":");
    if (at === 0) return;
    const name = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? "" : line.slice(line[at + 1] === " " ? at + 2 : at + 1);
    if (name === "data") this.data.push(value);
    else if (name === "event") this.event = value;
    else if (name === "id") this.id = value;
  }
}

const QUIET_MS = 40_000; // the API pings every 15 s: a line that says nothing for so long is dead
const PAUSES = [500, 1000, 2000, 4000, 8000];

/** Follows a stream for as long as the page lives, coming back with Last-Event-ID. `connected(again)` at each begin. */
export class Stream {
  constructor(path, { event, connected, lost }) {
    Object.assign(this, { path, event, connected, lost, last: "", failures: 0, begun: 0, running: null });
  }

  /** Begins, or begins anew (with another key). */
  start() {
    this.stop();
    const mine = new AbortController();
    this.running = mine;
    this.follow(mine);
  }

  stop() {
    this.running?.abort();
    this.running = null;
  }

  async follow(mine) {
    while (this.running === mine) {
      let problem = null;
      try { await this.once(mine); } catch (error) { problem = error; }
      if (this.running !== mine) return;
      this.lost(problem);
      if (problem?.status === 401 || problem?.status === 403) { this.running = null; return; }
      const pause = PAUSES[Math.min(this.failures, PAUSES.length - 1)];
      this.failures += 1;
      await new Promise((done) => setTimeout(done, pause * (0.5 + Math.random() / 2)));
    }
  }

  async once(mine) {
    const line = new AbortController();
    const end = () => line.abort();
    mine.signal.addEventListener("abort", end);
    let quiet = setTimeout(end, QUIET_MS);
    try {
      const used = key();
      const asked = headers({ Accept: "text/event-stream", ...(this.last ? { "Last-Event-ID": this.last } : {}) });
      const answer = await fetch(this.path, { headers: asked, cache: "no-store", signal: line.signal });
      if (!answer.ok) throw await refusalOf(answer, used);
      this.failures = 0;
      this.connected(this.begun > 0);
      this.begun += 1;
      const parser = new Parser((found) => { this.last = found.id; this.event(found.event, JSON.parse(found.data)); });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(quiet);
        quiet = setTimeout(end, QUIET_MS);
        parser.feed(value);
      }
    } finally {
      clearTimeout(quiet);
      mine.signal.removeEventListener("abort", end);
    }
  }
}
