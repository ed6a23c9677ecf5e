// The versions of an instance, what each changed, and reverting to an earlier one (docs/api.md, Versions).
import { html, useState } from "../../vendor/htm-preact-standalone.js";
import { Button, LinkButton } from "../../components/buttons.js";
import { confirm } from "../../components/dialogs.js";
import { Failure, Loading, useLoaded } from "../../components/states.js";
import { Table } from "../../components/table.js";
import { toast, toastError } from "../../components/toasts.js";
import { getJson, request, urlOf } from "../../lib/api.js";
import { formatBytes, formatExactly } from "../../lib/format.js";
import { titleOf } from "../../lib/keywords.js";
import { may } from "../../lib/permissions.js";
import { t } from "../../lib/texts.js";
import { Value } from "./attributes.js";

const STORED = "application/dicom; transfer-syntax=*";

/** `stamp` is another value whenever the study has changed. */
export function Versions({ path, stamp }) {
  const { value, error, reload } = useLoaded((signal) => getJson(`${path}/versions`, { params: { limit: 200 }, signal }), [path, stamp]);
  const [compared, setCompared] = useState(null);
  if (error && !value) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!value) return html`<${Loading} />`;
  const newest = [...value].reverse();
  const revert = async (version) => {
    const isSure = await confirm({
      title: t("versions.revert.title"),
      text: t("versions.revert.text", { number: String(version) }),
      action: t("versions.revert"),
    });
    if (!isSure) return;
    try {
      await request(`${path}/versions/${version}/$revert`, { method: "POST" });
      toast(t("versions.revert.done"));
      setCompared(null);
      reload();
    } catch (failure) {
      toastError(failure);
    }
  };
  const columns = [
    { key: "version", title: t("versions.number"), render: (row) => html`${row.version} ${row.isCurrent && html`<span class="badge accent">${t("versions.current")}</span>`}` },
    { key: "createdTime", title: t("versions.time"), render: (row) => formatExactly(row.createdTime) },
    { key: "origin", title: t("versions.origin"), render: (row) => html`<span class="words">${t(`versions.origin.${row.origin}`)}</span>` },
    { key: "author", title: t("versions.author"), isSecondary: true, render: (row) => html`<span class="words">${row.author}</span>` },
    { key: "reason", title: t("versions.reason"), isSecondary: true },
    { key: "size", title: t("versions.size"), isNumber: true, isSecondary: true, render: (row) => formatBytes(row.size) },
    {
      key: "actions",
      title: t("versions.actions"),
      render: (row) => html`<span class="row-actions">
        ${row !== value[0] &&
        html`<${Button} kind="quiet" icon="info" label=${t("versions.compare", { number: String(row.version) })} aria-pressed=${String(compared === row.version)} onClick=${() => setCompared(row.version)} />`}
        <${LinkButton}
          kind="quiet"
          icon="download"
          label=${t("versions.download", { number: String(row.version) })}
          href=${urlOf(path, { version: row.version, accept: STORED })}
          download="${row.version}.dcm"
        />
        ${!row.isCurrent && may("write") && html`<${Button} kind="quiet" icon="restore" label=${t("versions.revertTo", { number: String(row.version) })} onClick=${() => revert(row.version)} />`}
      </span>`,
    },
  ];
  return html`<div class="versions">
    <${Table} caption=${t("study.view.versions")} columns=${columns} rows=${newest} keyOf=${(row) => row.version} />
    ${value.length === 1 && html`<p class="hint">${t("versions.only")}</p>`}
    ${compared !== null && html`<${Difference} key=${compared} path=${path} version=${compared} />`}
  </div>`;
}

function Difference({ path, version }) {
  const { value, error, reload } = useLoaded((signal) => getJson(`${path}/versions/${version}/difference`, { signal }), [path, version]);
  if (error) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!value) return html`<${Loading} />`;
  const shown = (element, row) => (element ? html`<${Value} element=${{ vr: row.vr, ...element }} />` : null);
  const columns = [
    { key: "path", title: t("versions.attribute"), render: (row) => html`${titleOf(row.keyword ?? "") || row.path}<br /><code class="soft">${row.path}</code>` },
    { key: "change", title: t("versions.change"), render: (row) => t(`versions.change.${row.change}`) },
    { key: "before", title: t("versions.before"), render: (row) => shown(row.before, row) },
    { key: "after", title: t("versions.after"), render: (row) => shown(row.after, row) },
  ];
  const differences = value.differences ?? value;
  return html`<section aria-label=${t("versions.difference", { number: String(version) })}>
    <h2>${t("versions.difference", { number: String(version) })}</h2>
    <${Table} caption=${t("versions.difference", { number: String(version) })} columns=${columns} rows=${differences} keyOf=${(row) => row.path} empty=${t("versions.same")} />
  </section>`;
}
