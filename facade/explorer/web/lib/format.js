// How values are shown to people.
const LANGUAGE = "en";
const number = new Intl.NumberFormat(LANGUAGE);
const day = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeZone: "UTC" });
const moment = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeStyle: "short" });
const exact = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "medium", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(LANGUAGE, { numeric: "auto" });
const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];
const STEPS = [
  [60, "second", 1],
  [3600, "minute", 60],
  [86_400, "hour", 3600],
  [30 * 86_400, "day", 86_400],
];

/** A number with separators of thousands. */
export const formatNumber = (value) => number.format(value);

/** A size: 1.5 MB. */
export function formatBytes(bytes) {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${number.format(unit && value < 10 ? Math.round(value * 10) / 10 : Math.round(value))} ${UNITS[unit]}`;
}

/** A DICOM date (VR DA); a value that is none is returned as it is. */
export function formatDate(value) {
  const found = /^(\d{4})(\d{2})(\d{2})$/.exec(value ?? "");
  return found ? day.format(new Date(Date.UTC(found[1], found[2] - 1, found[3]))) : (value ?? "");
}

/** A DICOM time (VR TM): 14:05. */
export function formatTime(value) {
  const found = /^(\d{2})(\d{2})/.exec(value ?? "");
  return found ? `${found[1]}:${found[2]}` : (value ?? "");
}

/** A time of the API (RFC 3339) in the time zone of the browser. */
export const formatMoment = (value) => (value ? moment.format(new Date(value)) : "");

/** The same with seconds. */
export const formatExactly = (value) => (value ? exact.format(new Date(value)) : "");

/** A time relative to now: 5 minutes ago. */
export function formatAge(value, now = Date.now()) {
  if (!value) return "";
  const seconds = (new Date(value).getTime() - now) / 1000;
  const step = STEPS.find(([limit]) => Math.abs(seconds) < limit);
  return step ? relative.format(Math.round(seconds / step[2]), step[1]) : formatMoment(value);
}

/** A person name (VR PN) in DICOM JSON: the family name first. */
export function formatName(value) {
  const text = typeof value === "string" ? value : (value?.Alphabetic ?? value?.Ideographic ?? value?.Phonetic ?? "");
  const [family = "", given = "", middle = "", prefix = "", suffix = ""] = text.split("^").map((part) => part.trim());
  const rest = [prefix, given, middle].filter(Boolean).join(" ");
  return [family, rest, suffix].filter(Boolean).join(", ");
}
