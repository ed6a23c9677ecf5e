// Actions on one study or many: downloads, and dialogs that ask what they need to know and then do it.
import { html, useState } from "../../vendor/htm-preact-standalone.js";
import { Button } from "../../components/buttons.js";
import { Dialog, FormError, openDialog, useWork } from "../../components/dialogs.js";
import { Checkbox, Select, TextField } from "../../components/fields.js";
import { toast, toastError } from "../../components/toasts.js";
import { request, sendJson, urlOf } from "../../lib/api.js";
import { forEach } from "../../lib/batch.js";
import { formatMoment } from "../../lib/format.js";
import { finished } from "../../lib/operations.js";
import { navigate } from "../../lib/router.js";
import { t } from "../../lib/texts.js";

const DOWNLOAD_PAUSE_MS = 600;
const DAY_S = 86_400;

const pathOf = (study) => `/studies/${study}`;

/** A header value that fetch accepts, with the bytes of UTF-8 that the archive expects. */
const utf8 = (text) => String.fromCharCode(...new TextEncoder().encode(text));
const reasonHeaders = (reason) => (reason.trim() ? { "X-Dicomstore-Reason": utf8(reason.trim()) } : {});

/** The URL of a ZIP archive of a study, or of another resource. */
export const zipUrl = (path) => urlOf(path, { accept: "application/zip" });

/** Download a ZIP archive of each study; the browser may ask once whether it may download several files. */
export async function download(studies) {
  for (const study of studies) {
    const link = document.createElement("a");
    link.href = zipUrl(pathOf(study));
    link.download = `${study}.zip`;
    link.click();
    if (studies.length > 1) await new Promise((resolve) => setTimeout(resolve, DOWNLOAD_PAUSE_MS));
  }
  toast(t("download.started", { count: studies.length }), { kind: "info" });
}

/** Say how many resources were changed, and why others were not. */
function report(result, key) {
  if (result.done.length > 0) toast(t(key, { count: result.done.length }));
  if (result.failed.length > 0) {
    toast(t("batch.failed", { count: result.failed.length, reason: result.failed[0].error.message }), { kind: "error" });
  }
}

/** Restore deleted studies. */
export async function restore(studies) {
  report(await forEach(studies, (study) => request(`${pathOf(study)}/$undelete`, { method: "POST" })), "restore.done");
}

/** Ask and delete; resolves to the UIDs of deleted studies. `restored()` is called when the user has taken it back. */
export const askToDelete = (studies, restored) => openDialog(Deletion, { studies, restored });

function Deletion({ close, studies, restored }) {
  const [reason, setReason] = useState("");
  const [progress, setProgress] = useState(null);
  const run = async () => {
    setProgress(0);
    const remove = (study) => request(pathOf(study), { method: "DELETE", headers: reasonHeaders(reason) });
    const result = await forEach(studies, remove, { progress: setProgress });
    if (result.done.length > 0) {
      toast(t("delete.done", { count: result.done.length }), {
        action: { label: t("delete.undo"), run: () => restore(result.done).then(restored, toastError) },
      });
    }
    if (result.failed.length > 0) report({ done: [], failed: result.failed }, "delete.done");
    close(result.done);
  };
  return html`<${Dialog}
    title=${t("delete.title", { count: studies.length })}
    close=${close}
    onSubmit=${run}
    actions=${html`
      <${Button} onClick=${() => close()}>${t("dialog.cancel")}<//>
      <${Button} kind="danger" type="submit" icon="trash" disabled=${progress !== null}>${t("delete.action")}<//>
    `}
  >
    <p>${t("delete.text")}</p>
    <${TextField} label=${t("reason.label")} hint=${t("reason.hint")} maxlength="500" value=${reason} onChange=${setReason} data-autofocus />
    ${progress !== null && html`<progress max=${studies.length} value=${progress} aria-label=${t("batch.progress")}></progress>`}
  <//>`;
}

/** Ask for labels and set or remove them. */
export const askForLabels = (studies) => openDialog(Labelling, { studies });

const LABEL_NAME = "[A-Za-z0-9][A-Za-z0-9._\\-]{0,62}";

function Labelling({ close, studies }) {
  const [name, setName] = useState("");
  const [value, setValue] = useState("");
  const [isRemoval, setRemoval] = useState(false);
  const { isBusy, error, run } = useWork();
  const submit = () =>
    run(async () => {
      const change = (study) => sendJson(`${pathOf(study)}/labels`, { [name]: isRemoval ? null : value }, { method: "PATCH" });
      report(await forEach(studies, change), isRemoval ? "label.removed" : "label.done");
      close(true);
    });
  return html`<${Dialog}
    title=${t("label.title", { count: studies.length })}
    close=${close}
    onSubmit=${submit}
    actions=${html`
      <${Button} onClick=${() => close()}>${t("dialog.cancel")}<//>
      <${Button} kind="primary" type="submit" disabled=${isBusy}>${isRemoval ? t("label.remove") : t("label.action")}<//>
    `}
  >
    <div class="form-row">
      <${TextField} label=${t("label.name")} hint=${t("label.hint")} value=${name} onChange=${setName} pattern=${LABEL_NAME} required data-autofocus />
      ${!isRemoval && html`<${TextField} label=${t("label.value")} value=${value} onChange=${setValue} maxlength="256" />`}
    </div>
    <${Checkbox} label=${t("label.isRemoval")} checked=${isRemoval} onChange=${setRemoval} />
    <${FormError} error=${error} />
  <//>`;
}

