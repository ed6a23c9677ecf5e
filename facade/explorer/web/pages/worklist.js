// The worklist: workitems with their states, and the rules that create them.
import { html, useState } from "../vendor/htm-preact-standalone.js";
import { Button, LinkButton } from "../components/buttons.js";
import { Dialog, FormError, confirm, openDialog, useWork } from "../components/dialogs.js";
import { Select, TextArea, TextField } from "../components/fields.js";
import { Json, ListTable, usePages } from "../components/lists.js";
import { Failure, Page, useLoaded } from "../components/states.js";
import { Table } from "../components/table.js";
import { toast, toastError } from "../components/toasts.js";
import { getJson, request, sendJson } from "../lib/api.js";
import { textOf, valueOf } from "../lib/dicom.js";
import { formatDate, formatName, formatNumber, formatTime } from "../lib/format.js";
import { may } from "../lib/permissions.js";
import { href, setParams } from "../lib/router.js";
import { t } from "../lib/texts.js";

const STATE = "00741000";
const PRIORITY = "00741200";
const LABEL = "00741204";
const START = "00404005";
const STATES = ["SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"];
const KINDS = { SCHEDULED: "accent", "IN PROGRESS": "warning", COMPLETED: "success", CANCELED: "" };
const PRIORITIES = ["HIGH", "MEDIUM", "LOW"];
const DICOM_JSON = { Accept: "application/dicom+json" };

/** Attributes of a new workitem without a value (PS3.4 Table CC.2.5-3). */
const EMPTY = {
  DA: ["00100030"],
  CS: ["00100040"],
  LO: ["00100021", "00380010", "00081080"],
  SQ: "00100024 00101002 00380014 00081084 0040A370 00404018 00404021 00404025 00404026 00404027 00741210 00741002 00741216".split(" "),
  LT: ["00400400"],
  UI: ["00081195"],
};

export default function Worklist({ location }) {
  const isRules = location.segments[1] === "rules";
  return html`<${Page}
    title=${t(isRules ? "rules.title" : "worklist.title")}
    actions=${may("administer", "archive") && html`<${LinkButton} href=${href(isRules ? "/worklist" : "/worklist/rules")}>${t(isRules ? "worklist.title" : "rules.title")}<//>`}
  >
    ${isRules ? html`<${Rules} />` : html`<${Workitems} location=${location} />`}
  <//>`;
}

function Workitems({ location }) {
  const state = location.params.get("state") ?? "";
  const label = location.params.get("label") ?? "";
  const params = { limit: 50, ProcedureStepState: state, ProcedureStepLabel: label && `*${label}*`, includefield: "ProcedureStepLabel" };
  const list = usePages("/workitems", { params, headers: DICOM_JSON });
  const add = async () => (await openDialog(NewWorkitem)) && list.reload();
  const columns = [
    { key: "label", title: t("worklist.label"), render: (row) => textOf(row, LABEL) || t("worklist.unnamed") },
    { key: "patient", title: t("worklist.patient"), render: (row) => formatName(valueOf(row, "PatientName")) },
    { key: "state", title: t("worklist.state"), render: (row) => html`<${State} state=${textOf(row, STATE)} />` },
    { key: "priority", title: t("worklist.priority"), isSecondary: true, render: (row) => (textOf(row, PRIORITY) ? t(`worklist.priority.${textOf(row, PRIORITY)}`) : "") },
    { key: "start", title: t("worklist.start"), isSecondary: true, render: (row) => momentOf(textOf(row, START)) },
    { key: "actions", title: t("list.actions"), render: (row) => html`<${Actions} row=${row} reload=${list.reload} />` },
  ];
  return html`
    <div class="card list-filters">
      <${Select} label=${t("worklist.state")} value=${state} options=${[["", t("list.all")], ...STATES.map((each) => [each, t(`worklist.state.${each}`)])]} onChange=${(value) => setParams({ state: value })} />
      <${TextField} label=${t("worklist.label")} value=${label} type="search" onChange=${(value) => setParams({ label: value.trim() }, { replace: true })} />
      <div class="list-filters-end">
        <${Button} icon="refresh" onClick=${list.reload}>${t("list.reload")}<//>
        ${may("write") && html`<${Button} kind="primary" icon="plus" onClick=${add}>${t("worklist.add")}<//>`}
      </div>
    </div>
    <${ListTable} list=${list} caption=${t("worklist.title")} columns=${columns} keyOf=${(row) => textOf(row, "SOPInstanceUID")} empty=${t("worklist.empty")} />
  `;
}

const State = ({ state }) => html`<span class="badge ${KINDS[state] ?? ""}">${STATES.includes(state) ? t(`worklist.state.${state}`) : state}</span>`;

/** A DICOM date and time (VR DT). */
const momentOf = (value) => (value ? `${formatDate(value.slice(0, 8))} ${formatTime(value.slice(8))}` : "");

function Actions({ row, reload }) {
  const uid = textOf(row, "SOPInstanceUID");
  const cancel = async () => {
    const isSure = await confirm({ title: t("worklist.cancel.title"), text: t("worklist.cancel.text"), action: t("worklist.cancel"), isDanger: true });
    if (!isSure) return;
    try {
      await request(`/workitems/${uid}/cancelrequest`, { method: "POST", json: [{}], headers: DICOM_JSON });
      toast(t("worklist.cancelled"));
    } catch (error) {
      toastError(error);
    }
    reload();
  };
  return html`<div class="row-actions">
    <${Button} kind="quiet" icon="info" label=${t("list.details")} onClick=${() => openDialog(Details, { uid })} />
    ${may("write") && ["SCHEDULED", "IN PROGRESS"].includes(textOf(row, STATE)) && html`<${Button} kind="quiet" icon="close" label=${t("worklist.cancel")} onClick=${cancel} />`}
  </div>`;
}

function Details({ close, uid }) {
  const { value, error, reload } = useLoaded((signal) => getJson(`/workitems/${uid}`, { headers: DICOM_JSON, signal }), []);
  return html`<${Dialog} title=${t("worklist.item")} close=${close} isWide=${true}>
    ${error ? html`<${Failure} error=${error} retry=${reload} />` : html`<${Json} label=${t("worklist.item")} value=${value?.[0] ?? value} />`}
  <//>`;
}

