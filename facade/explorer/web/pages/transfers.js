// Transfers: what the DIMSE gateway retrieves from other systems and sends to them, and what has failed.
import { html, useCallback } from "../vendor/htm-preact-standalone.js";
import { Button } from "../components/buttons.js";
import { confirm, openDialog, Dialog } from "../components/dialogs.js";
import { Select, TextField } from "../components/fields.js";
import { Json, ListTable, Resource, useInterval, usePages } from "../components/lists.js";
import { Page } from "../components/states.js";
import { toast, toastError } from "../components/toasts.js";
import { request } from "../lib/api.js";
import { formatAge, formatExactly } from "../lib/format.js";
import { may } from "../lib/permissions.js";
import { setParams } from "../lib/router.js";
import { hasText, t } from "../lib/texts.js";

const STATES = ["waiting", "running", "succeeded", "failed", "canceled"];
const UNFINISHED = ["waiting", "running"];
const REPEATABLE = ["waiting", "failed", "canceled"];
const KINDS = { waiting: "", running: "accent", succeeded: "success", failed: "danger", canceled: "warning" };
const POLL_MS = 3000;
const SHOWN = 3;

export default function Transfers({ location }) {
  const state = location.params.get("state") ?? "";
  const remote = location.params.get("remote") ?? "";
  const list = usePages("/transfers", { params: { state, remote } });
  useInterval(useCallback(list.reload, []), POLL_MS, list.items.some((each) => UNFINISHED.includes(each.state)));
  const columns = [
    { key: "type", title: t("transfers.type"), render: (row) => html`<span class="nowrap">${named(`transfers.type.${row.type}`, row.type)}</span> <span class="soft">${row.rule}</span>` },
    { key: "remote", title: t("transfers.remote") },
    { key: "work", title: t("list.resource"), isSecondary: true, render: (row) => html`<${Work} transfer=${row} />` },
    { key: "state", title: t("transfers.state"), render: (row) => html`<${State} transfer=${row} />` },
    { key: "progress", title: t("transfers.progress"), isSecondary: true, render: progressOf },
    { key: "created", title: t("transfers.created"), isSecondary: true, render: (row) => html`<span title=${formatExactly(row.created)}>${formatAge(row.created)}</span>` },
    { key: "actions", title: t("list.actions"), render: (row) => html`<${Actions} transfer=${row} reload=${list.reload} />` },
  ];
  return html`<${Page} title=${t("transfers.title")} actions=${html`<${Button} icon="refresh" onClick=${list.reload}>${t("list.reload")}<//>`}>
    <p class="soft">${t("transfers.text")}</p>
    <div class="card list-filters">
      <${Select} label=${t("transfers.state")} value=${state} options=${[["", t("list.all")], ...STATES.map((each) => [each, t(`transfers.state.${each}`)])]} onChange=${(value) => setParams({ state: value })} />
      <${TextField} label=${t("transfers.remote")} value=${remote} type="search" onChange=${(value) => setParams({ remote: value.trim() }, { replace: true })} />
    </div>
    <${ListTable} list=${list} caption=${t("transfers.title")} columns=${columns} keyOf=${(row) => row.id} empty=${t("transfers.empty")} />
  <//>`;
}

const named = (key, otherwise) => (hasText(key) ? t(key) : otherwise);

/** The first resources of a transfer, or the names of its search keys: their values may be those of patients. */
function Work({ transfer }) {
  const keys = Object.keys(transfer.keys ?? {});
  if (keys.length > 0) return keys.join(", ");
  const resources = transfer.resources ?? [];
  return html`${resources.slice(0, SHOWN).map((path) => {
    const [studyInstanceUid, seriesInstanceUid, sopInstanceUid] = path.split("/");
    const row = { studyInstanceUid, seriesInstanceUid, sopInstanceUid, partitionName: transfer.partition };
    return html`<${Resource} key=${path} row=${row} isLink=${transfer.type !== "pull"} />`;
  })}${resources.length > SHOWN && html` <span class="soft">+ ${resources.length - SHOWN}</span>`}`;
}

function State({ transfer }) {
  const { state, problem, nextAttempt } = transfer;
  return html`<span class="badge ${KINDS[state] ?? ""}">${named(`transfers.state.${state}`, state)}</span>
    ${problem && html` <span class="soft break">${problem}</span>`}
    ${state === "waiting" && new Date(nextAttempt) > new Date() && html` <span class="soft">${t("transfers.next", { age: formatAge(nextAttempt) })}</span>`}`;
}

function progressOf({ total, completed, failed }) {
  const done = total > 0 ? t("transfers.of", { completed, total }) : "";
  return failed > 0 ? `${done} (${t("transfers.failed", { count: failed })})` : done;
}

function Actions({ transfer, reload }) {
  const { id, state } = transfer;
  const retry = () =>
    request(`/transfers/${id}/$retry`, { method: "POST", isService: true }).then(() => {
      toast(t("transfers.retried"));
      reload();
    }, toastError);
  const cancel = async () => {
    const isSure = await confirm({ title: t("transfers.cancel.title"), text: t("transfers.cancel.text"), action: t("transfers.cancel"), isDanger: true });
    if (isSure) await request(`/transfers/${id}`, { method: "DELETE", isService: true }).then(reload, toastError);
  };
  const mayChange = may("export", "anywhere");
  return html`<div class="row-actions">
    ${mayChange && REPEATABLE.includes(state) && html`<${Button} icon="refresh" onClick=${retry}>${t("transfers.retry")}<//>`}
    <${Button} kind="quiet" icon="info" label=${t("list.details")} onClick=${() => openDialog(Details, { transfer })} />
    ${mayChange && UNFINISHED.includes(state) && html`<${Button} kind="quiet" icon="close" label=${t("transfers.cancel")} onClick=${cancel} />`}
  </div>`;
}

function Details({ close, transfer }) {
  return html`<${Dialog} title=${t("transfers.title")} close=${close} isWide=${true}><${Json} label=${t("transfers.title")} value=${transfer} /><//>`;
}