/** Ask for the lifetime of links, and show them. `paths` are those of studies, series or instances. */
export const askToShare = (paths) => openDialog(Sharing, { paths });

function Sharing({ close, paths }) {
  const [days, setDays] = useState("7");
  const [label, setLabel] = useState("");
  const [links, setLinks] = useState(null);
  const { isBusy, error, run } = useWork();
  const submit = () =>
    run(async () => {
      const made = [];
      const share = async (path) => {
        made.push(await sendJson(`${path}/$share`, { expiresInSeconds: Number(days) * DAY_S, ...(label && { label }) }));
      };
      const result = await forEach(paths, share);
      if (result.failed.length > 0 && made.length === 0) throw result.failed[0].error;
      if (result.failed.length > 0) report({ done: [], failed: result.failed }, "share.done");
      setLinks(made);
    });
  if (links) {
    const text = links.map((link) => link.url).join("\n");
    return html`<${Dialog}
      title=${t("share.created", { count: links.length })}
      close=${close}
      actions=${html`
        <${Button} onClick=${() => close(true)}>${t("dialog.close")}<//>
        <${Button}
          kind="primary"
          icon="copy"
          data-autofocus
          onClick=${() => navigator.clipboard.writeText(text).then(() => toast(t("copy.done")), () => toast(t("copy.failed"), { kind: "error" }))}
        >${t("copy.action")}<//>
      `}
    >
      <p>${t("share.warning", { until: formatMoment(links[0].expiresTime) })}</p>
      ${links.map((link) => html`<input key=${link.id} class="mono" readonly aria-label=${t("share.url")} value=${link.url} onFocus=${(event) => event.target.select()} />`)}
    <//>`;
  }
  const choices = ["1", "7", "30", "90"].map((each) => [each, t("share.days", { count: Number(each) })]);
  return html`<${Dialog}
    title=${t("share.title", { count: paths.length })}
    close=${close}
    onSubmit=${submit}
    actions=${html`
      <${Button} onClick=${() => close()}>${t("dialog.cancel")}<//>
      <${Button} kind="primary" type="submit" icon="share" disabled=${isBusy}>${t("share.action")}<//>
    `}
  >
    <p>${t("share.text")}</p>
    <div class="form-row">
      <${Select} label=${t("share.lifetime")} value=${days} options=${choices} onChange=${setDays} />
      <${TextField} label=${t("share.label")} hint=${t("share.labelHint")} value=${label} onChange=${setLabel} maxlength="64" />
    </div>
    <${FormError} error=${error} />
  <//>`;
}

const UPDATES = [
  ["PatientName", "00100010", "PN"],
  ["PatientID", "00100020", "LO"],
  ["PatientBirthDate", "00100030", "DA"],
  ["PatientSex", "00100040", "CS"],
  ["AccessionNumber", "00080050", "SH"],
  ["StudyDescription", "00081030", "LO"],
  ["ReferringPhysicianName", "00080090", "PN"],
];

/** Ask for new values of attributes, and start an operation that changes the studies. */
export const askToUpdate = (studies) => openDialog(Update, { studies });

function Update({ close, studies }) {
  const [values, setValues] = useState({});
  const [reason, setReason] = useState("");
  const { isBusy, error, run } = useWork();
  const changed = UPDATES.filter(([name]) => values[name]?.trim());
  const submit = () =>
    run(async () => {
      const value = (name, vr) => {
        const text = values[name].trim();
        if (vr === "PN") return { Alphabetic: text };
        return vr === "DA" ? text.replaceAll("-", "") : text;
      };
      const changeDataset = Object.fromEntries(changed.map(([name, tag, vr]) => [tag, { vr, Value: [value(name, vr)] }]));
      const started = await sendJson("/studies/$bulkUpdate", { studyInstanceUids: studies, changeDataset }, { headers: reasonHeaders(reason) });
      toast(t("update.started"), { kind: "info" });
      finished(started.id).then((operation) => {
        const isDone = operation.status === "succeeded";
        toast(isDone ? t("update.done", { count: operation.results?.studyUpdated ?? studies.length }) : t("update.failed"), { kind: isDone ? "success" : "error" });
      }, toastError);
      close(true);
    });
  return html`<${Dialog}
    title=${t("update.title", { count: studies.length })}
    close=${close}
    onSubmit=${submit}
    isWide
    actions=${html`
      <${Button} onClick=${() => close()}>${t("dialog.cancel")}<//>
      <${Button} kind="primary" type="submit" disabled=${isBusy || changed.length === 0}>${t("update.action")}<//>
    `}
  >
    <p>${t("update.text")}</p>
    <div class="form-row">
      ${UPDATES.map(
        ([name, , vr]) => html`<${TextField}
          key=${name}
          label=${t(`studies.filter.${name}`)}
          type=${vr === "DA" ? "date" : "text"}
          value=${values[name] ?? ""}
          placeholder=${vr === "PN" ? t("update.nameExample") : ""}
          onChange=${(value) => setValues({ ...values, [name]: value })}
        />`,
      )}
    </div>
    <${TextField} label=${t("reason.label")} hint=${t("reason.hint")} maxlength="500" value=${reason} onChange=${setReason} />
    <${FormError} error=${error} />
  <//>`;
}

