// The audit trail: who has accessed what, when, from where, and with which outcome.
import { html } from "../vendor/htm-preact-standalone.js";
import { Button } from "../components/buttons.js";
import { Dialog, openDialog } from "../components/dialogs.js";
import { Select, TextField } from "../components/fields.js";
import { Json, ListTable, usePages } from "../components/lists.js";
import { Page } from "../components/states.js";
import { formatExactly } from "../lib/format.js";
import { setParams } from "../lib/router.js";
import { hasText, t } from "../lib/texts.js";

const FILTERS = ["principal", "action", "outcome", "StudyInstanceUID", "client"];
const ACTIONS = ["read", "write", "delete", "export", "manageExtendedQueryTags", "audit", "administer"];
const OUTCOMES = ["OK", "PERMISSION_DENIED", "UNAUTHENTICATED", "NOT_FOUND", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "UNAVAILABLE"];
const DAY_MS = 86_400_000;
const PERIODS = { hour: DAY_MS / 24, day: DAY_MS, week: 7 * DAY_MS, month: 30 * DAY_MS };
const ROUND_MS = 60_000;

export default function Audit({ location }) {
  const given = Object.fromEntries(FILTERS.map((name) => [name, location.params.get(name) ?? ""]));
  const period = location.params.get("period") ?? "";
  const list = usePages("/audit", { isService: true, params: { ...given, startTime: startOf(period) } });
  const set = (name) => (value) => setParams({ [name]: value.trim() }, { replace: true });
  const columns = [
    { key: "time", title: t("list.time"), render: (row) => html`<span class="nowrap">${formatExactly(row.time)}</span>` },
    { key: "principal", title: t("audit.principal"), render: (row) => row.name || row.principal || "" },
    { key: "action", title: t("audit.action"), render: (row) => actionOf(row) },
    { key: "resource", title: t("list.resource"), isSecondary: true, render: (row) => html`<span class="mono break">${row.instance ?? row.series ?? row.study ?? ""}</span>` },
    { key: "outcome", title: t("audit.outcome"), render: (row) => html`<${Outcome} record=${row} />` },
    { key: "client", title: t("audit.client"), isSecondary: true, render: (row) => html`<span class="nowrap">${row.client ?? row.peer ?? ""}</span>` },
    { key: "actions", title: t("list.actions"), render: (row) => html`<${Button} kind="quiet" icon="info" label=${t("list.details")} onClick=${() => openDialog(Details, { record: row })} />` },
  ];
  return html`<${Page} title=${t("audit.title")} actions=${html`<${Button} icon="refresh" onClick=${list.reload}>${t("list.reload")}<//>`}>
    <p class="soft">${t("audit.text")}</p>
    <div class="card list-filters">
      <${Select} label=${t("audit.period")} value=${period} options=${[["", t("list.all")], ...Object.keys(PERIODS).map((each) => [each, t(`audit.period.${each}`)])]} onChange=${set("period")} />
      <${TextField} label=${t("audit.principal")} value=${given.principal} type="search" onChange=${set("principal")} />
      <${Select} label=${t("audit.action")} value=${given.action} options=${[["", t("list.all")], ...ACTIONS.map((each) => [each, t(`permission.${each}`)])]} onChange=${set("action")} />
      <${Select} label=${t("audit.outcome")} value=${given.outcome} options=${[["", t("list.all")], ...OUTCOMES.map((each) => [each, t(`audit.code.${each}`)])]} onChange=${set("outcome")} />
      <${TextField} label=${t("resource.uid")} value=${given.StudyInstanceUID} type="search" onChange=${set("StudyInstanceUID")} />
      <${TextField} label=${t("audit.client")} value=${given.client} type="search" onChange=${set("client")} />
    </div>
    <${ListTable} list=${list} caption=${t("audit.title")} columns=${columns} keyOf=${(row) => `${row.time} ${row.n} ${row.call}`} empty=${t("list.none")} />
  <//>`;
}

/** The beginning of a period, in whole minutes, so that it does not change with every rendering. */
function startOf(period) {
  if (!PERIODS[period]) return "";
  return new Date(Math.floor((Date.now() - PERIODS[period]) / ROUND_MS) * ROUND_MS).toISOString();
}

function actionOf(record) {
  const name = hasText(`permission.${record.action}`) ? t(`permission.${record.action}`) : (record.action ?? record.kind);
  return html`${name}${record.subtype && html` <span class="soft">${record.subtype}</span>`}`;
}

function Outcome({ record }) {
  if (record.kind === "executing") return html`<span class="badge">${t("audit.executing")}</span>`;
  const { code } = record;
  if (!code) return null;
  const name = hasText(`audit.code.${code}`) ? t(`audit.code.${code}`) : code;
  return html`<span class="badge ${code === "OK" ? "success" : "danger"}">${name}</span>${record.reason && html` <span class="soft break">${record.reason}</span>`}`;
}

function Details({ close, record }) {
  return html`<${Dialog} title=${t("audit.record")} close=${close} isWide=${true}><${Json} label=${t("audit.record")} value=${record} /><//>`;
}
