// Status: the health of the archive, and live plots of its metrics.
import { html, useCallback, useEffect, useRef, useState } from "../vendor/htm-preact-standalone.js";
import { Button } from "../components/buttons.js";
import { useInterval } from "../components/lists.js";
import { Plot } from "../components/plot.js";
import { Page, useLoaded } from "../components/states.js";
import { formatBytes, formatNumber } from "../lib/format.js";
import { quantileOf, rateOf, readMetrics, sumOf } from "../lib/metrics.js";
import { may } from "../lib/permissions.js";
import { ROOT } from "../lib/session.js";
import { hasText, t } from "../lib/texts.js";

const POLL_MS = 2000;
const SPAN_S = 300;
const KINDS = { Healthy: "success", Degraded: "warning", Unhealthy: "danger" };
const REQUESTS = "dicomstore_http_requests_total";
const DURATION = "dicomstore_http_request_duration_seconds";
const isOk = ({ result }) => result === "stored" || result === "replaced";
const isFailed = ({ status }) => status?.startsWith("5");
const isMonitoring = ({ route }) => route === "/metrics" || route === "/health/check";

export default function Status() {
  const health = useLoaded(healthOf, []);
  useInterval(useCallback(health.reload, []), 5 * POLL_MS);
  return html`<${Page} title=${t("status.title")} actions=${html`<${Button} icon="refresh" onClick=${health.reload}>${t("list.reload")}<//>`}>
    <${Health} ...${health} />
    ${may("monitor", "archive") ? html`<${Metrics} />` : html`<p class="card soft">${t("status.metrics.forbidden")}</p>`}
  <//>`;
}

function Health({ value, error }) {
  const status = error ? "Unhealthy" : value?.overallStatus;
  return html`<section class="card stack" aria-label=${t("status.health")}>
    <div class="section-head">
      <h2>${t("status.health")}</h2>
      <div role="status">${status && html`<span class="badge ${KINDS[status] ?? ""}">${t(`status.${status}`)}</span>`}</div>
    </div>
    ${error && html`<p class="form-error">${error.message}</p>`}
    <ul class="components">
      ${(value?.details ?? []).map(
        (each) => html`<li key=${each.name}>
          <span class="badge ${KINDS[each.status] ?? ""}">${t(`status.${each.status}`)}</span>
          <span>${hasText(`status.component.${each.name}`) ? t(`status.component.${each.name}`) : each.name}</span>
          ${each.status !== "Healthy" && html`<span class="soft">${each.description}</span>`}
        </li>`,
      )}
    </ul>
  </section>`;
}

async function healthOf(signal) {
  let response;
  try {
    response = await fetch(new URL("health/check", ROOT), { signal });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error(t("error.network"));
  }
  return response.json();
}

function Metrics() {
  const latest = useRef(null);
  const [state, setState] = useState({ points: [], reading: null, error: null });
  useEffect(() => {
    const abort = new AbortController();
    const read = async () => {
      if (document.hidden) return;
      try {
        const reading = await readMetrics(abort.signal);
        const previous = latest.current;
        latest.current = reading;
        setState(({ points }) => ({
          points: previous ? [...points.filter(({ time }) => reading.time - time < SPAN_S * 1000), pointOf(previous, reading)] : points,
          reading,
          error: null,
        }));
      } catch (error) {
        if (error.name !== "AbortError") setState((before) => ({ ...before, error }));
      }
    };
    read();
    const timer = setInterval(read, POLL_MS);
    return () => {
      abort.abort();
      clearInterval(timer);
    };
  }, []);
  const { points, reading, error } = state;
  if (error && points.length === 0) {
    return html`<p class="card soft">${error.status === 401 || error.status === 403 ? t("status.metrics.forbidden") : t("status.metrics.missing")}</p>`;
  }
  const now = points.at(-1)?.time ?? 0;
  const times = points.map(({ time }) => (now - time) / 1000);
  const line = (name, key) => ({ name, values: points.map((point) => point[key]) });
  const common = { times, span: SPAN_S };
  return html`
    <div class="plots">
      <${Plot} ...${common} title=${t("status.requests")} format=${perSecond} lines=${[line(t("status.requests.all"), "requests"), line(t("status.requests.failed"), "failed")]} />
      <${Plot} ...${common} title=${t("status.latency")} format=${formatSeconds} least=${0.01} lines=${[line(t("status.latency.median"), "median"), line(t("status.latency.slow"), "slow")]} />
      <${Plot} ...${common} title=${t("status.ingest")} format=${perSecond} lines=${[line(t("status.ingest.instances"), "instances")]} />
      <${Plot} ...${common} title=${t("status.bytes")} format=${bytesPerSecond} least=${1000} lines=${[line(t("status.bytes.stored"), "stored"), line(t("status.bytes.sent"), "sent")]} />
    </div>
    ${reading && html`<${Now} reading=${reading} />`}
  `;
}

function pointOf(before, after) {
  const isCounted = (labels) => !isMonitoring(labels);
  return {
    time: after.time,
    requests: rateOf(before, after, REQUESTS, isCounted),
    failed: rateOf(before, after, REQUESTS, (labels) => isCounted(labels) && isFailed(labels)),
    median: quantileOf(before, after, DURATION, 0.5, isCounted),
    slow: quantileOf(before, after, DURATION, 0.95, isCounted),
    instances: rateOf(before, after, "dicomstore_stored_instances_total", isOk),
    stored: rateOf(before, after, "dicomstore_stored_bytes_total"),
    sent: rateOf(before, after, "dicomstore_http_response_bytes_total"),
  };
}

function Now({ reading }) {
  const figures = [
    [t("status.now.requests"), formatNumber(sumOf(reading, "dicomstore_http_requests_in_progress"))],
    [t("status.now.operations"), formatNumber(sumOf(reading, "dicomstore_operations"))],
    [t("status.now.webhooks"), formatNumber(sumOf(reading, "dicomstore_webhook_events"))],
    [t("status.now.memory"), formatBytes(sumOf(reading, "dicomstore_process_resident_memory_bytes"))],
    [t("status.now.disk"), formatBytes(Math.max(0, ...(reading.samples.get("dicomstore_disk_free_bytes") ?? []).map((each) => each.value)))],
  ];
  return html`<dl class="figures card">${figures.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

const rounded = (value) => formatNumber(value < 10 ? Math.round(value * 10) / 10 : Math.round(value));
const perSecond = (value) => `${rounded(value)}/s`;
const bytesPerSecond = (value) => `${formatBytes(value)}/s`;
const formatSeconds = (value) => (value < 1 ? `${rounded(value * 1000)} ms` : `${rounded(value)} s`);