function NewWorkitem({ close }) {
  const [label, setLabel] = useState("");
  const [priority, setPriority] = useState("MEDIUM");
  const [name, setName] = useState("");
  const [id, setId] = useState("");
  const { isBusy, error, run } = useWork();
  const create = async () => {
    const dataSet = {
      [PRIORITY]: { vr: "CS", Value: [priority] },
      [LABEL]: { vr: "LO", Value: [label.trim()] },
      "00404041": { vr: "CS", Value: ["READY"] },
      [START]: { vr: "DT", Value: [new Date().toISOString().slice(0, 19).replace(/\D/g, "")] },
      "00100010": { vr: "PN", ...(name.trim() && { Value: [{ Alphabetic: name.trim() }] }) },
      "00100020": { vr: "LO", ...(id.trim() && { Value: [id.trim()] }) },
    };
    for (const [vr, tags] of Object.entries(EMPTY)) for (const tag of tags) dataSet[tag] = { vr };
    const created = await run(() =>
      request(`/workitems?${newUid()}`, { method: "POST", json: [dataSet], headers: { ...DICOM_JSON, "Content-Type": "application/dicom+json" } }),
    );
    if (created) {
      toast(t("worklist.added"));
      close(true);
    }
  };
  return html`<${Dialog}
    title=${t("worklist.add")}
    close=${close}
    onSubmit=${create}
    actions=${html`<${Button} onClick=${() => close()}>${t("dialog.cancel")}<//>
      <${Button} kind="primary" type="submit" busy=${isBusy} disabled=${isBusy || !label.trim()}>${t("worklist.add")}<//>`}
  >
    <${TextField} label=${t("worklist.label")} value=${label} onChange=${setLabel} required maxlength="64" />
    <${Select} label=${t("worklist.priority")} value=${priority} onChange=${setPriority} options=${PRIORITIES.map((each) => [each, t(`worklist.priority.${each}`)])} />
    <${TextField} label=${t("worklist.patient")} hint=${t("worklist.patient.hint")} value=${name} onChange=${setName} maxlength="64" />
    <${TextField} label=${t("worklist.patient.id")} value=${id} onChange=${setId} maxlength="64" />
    <${FormError} error=${error} />
  <//>`;
}

/** A UID from 128 random bits (PS3.5 section B.2). */
function newUid() {
  let number = 0n;
  for (const word of crypto.getRandomValues(new Uint32Array(4))) number = (number << 32n) | BigInt(word);
  return `2.25.${number}`;
}

