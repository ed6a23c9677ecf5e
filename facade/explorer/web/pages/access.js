// Access: the rights of the user, and the access tokens of programs.
import { html, useState } from "../vendor/htm-preact-standalone.js";
import { Button } from "../components/buttons.js";
import { Dialog, FormError, confirm, openDialog, useWork } from "../components/dialogs.js";
import { Checkbox, Select, TextField } from "../components/fields.js";
import { Facts, ListTable, usePages } from "../components/lists.js";
import { Secret } from "../components/secret.js";
import { Failure, Loading, Page, useLoaded } from "../components/states.js";
import { toast, toastError } from "../components/toasts.js";
import { getJson, request, sendJson } from "../lib/api.js";
import { formatAge, formatExactly } from "../lib/format.js";
import { may } from "../lib/permissions.js";
import { partitions } from "../lib/session.js";
import { hasText, t } from "../lib/texts.js";

const DAY_S = 86_400;
const DAYS = [7, 30, 90, 365];

export default function Access() {
  const me = useLoaded((signal) => getJson("/me", { isService: true, signal }), []);
  return html`<${Page} title=${t("access.title")}>
    <section class="card stack" aria-label=${t("access.me")}>
      <h2>${t("access.me")}</h2>
      ${me.error ? html`<${Failure} error=${me.error} retry=${me.reload} />` : me.value ? html`<${Me} me=${me.value} />` : html`<${Loading} />`}
    </section>
    ${may("administer", "archive") && html`<${Tokens} roles=${me.value?.knownRoles ?? []} />`}
  <//>`;
}

function Tokens({ roles }) {
  const [hasInvalid, setInvalid] = useState(false);
  const list = usePages("/tokens", { isService: true, params: { includeinvalid: hasInvalid ? "true" : "" } });
  const add = async () => (await openDialog(NewToken, { roles })) && list.reload();
  const columns = [
    { key: "name", title: t("access.name") },
    { key: "roles", title: t("access.roles"), render: (row) => row.roles.join(", ") },
    { key: "partitions", title: t("access.partitions"), isSecondary: true, render: (row) => row.partitions.join(", ") || t("list.all") },
    { key: "created", title: t("access.created"), isSecondary: true, render: (row) => html`<span title=${`${formatExactly(row.createdTime)} ${row.creator}`}>${formatAge(row.createdTime)}</span>` },
    { key: "used", title: t("access.used"), isSecondary: true, render: (row) => (row.lastUsedTime ? html`<span title=${formatExactly(row.lastUsedTime)}>${formatAge(row.lastUsedTime)}</span>` : t("access.never")) },
    { key: "expires", title: t("access.expires"), render: (row) => html`<${Expiry} token=${row} />` },
    { key: "actions", title: t("list.actions"), render: (row) => !row.revokedTime && html`<${Button} onClick=${() => revoke(row, list.reload)}>${t("access.revoke")}<//>` },
  ];
  return html`
    <div class="section-head">
      <h2>${t("access.tokens")}</h2>
      <div class="row-actions">
        <${Checkbox} label=${t("access.invalid")} checked=${hasInvalid} onChange=${setInvalid} />
        <${Button} kind="primary" icon="plus" onClick=${add}>${t("access.add")}<//>
      </div>
    </div>
    <${ListTable} list=${list} caption=${t("access.tokens")} columns=${columns} keyOf=${(row) => row.id} empty=${t("access.empty")} />
  `;
}

function Me({ me }) {
  const grants = me.grants.map((grant) => {
    const where = grant.studyInstanceUid || grant.partitionName || t("access.whole");
    return html`<li><strong>${where}</strong>: ${grant.actions.map((each) => (hasText(`permission.${each}`) ? t(`permission.${each}`) : each)).join(", ")}</li>`;
  });
  return html`<${Facts} facts=${[
    [t("access.name"), me.name || me.id || t("access.nobody")],
    [t("access.roles"), me.roles.join(", ")],
    [t("access.grants"), html`<ul>${grants}</ul>`],
    [t("access.authentication"), t(me.authenticationRequired ? "access.authentication.on" : "access.authentication.off")],
  ]} />`;
}

function Expiry({ token }) {
  if (token.revokedTime) return html`<span class="badge danger">${t("access.revoked")}</span>`;
  const isOver = new Date(token.expiresTime) < new Date();
  return html`<span class=${isOver ? "badge warning" : ""} title=${formatExactly(token.expiresTime)}>${formatAge(token.expiresTime)}</span>`;
}

async function revoke(row, reload) {
  const isSure = await confirm({ title: t("access.revoke.title"), text: t("access.revoke.text", { name: row.name }), action: t("access.revoke"), isDanger: true });
  if (!isSure) return;
  try {
    await request(`/tokens/${row.id}`, { method: "DELETE", isService: true });
    toast(t("access.revoked"));
  } catch (error) {
    toastError(error);
  }
  reload();
}

function NewToken({ close, roles }) {
  const [name, setName] = useState("");
  const [chosen, setChosen] = useState([]);
  const [places, setPlaces] = useState([]);
  const [days, setDays] = useState("90");
  const [secret, setSecret] = useState("");
  const { isBusy, error, run } = useWork();
  const toggled = (list, value) => (list.includes(value) ? list.filter((each) => each !== value) : [...list, value]);
  const create = async () => {
    const body = { name: name.trim(), roles: chosen, partitions: places, expiresInSeconds: Number(days) * DAY_S };
    const created = await run(() => sendJson("/tokens", body, { isService: true }));
    if (created) setSecret(created.token);
  };
  if (secret) {
    return html`<${Dialog} title=${t("access.add")} close=${() => close(true)} actions=${html`<${Button} kind="primary" onClick=${() => close(true)}>${t("secret.done")}<//>`}>
      <${Secret} label=${t("access.token")} value=${secret} />
    <//>`;
  }
  const boxes = (title, values, list, set) =>
    values.length > 0 &&
    html`<fieldset class="boxes"><legend class="fields-title">${title}</legend>
      ${values.map((each) => html`<${Checkbox} key=${each} label=${each} checked=${list.includes(each)} onChange=${() => set(toggled(list, each))} />`)}
    </fieldset>`;
  return html`<${Dialog}
    title=${t("access.add")}
    close=${close}
    onSubmit=${create}
    actions=${html`<${Button} onClick=${() => close()}>${t("dialog.cancel")}<//>
      <${Button} kind="primary" type="submit" busy=${isBusy} disabled=${isBusy || !name.trim() || chosen.length === 0}>${t("access.create")}<//>`}
  >
    <p class="soft">${t("access.add.text")}</p>
    <${TextField} label=${t("access.name")} value=${name} onChange=${setName} required maxlength="100" />
    ${boxes(t("access.roles"), roles, chosen, setChosen)}
    ${boxes(t("access.partitions.only"), partitions.value, places, setPlaces)}
    <${Select} label=${t("access.days")} value=${days} onChange=${setDays} options=${DAYS.map((each) => [String(each), t("access.days.option", { count: each })])} />
    <${FormError} error=${error} />
  <//>`;
}
