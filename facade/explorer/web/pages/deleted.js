// Deleted studies, series and instances, which can be restored until their bytes are erased.
import { html } from "../vendor/htm-preact-standalone.js";
import { Button } from "../components/buttons.js";
import { TextField } from "../components/fields.js";
import { ListTable, Resource, usePages } from "../components/lists.js";
import { Page } from "../components/states.js";
import { toast, toastError } from "../components/toasts.js";
import { sendJson } from "../lib/api.js";
import { formatAge, formatExactly } from "../lib/format.js";
import { may } from "../lib/permissions.js";
import { navigate, setParams } from "../lib/router.js";
import { t } from "../lib/texts.js";

export default function Deleted({ location }) {
  const study = location.params.get("StudyInstanceUID") ?? "";
  const list = usePages("/deleted", { params: { StudyInstanceUID: study } });
  const columns = [
    { key: "resource", title: t("list.resource"), render: (row) => html`<${Resource} row=${row} isLink=${false} />` },
    { key: "instances", title: t("deleted.instances"), isNumber: true },
    { key: "deletedTime", title: t("deleted.time"), render: (row) => html`<span title=${formatExactly(row.deletedTime)}>${formatAge(row.deletedTime)}</span>` },
    { key: "author", title: t("deleted.author"), isSecondary: true },
    { key: "reason", title: t("list.reason"), isSecondary: true },
    { key: "erasedTime", title: t("deleted.erased"), isSecondary: true, render: (row) => html`<span title=${formatExactly(row.erasedTime)}>${formatAge(row.erasedTime)}</span>` },
    may("delete") && { key: "actions", title: t("list.actions"), render: (row) => html`<${Button} icon="restore" onClick=${() => restore(row, list.reload)}>${t("deleted.restore")}<//>` },
  ].filter(Boolean);
  return html`<${Page} title=${t("deleted.title")} actions=${html`<${Button} icon="refresh" onClick=${list.reload}>${t("list.reload")}<//>`}>
    <p class="soft">${t("deleted.text")}</p>
    <div class="card list-filters">
      <${TextField} label=${t("resource.uid")} value=${study} type="search" onChange=${(value) => setParams({ StudyInstanceUID: value.trim() }, { replace: true })} />
    </div>
    <${ListTable}
      list=${list}
      caption=${t("deleted.title")}
      columns=${columns}
      keyOf=${(row) => `${row.sopInstanceUid ?? row.seriesInstanceUid ?? row.studyInstanceUid} ${row.deletedTime}`}
      empty=${t("deleted.empty")}
    />
  <//>`;
}

async function restore(row, reload) {
  const parts = [["studies", row.studyInstanceUid], ["series", row.seriesInstanceUid], ["instances", row.sopInstanceUid]];
  const path = parts.filter(([, uid]) => uid).map(([name, uid]) => `/${name}/${uid}`).join("");
  try {
    const { restoredInstances } = await sendJson(`${path}/$undelete`, undefined);
    toast(t("deleted.restored", { count: restoredInstances }), {
      action: { label: t("deleted.open"), run: () => navigate(["study", row.studyInstanceUid]) },
    });
  } catch (error) {
    toastError(error);
  }
  reload();
}

