// Numbers and moments as people read them.

const UNITS = ["B", "KB", "MB", "GB", "TB", "PB"];

export function bytes(count) {
  if (count === null || count === undefined) return "–";
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) { value /= 1000; unit += 1; }
  return `${unit && value < 99.95 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

export function speed(rate) {
  return rate > 0 ? `${bytes(rate)}/s` : "–";
}

export function duration(seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return "–";
  if (seconds < 1) return "1 s";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

export function share(done, total) {
  return total ? Math.min(1, done / total) : 0;
}

export function percent(part) {
  return `${Math.floor(part * 100)} %`;
}

const CLOCK = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat([], { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** The time of a moment, with the day where that is not today. */
export function moment(at) {
  if (!at) return "–";
  const date = new Date(at);
  return (date.toDateString() === new Date().toDateString() ? CLOCK : DAY).format(date);
}

export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** How fast a growing number of bytes has grown within the last seconds. */
export class Speed {
  constructor(seconds = 6) { this.span = seconds * 1000; this.samples = []; }

  add(value, now = performance.now()) {
    const last = this.samples.at(-1);
    if (last && value < last[1]) this.samples = []; // it began again
    if (last && now - last[0] < 100) last[1] = value;
    else this.samples.push([now, value]);
    while (this.samples.length > 2 && now - this.samples[0][0] > this.span) this.samples.shift();
  }

  rate(now = performance.now()) {
    if (this.samples.length < 2) return 0;
    const [from, first] = this.samples[0];
    const last = this.samples.at(-1);
    if (now - last[0] > this.span) return 0;
    return ((last[1] - first) * 1000) / Math.max(1, last[0] - from);
  }
}
