// How numbers, times and predictions are written.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

export const count = (value) => (value < 1e6 ? whole.format(value) : short.format(value));
export const time = (ms) => clock.format(ms);

// To about four digits, since nobody reads more; what is a large number keeps its last whole digit.
export function number(value) {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size < 1) return new Intl.NumberFormat("en", { maximumSignificantDigits: 3 }).format(value);
  const digits = size >= 1000 ? 0 : size >= 100 ? 1 : 2;
  return new Intl.NumberFormat("en", { maximumFractionDigits: digits }).format(value);
}

export const percent = (share) => `${new Intl.NumberFormat("en", { maximumFractionDigits: share < 0.1 ? 1 : 0 }).format(share * 100)} %`;

export function milliseconds(ms) {
  if (ms < 1000) return [whole.format(ms), "ms"];
  if (ms < 120_000) return [number(ms / 1000), "s"];
  return [number(ms / 60_000), "min"];
}

export function ago(ms, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - ms) / 1000));
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return day.format(ms);
}

export function when(ms) {
  return Date.now() - ms < 43_200_000 ? clock.format(ms).slice(0, 5) : day.format(ms);
}

// A prediction as it stands in JSON: a number, a class, or a list of these.
export function prediction(json) {
  const value = parsed(json);
  if (typeof value === "number") return number(value);
  if (Array.isArray(value)) return value.map((item) => (typeof item === "number" ? number(item) : String(item))).join(", ");
  return typeof value === "string" ? value : json;
}

export function parsed(json) {
  try {
    return JSON.parse(json);
  } catch {
    return json;
  }
}

export function featuresLine(json) {
  const value = parsed(json);
  if (value === null) return "";
  if (typeof value !== "object") return String(value);
  return Object.entries(value)
    .map(([name, item]) => `${name} ${typeof item === "string" ? item : JSON.stringify(item)}`)
    .join(" · ");
}
