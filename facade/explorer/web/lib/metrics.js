// The metrics of the service (Prometheus text format) as rates and quantiles between two readings.
import { ROOT } from "./session.js";

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** Read the metrics: `{ time, samples }`, samples by name. Raises: Error with the `status` of the response. */
export async function readMetrics(signal) {
  const response = await fetch(new URL("metrics", ROOT), { signal, headers: { Accept: "text/plain" } });
  if (!response.ok) throw Object.assign(new Error((await response.text()).slice(0, 300)), { status: response.status });
  return { time: performance.now(), samples: parsed(await response.text()) };
}

/** Samples by name: `{ labels, value }` each. */
export function parsed(text) {
  const samples = new Map();
  for (const line of text.split("\n")) {
    const found = line.startsWith("#") ? null : LINE.exec(line);
    if (!found) continue;
    const labels = Object.fromEntries([...(found[2] ?? "").matchAll(LABEL)].map(([, name, value]) => [name, value]));
    if (!samples.has(found[1])) samples.set(found[1], []);
    samples.get(found[1]).push({ labels, value: Number(found[3]) });
  }
  return samples;
}

const keyOf = ({ labels }) => JSON.stringify(Object.entries(labels).sort());

/** The growth of counters between two readings: `{ labels, value }`; a process that was started again begins at 0. */
function growth(before, after, name, isWanted) {
  const known = new Map((before.samples.get(name) ?? []).map((each) => [keyOf(each), each.value]));
  return (after.samples.get(name) ?? [])
    .filter(({ labels }) => isWanted(labels))
    .map((each) => {
      const start = known.get(keyOf(each)) ?? 0;
      return { labels: each.labels, value: each.value >= start ? each.value - start : each.value };
    });
}

/** The rate per second of a counter, of all processes and labels together. */
export function rateOf(before, after, name, isWanted = () => true) {
  const seconds = (after.time - before.time) / 1000;
  return growth(before, after, name, isWanted).reduce((sum, each) => sum + each.value, 0) / seconds;
}

/** A quantile of a histogram in the time between two readings, interpolated; null if nothing was observed. */
export function quantileOf(before, after, name, quantile, isWanted = () => true) {
  const byBound = new Map();
  for (const { labels, value } of growth(before, after, `${name}_bucket`, isWanted)) {
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    byBound.set(bound, (byBound.get(bound) ?? 0) + value);
  }
  const buckets = [...byBound].sort(([a], [b]) => a - b);
  const total = buckets.at(-1)?.[1] ?? 0;
  if (total === 0) return null;
  let [lower, below] = [0, 0];
  for (const [bound, count] of buckets) {
    if (count >= quantile * total) {
      if (bound === Infinity) return lower;
      return lower + ((bound - lower) * (quantile * total - below)) / (count - below || 1);
    }
    [lower, below] = [bound, count];
  }
  return lower;
}

/** The sum of a gauge over all processes. */
export const sumOf = (reading, name, isWanted = () => true) =>
  (reading.samples.get(name) ?? []).filter(({ labels }) => isWanted(labels)).reduce((sum, each) => sum + each.value, 0);
