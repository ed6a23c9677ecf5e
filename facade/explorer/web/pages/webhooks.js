// Webhooks: events that the archive sends, their state, and those that could not be delivered.
import { html, useCallback, useState } from "../vendor/htm-preact-standalone.js";
import { Button } from "../components/buttons.js";
import { Dialog, FormError, confirm, openDialog, useWork } from "../components/dialogs.js";
import { Checkbox, TextField } from "../components/fields.js";
import { Resource, useInterval } from "../components/lists.js";
import { Secret } from "../components/secret.js";
import { Failure, Page, useLoaded } from "../components/states.js";
import { Table } from "../components/table.js";
import { toast, toastError } from "../components/toasts.js";
import { getJson, request, sendJson } from "../lib/api.js";
import { formatAge, formatExactly, formatNumber } from "../lib/format.js";
import { t } from "../lib/texts.js";

const POLL_MS = 5000;

export default function Webhooks() {
  const { value, error, isLoading, reload } = useLoaded((signal) => getJson("/webhooks", { isService: true, signal }), []);
  useInterval(useCallback(reload, []), POLL_MS);
  const edit = async (webhook) => (await openDialog(Editor, { webhook })) && reload();
  const columns = [
    { key: "label", title: t("webhooks.receiver"), render: (row) => html`${row.label && html`<div>${row.label}</div>`}<span class="mono break">${row.url}</span>` },
    { key: "types", title: t("webhooks.types"), isSecondary: true, render: (row) => row.types.join(", ") || t("list.all") },
    { key: "state", title: t("webhooks.state"), render: (row) => html`<${State} webhook=${row} />` },
    { key: "waiting", title: t("webhooks.waiting"), isNumber: true, isSecondary: true, render: (row) => formatNumber(row.waiting) },
    { key: "dead", title: t("webhooks.dead"), isNumber: true, render: (row) => html`<${Button} disabled=${row.deadLetters === 0} onClick=${async () => { await openDialog(DeadLetters, { webhook: row }); reload(); }}>${formatNumber(row.deadLetters)}<//>` },
    { key: "actions", title: t("list.actions"), render: (row) => html`<${Actions} webhook=${row} edit=${edit} reload=${reload} />` },
  ];
  return html`<${Page} title=${t("webhooks.title")} actions=${html`<${Button} kind="primary" icon="plus" onClick=${() => edit(null)}>${t("webhooks.add")}<//>`}>
    <p class="soft">${t("webhooks.text")}</p>
    ${error
      ? html`<${Failure} error=${error} retry=${reload} />`
      : html`<${Table} caption=${t("webhooks.title")} columns=${columns} rows=${value ?? []} keyOf=${(row) => row.id} isLoading=${isLoading} empty=${t("webhooks.empty")} />`}
  <//>`;
}

function State({ webhook }) {
  if (!webhook.enabled) return html`<span class="badge">${t("webhooks.disabled")}</span>`;
  if (webhook.failures > 0) {
    return html`<span class="badge danger">${t("webhooks.failing", { count: webhook.failures })}</span> <span class="soft">${webhook.problem}</span>`;
  }
  return html`<span class="badge success">${t("webhooks.working")}</span>
    ${webhook.lastSuccess && html` <span class="soft" title=${formatExactly(webhook.lastSuccess)}>${formatAge(webhook.lastSuccess)}</span>`}`;
}

function Actions({ webhook, edit, reload }) {
  const path = `/webhooks/${webhook.id}`;
  const toggle = () => sendJson(path, { enabled: !webhook.enabled }, { method: "PATCH", isService: true }).then(reload, toastError);
  const remove = async () => {
    const isSure = await confirm({ title: t("webhooks.remove.title"), text: t("webhooks.remove.text"), action: t("webhooks.remove"), isDanger: true });
    if (isSure) await request(path, { method: "DELETE", isService: true }).then(reload, toastError);
  };
  return html`<div class="row-actions">
    <${Button} onClick=${toggle}>${t(webhook.enabled ? "webhooks.disable" : "webhooks.enable")}<//>
    <${Button} kind="quiet" icon="edit" label=${t("webhooks.edit")} onClick=${() => edit(webhook)} />
    <${Button} kind="quiet" icon="trash" label=${t("webhooks.remove")} onClick=${remove} />
  </div>`;
}

const listOf = (text) => text.split(/[\s,]+/).filter(Boolean);