/** Ask for a remote, and create a transfer that sends the studies there. */
export const askToSend = (studies) => openDialog(Sending, { studies });

function Sending({ close, studies }) {
  const [remote, setRemote] = useState("");
  const { isBusy, error, run } = useWork();
  const submit = () =>
    run(async () => {
      await sendJson("/transfers", { type: "send", remote: remote.trim(), resources: studies });
      toast(t("send.started"), { action: { label: t("transfers.title"), run: () => navigate("/transfers") } });
      close(true);
    });
  return html`<${Dialog}
    title=${t("send.title", { count: studies.length })}
    close=${close}
    onSubmit=${submit}
    actions=${html`
      <${Button} onClick=${() => close()}>${t("dialog.cancel")}<//>
      <${Button} kind="primary" type="submit" icon="transfer" disabled=${isBusy || !remote.trim()}>${t("send.action")}<//>
    `}
  >
    <p>${t("send.text")}</p>
    <${TextField} label=${t("transfers.remote")} hint=${t("send.hint")} value=${remote} onChange=${setRemote} required data-autofocus />
    <${FormError} error=${error} />
  <//>`;
}

/** Ask for a reason, and put a study on hold. */
export const askToHold = (study) => openDialog(Holding, { study });

function Holding({ close, study }) {
  const [reason, setReason] = useState("");
  const { isBusy, error, run } = useWork();
  const submit = () =>
    run(async () => {
      await sendJson(`${pathOf(study)}/hold`, { reason: reason.trim() }, { method: "PUT" });
      toast(t("hold.done"), { action: { label: t("holds.title"), run: () => navigate("/holds") } });
      close(true);
    });
  return html`<${Dialog}
    title=${t("hold.title")}
    close=${close}
    onSubmit=${submit}
    actions=${html`
      <${Button} onClick=${() => close()}>${t("dialog.cancel")}<//>
      <${Button} kind="primary" type="submit" icon="hold" disabled=${isBusy || !reason.trim()}>${t("action.hold")}<//>
    `}
  >
    <p>${t("holds.text")}</p>
    <${TextField} label=${t("list.reason")} maxlength="500" value=${reason} onChange=${setReason} required data-autofocus />
    <${FormError} error=${error} />
  <//>`;
}

const DESTINATIONS = {
  folder: [["path"]],
  s3: [["bucket"], ["prefix", { required: false }], ["region", { required: false }], ["endpoint", { required: false }], ["accessKeyId"], ["secretAccessKey", { type: "password" }]],
  azureBlob: [["blobContainerUri", { type: "password" }]],
  gcs: [["bucket"], ["prefix", { required: false }], ["serviceAccountKey", { type: "password" }]],
};

/** Ask for a destination, and start an operation that copies the studies there. */
export const askToExport = (studies) => openDialog(Export, { studies });

function Export({ close, studies }) {
  const [type, setType] = useState("folder");
  const [fields, setFields] = useState({});
  const [dicomdir, setDicomdir] = useState(false);
  const { isBusy, error, run } = useWork();
  const submit = () =>
    run(async () => {
      const settings = Object.fromEntries(DESTINATIONS[type].map(([name]) => [name, fields[name]]).filter(([, value]) => value));
      await sendJson("/export", {
        source: { type: "identifiers", settings: { values: studies } },
        destination: { type, settings },
        options: { manifest: true, dicomdir },
      });
      toast(t("export.started"), { kind: "info" });
      close(true);
    });
  return html`<${Dialog}
    title=${t("export.title", { count: studies.length })}
    close=${close}
    onSubmit=${submit}
    actions=${html`
      <${Button} onClick=${() => close()}>${t("dialog.cancel")}<//>
      <${Button} kind="primary" type="submit" icon="export" disabled=${isBusy}>${t("export.action")}<//>
    `}
  >
    <${Select} label=${t("export.destination")} value=${type} onChange=${setType} options=${Object.keys(DESTINATIONS).map((each) => [each, t(`export.type.${each}`)])} />
    <div class="form-row">
      ${DESTINATIONS[type].map(
        ([name, properties]) => html`<${TextField}
          key=${`${type} ${name}`}
          label=${t(`export.field.${name}`)}
          value=${fields[name] ?? ""}
          required
          onChange=${(value) => setFields({ ...fields, [name]: value })}
          ...${properties}
        />`,
      )}
    </div>
    <${Checkbox} label=${t("export.dicomdir")} checked=${dicomdir} onChange=${setDicomdir} />
    <p class="hint">${t("export.hint")}</p>
    <${FormError} error=${error} />
  <//>`;
}
