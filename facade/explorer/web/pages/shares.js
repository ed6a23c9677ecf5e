// Share links: for reading a study, and for uploads by people without an account.
import { html, useState } from "../vendor/htm-preact-standalone.js";
import { Button } from "../components/buttons.js";
import { Dialog, FormError, confirm, openDialog, useWork } from "../components/dialogs.js";
import { Select, TextField } from "../components/fields.js";
import { ListTable, Resource, usePages } from "../components/lists.js";
import { Secret } from "../components/secret.js";
import { Page } from "../components/states.js";
import { toast, toastError } from "../components/toasts.js";
import { request, sendJson } from "../lib/api.js";
import { formatAge, formatExactly } from "../lib/format.js";
import { may } from "../lib/permissions.js";
import { t } from "../lib/texts.js";

const DAY_S = 86_400;
const DAYS = [1, 7, 30];

export default function Shares() {
  const list = usePages("/shares", { isService: true });
  const add = async () => (await openDialog(NewUploadLink)) && list.reload();
  const columns = [
    { key: "label", title: t("shares.label"), render: (row) => row.label || t("shares.unnamed") },
    { key: "purpose", title: t("shares.purpose"), render: (row) => t(`shares.purpose.${row.purpose}`) },
    { key: "resource", title: t("list.resource"), render: (row) => html`<${Resource} row=${row} />` },
    { key: "creator", title: t("shares.creator"), isSecondary: true },
    { key: "expiresTime", title: t("shares.expires"), render: (row) => html`<span title=${formatExactly(row.expiresTime)}>${formatAge(row.expiresTime)}</span>` },
    { key: "actions", title: t("list.actions"), render: (row) => html`<${Button} onClick=${() => revoke(row, list.reload)}>${t("shares.revoke")}<//>` },
  ];
  return html`<${Page} title=${t("shares.title")} actions=${may("administer") && html`<${Button} kind="primary" icon="plus" onClick=${add}>${t("shares.upload")}<//>`}>
    <p class="soft">${t("shares.text")}</p>
    <${ListTable} list=${list} caption=${t("shares.title")} columns=${columns} keyOf=${(row) => row.id} empty=${t("shares.empty")} />
  <//>`;
}

async function revoke(row, reload) {
  const isSure = await confirm({ title: t("shares.revoke.title"), text: t("shares.revoke.text"), action: t("shares.revoke"), isDanger: true });
  if (!isSure) return;
  try {
    await request(`/shares/${row.id}`, { method: "DELETE", isService: true });
    toast(t("shares.revoked"));
  } catch (error) {
    toastError(error);
  }
  reload();
}

function NewUploadLink({ close }) {
  const [label, setLabel] = useState("");
  const [days, setDays] = useState("7");
  const [link, setLink] = useState(null);
  const { isBusy, error, run } = useWork();
  const create = async () => {
    const body = { expiresInSeconds: Number(days) * DAY_S, ...(label.trim() && { label: label.trim() }) };
    const created = await run(() => sendJson("/$share-upload", body));
    if (created) setLink(created);
  };
  if (link) {
    return html`<${Dialog} title=${t("shares.upload")} close=${() => close(true)} actions=${html`<${Button} kind="primary" onClick=${() => close(true)}>${t("secret.done")}<//>`}>
      <${Secret} label=${t("shares.url")} value=${link.url} />
    <//>`;
  }
  return html`<${Dialog}
    title=${t("shares.upload")}
    close=${close}
    onSubmit=${create}
    actions=${html`<${Button} onClick=${() => close()}>${t("dialog.cancel")}<//>
      <${Button} kind="primary" type="submit" busy=${isBusy} disabled=${isBusy}>${t("shares.create")}<//>`}
  >
    <p class="soft">${t("shares.upload.text")}</p>
    <${TextField} label=${t("shares.label")} value=${label} onChange=${setLabel} maxlength="200" />
    <${Select} label=${t("shares.days")} value=${days} onChange=${setDays} options=${DAYS.map((each) => [String(each), t("shares.days.option", { count: each })])} />
    <${FormError} error=${error} />
  <//>`;
}
