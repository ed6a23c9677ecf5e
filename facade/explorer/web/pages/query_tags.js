// Extended query tags: attributes by which studies can be searched, in addition to the standard ones.
import { html, useCallback, useState } from "../vendor/htm-preact-standalone.js";
import { Button } from "../components/buttons.js";
import { Dialog, FormError, confirm, openDialog, useWork } from "../components/dialogs.js";
import { Select, TextField } from "../components/fields.js";
import { useInterval } from "../components/lists.js";
import { Failure, Page, useLoaded } from "../components/states.js";
import { Table } from "../components/table.js";
import { toast, toastError } from "../components/toasts.js";
import { getJson, request, sendJson } from "../lib/api.js";
import { formatMoment, formatNumber } from "../lib/format.js";
import { titleOf } from "../lib/keywords.js";
import { may } from "../lib/permissions.js";
import { t } from "../lib/texts.js";

const REPRESENTATIONS = "AE AS CS DA DT FD FL IS LO PN SH SL SS TM UI UL US".split(" ");
const LEVELS = ["study", "series", "instance"];
const MOST = 128;
const POLL_MS = 2000;

export default function QueryTags() {
  const { value, error, isLoading, reload } = useLoaded(
    (signal) => getJson("/extendedquerytags", { isService: true, signal, params: { limit: MOST } }),
    [],
  );
  const rows = value ?? [];
  useInterval(useCallback(reload, []), POLL_MS, rows.some((row) => row.status !== "ready"));
  const add = async () => (await openDialog(NewTag)) && reload();
  const mayManage = may("manageExtendedQueryTags", "archive");
  const columns = [
    { key: "path", title: t("tags.attribute"), render: (row) => html`${row.keyword && html`<div>${titleOf(row.keyword)}</div>`}<span class="mono">(${row.path.slice(0, 4)},${row.path.slice(4)})</span> ${row.privateCreator && html`<span class="soft">${row.privateCreator}</span>`}` },
    { key: "vr", title: t("tags.vr"), isSecondary: true },
    { key: "level", title: t("tags.level"), render: (row) => t(`tags.level.${row.level}`) },
    { key: "status", title: t("tags.status"), render: (row) => html`<${Status} tag=${row} />` },
    { key: "errors", title: t("tags.errors"), isNumber: true, render: (row) => (row.errors ? html`<${Button} onClick=${() => openDialog(Errors, { tag: row })}>${formatNumber(row.errors.count)}<//>` : "0") },
    mayManage && { key: "actions", title: t("list.actions"), render: (row) => html`<${Actions} tag=${row} reload=${reload} />` },
  ].filter(Boolean);
  return html`<${Page} title=${t("tags.title")} actions=${mayManage && html`<${Button} kind="primary" icon="plus" onClick=${add}>${t("tags.add")}<//>`}>
    <p class="soft">${t("tags.text")}</p>
    ${error
      ? html`<${Failure} error=${error} retry=${reload} />`
      : html`<${Table} caption=${t("tags.title")} columns=${columns} rows=${rows} keyOf=${(row) => row.path} isLoading=${isLoading} empty=${t("tags.empty")} />`}
  <//>`;
}

function Status({ tag }) {
  if (tag.status !== "ready") return html`<span class="badge accent">${t("tags.status.adding")}</span>`;
  return tag.queryStatus === "disabled"
    ? html`<span class="badge warning">${t("tags.status.disabled")}</span>`
    : html`<span class="badge success">${t("tags.status.ready")}</span>`;
}

function Actions({ tag, reload }) {
  const set = (queryStatus) =>
    sendJson(`/extendedquerytags/${tag.path}`, { queryStatus }, { method: "PATCH", isService: true }).then(reload, toastError);
  const remove = async () => {
    const isSure = await confirm({ title: t("tags.remove.title"), text: t("tags.remove.text"), action: t("tags.remove"), isDanger: true });
    if (isSure) await request(`/extendedquerytags/${tag.path}`, { method: "DELETE", isService: true }).then(reload, toastError);
  };
  return html`<div class="row-actions">
    ${tag.queryStatus === "disabled"
      ? html`<${Button} onClick=${() => set("enabled")}>${t("tags.enable")}<//>`
      : html`<${Button} onClick=${() => set("disabled")}>${t("tags.disable")}<//>`}
    <${Button} kind="quiet" icon="trash" label=${t("tags.remove")} onClick=${remove} />
  </div>`;
}

function NewTag({ close }) {
  const [path, setPath] = useState("");
  const [vr, setVr] = useState("");
  const [level, setLevel] = useState("study");
  const [privateCreator, setCreator] = useState("");
  const { isBusy, error, run } = useWork();
  const add = async () => {
    const tag = { path: path.trim().replace(/[(),]/g, ""), level, ...(vr && { vr }), ...(privateCreator && { privateCreator }) };
    const started = await run(() => sendJson("/extendedquerytags", [tag], { isService: true }));
    if (started) {
      toast(t("tags.added"));
      close(true);
    }
  };
  return html`<${Dialog}
    title=${t("tags.add")}
    close=${close}
    onSubmit=${add}
    actions=${html`<${Button} onClick=${() => close()}>${t("dialog.cancel")}<//>
      <${Button} kind="primary" type="submit" busy=${isBusy} disabled=${isBusy || !path.trim()}>${t("tags.add")}<//>`}
  >
    <${TextField} label=${t("tags.attribute")} hint=${t("tags.attribute.hint")} value=${path} onChange=${setPath} required />
    <${Select} label=${t("tags.level")} value=${level} onChange=${setLevel} options=${LEVELS.map((each) => [each, t(`tags.level.${each}`)])} />
    <${Select} label=${t("tags.vr")} value=${vr} onChange=${setVr} options=${[["", t("tags.vr.dictionary")], ...REPRESENTATIONS.map((each) => [each, each])]} />
    <${TextField} label=${t("tags.creator")} hint=${t("tags.creator.hint")} value=${privateCreator} onChange=${setCreator} />
    <${FormError} error=${error} />
  <//>`;
}

function Errors({ close, tag }) {
  const { value, error, reload } = useLoaded((signal) => getJson(`/extendedquerytags/${tag.path}/errors`, { isService: true, signal }), []);
  const rows = value ?? [];
  const columns = [
    { key: "errorMessage", title: t("tags.errors") },
    { key: "createdTime", title: t("list.time"), isSecondary: true, render: (row) => formatMoment(row.createdTime) },
    { key: "sopInstanceUid", title: t("resource.sopInstanceUid"), render: (row) => html`<span class="mono break">${row.sopInstanceUid}</span>` },
  ];
  return html`<${Dialog} title=${t("tags.errors")} close=${close} isWide=${true}>
    ${error
      ? html`<${Failure} error=${error} retry=${reload} />`
      : html`<${Table} caption=${t("tags.errors")} columns=${columns} rows=${rows} keyOf=${(row) => `${row.sopInstanceUid} ${row.createdTime}`} empty=${t("list.none")} />`}
  <//>`;
}
