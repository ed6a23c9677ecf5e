// Storage use of the archive, and of each data partition.
import { html } from "../vendor/htm-preact-standalone.js";
import { Button } from "../components/buttons.js";
import { Failure, Page, useLoaded } from "../components/states.js";
import { Table } from "../components/table.js";
import { getJson } from "../lib/api.js";
import { formatBytes, formatNumber } from "../lib/format.js";
import { t } from "../lib/texts.js";

const NUMBERS = ["studies", "series", "instances"];

export default function Storage() {
  const { value, error, isLoading, reload } = useLoaded((signal) => getJson("/usage", { isService: true, signal }), []);
  const rows = [...(value ?? [])].sort((a, b) => b.storedBytes - a.storedBytes);
  const total = rows.reduce((sum, row) => sum + row.storedBytes, 0);
  const columns = [
    { key: "partitionName", title: t("storage.partition") },
    ...NUMBERS.map((key) => ({ key, title: t(`storage.${key}`), isNumber: true, isSecondary: key === "series", render: (row) => formatNumber(row[key]) })),
    { key: "storedBytes", title: t("storage.bytes"), isNumber: true, render: (row) => formatBytes(row.storedBytes) },
    { key: "share", title: t("storage.share"), isSecondary: true, render: (row) => html`<${Share} part=${total ? row.storedBytes / total : 0} name=${row.partitionName} />` },
  ];
  const sum = (key) => formatNumber(rows.reduce((all, row) => all + row[key], 0));
  return html`<${Page} title=${t("storage.title")} actions=${html`<${Button} icon="refresh" onClick=${reload}>${t("list.reload")}<//>`}>
    ${error
      ? html`<${Failure} error=${error} retry=${reload} />`
      : html`
          <dl class="figures card">
            <div><dt>${t("storage.bytes")}</dt><dd>${formatBytes(total)}</dd></div>
            ${NUMBERS.map((key) => html`<div key=${key}><dt>${t(`storage.${key}`)}</dt><dd>${sum(key)}</dd></div>`)}
          </dl>
          <${Table} caption=${t("storage.title")} columns=${columns} rows=${rows} keyOf=${(row) => row.partitionName} isLoading=${isLoading} empty=${t("list.none")} />
        `}
  <//>`;
}

const Share = ({ part, name }) => {
  const percent = Math.round(part * 100);
  return html`<span class="inline-progress"><meter min="0" max="1" value=${part} aria-label=${t("storage.share.of", { name })}></meter><span>${percent} %</span></span>`;
};