function Editor({ close, webhook }) {
  const [url, setUrl] = useState(webhook?.url ?? "");
  const [label, setLabel] = useState(webhook?.label ?? "");
  const [types, setTypes] = useState(webhook?.types.join(", ") ?? "");
  const [partitions, setPartitions] = useState(webhook?.partitions.join(", ") ?? "");
  const [rotate, setRotate] = useState(false);
  const [secret, setSecret] = useState("");
  const { isBusy, error, run } = useWork();
  const title = t(webhook ? "webhooks.edit" : "webhooks.add");
  const save = async () => {
    const fields = { url: url.trim(), label: label.trim(), types: listOf(types), partitions: listOf(partitions) };
    const saved = await run(() =>
      webhook
        ? sendJson(`/webhooks/${webhook.id}`, { ...fields, ...(rotate && { rotateSecret: true }) }, { method: "PATCH", isService: true })
        : sendJson("/webhooks", fields, { isService: true }),
    );
    if (saved?.secret) setSecret(saved.secret);
    else if (saved) close(true);
  };
  if (secret) {
    return html`<${Dialog} title=${title} close=${() => close(true)} actions=${html`<${Button} kind="primary" onClick=${() => close(true)}>${t("secret.done")}<//>`}>
      <${Secret} label=${t("webhooks.secret")} value=${secret} />
    <//>`;
  }
  return html`<${Dialog}
    title=${title}
    close=${close}
    onSubmit=${save}
    actions=${html`<${Button} onClick=${() => close()}>${t("dialog.cancel")}<//>
      <${Button} kind="primary" type="submit" busy=${isBusy} disabled=${isBusy || !url.trim()}>${t("list.save")}<//>`}
  >
    <${TextField} label=${t("webhooks.url")} type="url" value=${url} onChange=${setUrl} placeholder="https://" required />
    <${TextField} label=${t("webhooks.label")} value=${label} onChange=${setLabel} />
    <${TextField} label=${t("webhooks.types")} hint=${t("webhooks.types.hint")} value=${types} onChange=${setTypes} />
    <${TextField} label=${t("webhooks.partitions")} hint=${t("webhooks.partitions.hint")} value=${partitions} onChange=${setPartitions} />
    ${webhook && html`<${Checkbox} label=${t("webhooks.rotate")} checked=${rotate} onChange=${setRotate} />`}
    <${FormError} error=${error} />
  <//>`;
}

function DeadLetters({ close, webhook }) {
  const path = `/webhooks/${webhook.id}/deadletters`;
  const { value, error, isLoading, reload } = useLoaded((signal) => getJson(path, { isService: true, signal }), []);
  const retry = (params) =>
    request(`${path}/$retry`, { method: "POST", isService: true, params }).then(() => {
      toast(t("webhooks.retried"));
      reload();
    }, toastError);
  const clear = async () => {
    const isSure = await confirm({ title: t("webhooks.clear.title"), text: t("webhooks.clear.text"), action: t("webhooks.clear"), isDanger: true });
    if (isSure) await request(path, { method: "DELETE", isService: true }).then(reload, toastError);
  };
  const columns = [
    { key: "type", title: t("webhooks.event"), render: (row) => row.type.replace(/^(dicomstore|Microsoft\.HealthcareApis)\./, "") },
    { key: "resource", title: t("list.resource"), render: (row) => html`<${Resource} row=${row} />` },
    { key: "problem", title: t("webhooks.problem") },
    { key: "attempts", title: t("webhooks.attempts"), isNumber: true, isSecondary: true },
    { key: "deadTime", title: t("list.time"), isSecondary: true, render: (row) => formatAge(row.deadTime) },
    { key: "actions", title: t("list.actions"), render: (row) => html`<${Button} onClick=${() => retry({ id: row.id })}>${t("webhooks.retry")}<//>` },
  ];
  return html`<${Dialog}
    title=${t("webhooks.dead")}
    close=${close}
    isWide=${true}
    actions=${html`<${Button} kind="danger" onClick=${clear}>${t("webhooks.clear")}<//><${Button} kind="primary" onClick=${() => retry({})}>${t("webhooks.retry.all")}<//>`}
  >
    <p class="soft">${t("webhooks.dead.text")}</p>
    ${error
      ? html`<${Failure} error=${error} retry=${reload} />`
      : html`<${Table} caption=${t("webhooks.dead")} columns=${columns} rows=${value ?? []} keyOf=${(row) => row.id} isLoading=${isLoading} empty=${t("list.none")} />`}
  <//>`;
}
