// Operations: work that continues in the archive, with progress, results and errors.
import { html, useCallback } from "../vendor/htm-preact-standalone.js";
import { Button } from "../components/buttons.js";
import { Dialog, confirm, openDialog } from "../components/dialogs.js";
import { Select } from "../components/fields.js";
import { Facts, ListTable, Resource, useInterval, usePages } from "../components/lists.js";
import { Page, useLoaded } from "../components/states.js";
import { Table } from "../components/table.js";
import { toastError } from "../components/toasts.js";
import { getJson, getPage, request } from "../lib/api.js";
import { formatAge, formatExactly } from "../lib/format.js";
import { may } from "../lib/permissions.js";
import { setParams } from "../lib/router.js";
import { hasText, t } from "../lib/texts.js";

const UNFINISHED = ["notStarted", "running"];
const STATES = ["running", "succeeded", "failed", "canceled"];
const KINDS = { running: "accent", notStarted: "", succeeded: "success", failed: "danger", canceled: "warning" };
/** The action that starting and cancelling an operation requires. */
const ACTIONS = { reindex: "manageExtendedQueryTags", update: "write", export: "export", import: "administer", move: "administer" };
const POLL_MS = 2000;

export default function Operations({ location }) {
  const status = location.params.get("status") ?? "";
  const list = usePages("/operations", { isService: true, params: { status: status === "running" ? UNFINISHED.join(",") : status } });
  const isBusy = list.items.some((each) => UNFINISHED.includes(each.status));
  useInterval(useCallback(list.reload, []), POLL_MS, isBusy);
  const columns = [
    { key: "type", title: t("operations.type"), render: (row) => typeOf(row.type) },
    { key: "created", title: t("operations.created"), isSecondary: true, render: (row) => html`<span title=${formatExactly(row.createdTime)}>${formatAge(row.createdTime)}</span>` },
    { key: "status", title: t("operations.status"), render: (row) => html`<${State} operation=${row} />` },
    { key: "actions", title: t("list.actions"), render: (row) => html`<${Actions} operation=${row} reload=${list.reload} />` },
  ];
  return html`<${Page} title=${t("operations.title")} actions=${html`<${Button} icon="refresh" onClick=${list.reload}>${t("list.reload")}<//>`}>
    <div class="card list-filters">
      <${Select}
        label=${t("operations.status")}
        value=${status}
        options=${[["", t("list.all")], ...STATES.map((each) => [each, t(`operations.state.${each}`)])]}
        onChange=${(value) => setParams({ status: value })}
      />
    </div>
    <${ListTable} list=${list} caption=${t("operations.title")} columns=${columns} keyOf=${(row) => row.operationId} empty=${t("operations.empty")} />
  <//>`;
}

const typeOf = (type) => (hasText(`operations.type.${type}`) ? t(`operations.type.${type}`) : type);

function State({ operation }) {
  const { status, percentComplete } = operation;
  const name = hasText(`operations.state.${status}`) ? t(`operations.state.${status}`) : status;
  return html`<span class="badge ${KINDS[status] ?? ""}">${name}</span>
    ${UNFINISHED.includes(status) &&
    html`<div class="inline-progress">
      <progress max="100" value=${percentComplete} aria-label=${t("operations.progress")}></progress><span>${percentComplete} %</span>
    </div>`}`;
}

function Actions({ operation, reload }) {
  const cancel = async () => {
    const isSure = await confirm({ title: t("operations.cancel.title"), text: t("operations.cancel.text"), action: t("operations.cancel"), isDanger: true });
    if (!isSure) return;
    await request(`/operations/${operation.operationId}`, { method: "DELETE", isService: true }).then(reload, toastError);
  };
  return html`<div class="row-actions">
    <${Button} kind="quiet" icon="info" label=${t("list.details")} onClick=${() => openDialog(Details, { operation })} />
    ${UNFINISHED.includes(operation.status) && may(ACTIONS[operation.type] ?? "administer", "anywhere") && html`<${Button} kind="quiet" icon="close" label=${t("operations.cancel")} onClick=${cancel} />`}
  </div>`;
}

function Details({ close, operation }) {
  const { value } = useLoaded((signal) => getJson(`/operations/${operation.operationId}`, { isService: true, signal }), []);
  const errors = useLoaded((signal) => getPage(`/operations/${operation.operationId}/errors`, { isService: true, signal, accepted: [404] }), []);
  const shown = value ?? operation;
  const rows = Array.isArray(errors.value?.items) ? errors.value.items : [];
  const columns = [
    { key: "message", title: t("operations.error"), render: (row) => row.message || row.reason },
    { key: "resource", title: t("list.resource"), render: (row) => (row.studyInstanceUid ? html`<${Resource} row=${row} />` : (row.item ?? "")) },
  ];
  return html`<${Dialog} title=${typeOf(shown.type)} close=${close} isWide=${true}>
    <${Facts} facts=${[
      [t("operations.id"), html`<span class="mono">${shown.operationId}</span>`],
      [t("operations.status"), html`<${State} operation=${shown} />`],
      [t("operations.created"), formatExactly(shown.createdTime)],
      [t("operations.updated"), formatExactly(shown.lastUpdatedTime)],
      ...Object.entries(shown.results ?? {}).filter(([, each]) => typeof each !== "object").map(([name, each]) => [wordsOf(name), String(each)]),
      [t("operations.errors"), (shown.errors ?? shown.results?.errors ?? []).join(" ")],
    ]} />
    ${rows.length > 0 && html`<${Table} caption=${t("operations.failed")} columns=${columns} rows=${rows} keyOf=${(row) => rows.indexOf(row)} empty="" />`}
  <//>`;
}

/** "instanceUpdated" as "instance updated": names of numbers in results. */
const wordsOf = (name) => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