// ---------------------------------------------------------------------------------------------------------------------
// Rules

function Rules() {
  const { value, error, isLoading, reload } = useLoaded((signal) => getJson("/workitemrules", { isService: true, signal }), []);
  const edit = async (rule) => (await openDialog(RuleEditor, { rule })) && reload();
  const set = (rule, enabled) => sendJson(`/workitemrules/${rule.id}`, { enabled }, { method: "PATCH", isService: true }).then(reload, toastError);
  const remove = async (rule) => {
    const isSure = await confirm({ title: t("rules.remove.title"), text: t("rules.remove.text"), action: t("rules.remove"), isDanger: true });
    if (isSure) await request(`/workitemrules/${rule.id}`, { method: "DELETE", isService: true }).then(reload, toastError);
  };
  const columns = [
    { key: "label", title: t("rules.label"), render: (row) => row.label || row.id },
    { key: "query", title: t("rules.query"), isSecondary: true, render: (row) => html`<span class="mono break">${row.query || t("list.all")}</span>` },
    { key: "workitems", title: t("rules.workitems"), isNumber: true, render: (row) => formatNumber(row.workitems) },
    { key: "state", title: t("rules.state"), render: (row) => html`<${RuleState} rule=${row} />` },
    {
      key: "actions",
      title: t("list.actions"),
      render: (row) => html`<div class="row-actions">
        <${Button} onClick=${() => set(row, !row.enabled)}>${t(row.enabled ? "rules.disable" : "rules.enable")}<//>
        <${Button} kind="quiet" icon="edit" label=${t("rules.edit")} onClick=${() => edit(row)} />
        <${Button} kind="quiet" icon="trash" label=${t("rules.remove")} onClick=${() => remove(row)} />
      </div>`,
    },
  ];
  return html`
    <p class="soft">${t("rules.text")}</p>
    <div class="row-actions"><${Button} kind="primary" icon="plus" onClick=${() => edit(null)}>${t("rules.add")}<//></div>
    ${error
      ? html`<${Failure} error=${error} retry=${reload} />`
      : html`<${Table} caption=${t("rules.title")} columns=${columns} rows=${value ?? []} keyOf=${(row) => row.id} isLoading=${isLoading} empty=${t("rules.empty")} />`}
  `;
}

function RuleState({ rule }) {
  if (!rule.enabled) return html`<span class="badge">${t("rules.disabled")}</span>`;
  if (rule.waiting > 0) return html`<span class="badge danger">${t("rules.failing", { count: rule.waiting })}</span> <span class="soft">${rule.problem}</span>`;
  return html`<span class="badge success">${t("rules.working")}</span>`;
}

function RuleEditor({ close, rule }) {
  const [label, setLabel] = useState(rule?.label ?? "");
  const [query, setQuery] = useState(rule?.query ?? "");
  const [template, setTemplate] = useState(JSON.stringify(rule?.template ?? { [LABEL]: { vr: "LO", Value: [""] } }, null, 2));
  const { isBusy, error, run } = useWork();
  const save = async () => {
    const saved = await run(() => {
      const fields = { label: label.trim(), query: query.trim(), template: parsedTemplate(template) };
      return rule
        ? sendJson(`/workitemrules/${rule.id}`, fields, { method: "PATCH", isService: true })
        : sendJson("/workitemrules", fields, { isService: true });
    });
    if (saved) close(true);
  };
  return html`<${Dialog}
    title=${t(rule ? "rules.edit" : "rules.add")}
    close=${close}
    onSubmit=${save}
    isWide=${true}
    actions=${html`<${Button} onClick=${() => close()}>${t("dialog.cancel")}<//>
      <${Button} kind="primary" type="submit" busy=${isBusy} disabled=${isBusy}>${t("list.save")}<//>`}
  >
    <${TextField} label=${t("rules.label")} value=${label} onChange=${setLabel} />
    <${TextField} label=${t("rules.query")} hint=${t("rules.query.hint")} value=${query} onChange=${setQuery} spellcheck="false" />
    <${TextArea} label=${t("rules.template")} hint=${t("rules.template.hint")} value=${template} onChange=${setTemplate} rows=${8} spellcheck="false" class="mono" />
    <${FormError} error=${error} />
  <//>`;
}

function parsedTemplate(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(t("rules.template.invalid"));
  }
}
