// How numbers and moments are written. Money is exact: whole nano-USD below 2^53, never rounded.

const LOCALE = "en-US";
const whole = new Intl.NumberFormat(LOCALE);
const compact = new Intl.NumberFormat(LOCALE, { notation: "compact", maximumFractionDigits: 1 });

export const number = (value) => whole.format(value);
export const short = (value) => {
  if (Math.abs(value) < 10) return String(Number(value.toFixed(1)));
  return Math.abs(value) < 10_000 ? whole.format(Math.round(value)) : compact.format(value);
};

/** Nano-USD, as a whole number or as digits, in dollars to the last nano: $1.50, $0.000000042. */
export function usd(nano) {
  const value = BigInt(nano);
  const size = value < 0n ? -value : value;
  const fraction = (size % 1_000_000_000n).toString().padStart(9, "0").replace(/0+$/, "").padEnd(2, "0");
  return `${value < 0n ? "−" : ""}$${whole.format(size / 1_000_000_000n)}.${fraction}`;
}

/** The same as a form's field has it: digits and a point, as `nanoOf` reads it. */
export const dollars = (nano) => usd(nano).slice(1).replaceAll(",", "");

/** Dollars as nano-USD, or null where it is no amount: at most nine decimals. */
export function nanoOf(text) {
  const match = /^\s*(-?)\$?(\d{1,7})(?:\.(\d{1,9}))?\s*$/.exec(text);
  if (!match) return null;
  const nano = BigInt(match[2]) * 1_000_000_000n + BigInt((match[3] ?? "").padEnd(9, "0") || "0");
  return Number(nano) * (match[1] ? -1 : 1);
}

export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 120_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 60_000)} min`;
}

export const percent = (share) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
export const day = (date) => date.toISOString().slice(0, 10);
export const moment = (iso) => new Date(iso).toISOString().replace("T", " ").replace(/\.?\d*Z$/, " UTC");
export const unix = (seconds) => (seconds ? moment(seconds * 1000) : "–");

/** From now until then, in words. */
export function until(iso) {
  const s = Math.max(0, (new Date(iso) - Date.now()) / 1000);
  if (s < 1) return "now";
  if (s < 120) return `in ${Math.ceil(s)} s`;
  if (s < 7200) return `in ${Math.round(s / 60)} min`;
  return s < 172_800 ? `in ${Math.round(s / 3600)} h` : `in ${Math.round(s / 86_400)} days`;
}

/** A line of CSV, as the command line writes it. */
export function csvLine(values) {
  return `${values.map((v) => (/[",\r\n]/.test(String(v)) ? `"${String(v).replaceAll('"', '""')}"` : v)).join(",")}\n`;
}
