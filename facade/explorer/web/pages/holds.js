// Holds: what is on hold is neither changed nor deleted.
import { html } from "../vendor/htm-preact-standalone.js";
import { Button } from "../components/buttons.js";
import { confirm } from "../components/dialogs.js";
import { ListTable, Resource, usePages } from "../components/lists.js";
import { Page } from "../components/states.js";
import { toast, toastError } from "../components/toasts.js";
import { request } from "../lib/api.js";
import { formatAge, formatExactly } from "../lib/format.js";
import { may } from "../lib/permissions.js";
import { t } from "../lib/texts.js";

export default function Holds() {
  const list = usePages("/holds");
  const columns = [
    { key: "resource", title: t("list.resource"), render: (row) => html`<${Resource} row=${row} />` },
    { key: "name", title: t("holds.name"), isSecondary: true },
    { key: "reason", title: t("list.reason") },
    { key: "author", title: t("holds.author"), isSecondary: true },
    { key: "time", title: t("holds.time"), isSecondary: true, render: (row) => html`<span title=${formatExactly(row.time)}>${formatAge(row.time)}</span>` },
    may("administer") && { key: "actions", title: t("list.actions"), render: (row) => html`<${Button} onClick=${() => release(row, list.reload)}>${t("holds.release")}<//>` },
  ].filter(Boolean);
  return html`<${Page} title=${t("holds.title")}>
    <p class="soft">${t("holds.text")}</p>
    <${ListTable}
      list=${list}
      caption=${t("holds.title")}
      columns=${columns}
      keyOf=${(row) => [row.studyInstanceUid, row.seriesInstanceUid, row.sopInstanceUid, row.name].join(" ")}
      empty=${t("holds.empty")}
    />
  <//>`;
}

async function release(row, reload) {
  const isSure = await confirm({ title: t("holds.release.title"), text: t("holds.release.text", { reason: row.reason }), action: t("holds.release"), isDanger: true });
  if (!isSure) return;
  const parts = [["studies", row.studyInstanceUid], ["series", row.seriesInstanceUid], ["instances", row.sopInstanceUid]];
  const path = parts.filter(([, uid]) => uid).map(([name, uid]) => `/${name}/${uid}`).join("");
  try {
    await request(`${path}/hold`, { method: "DELETE", params: { name: row.name } });
    toast(t("holds.released"));
  } catch (error) {
    toastError(error);
  }
  reload();
}
