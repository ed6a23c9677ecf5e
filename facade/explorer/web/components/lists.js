// Lists of the API with a `Link` to the next page, as tables that grow on request.
import { html, useEffect, useState } from "../vendor/htm-preact-standalone.js";
import { getPage } from "../lib/api.js";
import { DEFAULT_PARTITION, href } from "../lib/router.js";
import { t } from "../lib/texts.js";
import { Button } from "./buttons.js";
import { Failure, useLoaded } from "./states.js";
import { Table } from "./table.js";
import { toastError } from "./toasts.js";

/**
 * The items of a list: `{ items, error, isLoading, reload, more }`; `more()` loads the next page, null on the last one.
 * The first page is loaded again whenever the parameters change. `options` are those of `getPage`.
 */
export function usePages(path, options = {}) {
  const key = `${path}?${JSON.stringify(options.params ?? {})}`;
  const first = useLoaded((signal) => getPage(path, { ...options, signal }), [key]);
  const [rest, setRest] = useState({ of: null, items: [], next: null });
  useEffect(() => setRest({ of: first.value, items: [], next: first.value?.next ?? null }), [first.value]);
  const isCurrent = rest.of === first.value;
  const next = isCurrent ? rest.next : null;
  const more = async () => {
    try {
      const page = await getPage(path, { ...options, params: next });
      setRest({ of: first.value, items: [...rest.items, ...page.items], next: page.next });
    } catch (error) {
      toastError(error);
    }
  };
  const items = [...(first.value?.items ?? []), ...(isCurrent ? rest.items : [])];
  return { items, error: first.error, isLoading: first.isLoading, reload: first.reload, more: next ? more : null };
}

/** A table of `list`, the result of `usePages`, with a button for more rows. Other properties are those of `Table`. */
export function ListTable({ list, ...properties }) {
  if (list.error) return html`<${Failure} error=${list.error} retry=${list.reload} />`;
  return html`
    <${Table} rows=${list.items} isLoading=${list.isLoading} ...${properties} />
    ${list.more && html`<div class="row-actions"><${Button} onClick=${list.more}>${t("list.more")}<//></div>`}
  `;
}

const LEVELS = ["sopInstanceUid", "seriesInstanceUid", "studyInstanceUid"];

/** A study, series or instance that a row names: its level and its UID, with a link to the study, unless it is deleted. */
export function Resource({ row, isLink = true }) {
  const level = LEVELS.find((each) => row[each]);
  if (!level) return t("resource.partition");
  const uid = html`<span class="mono break">${row[level]}</span>`;
  const name = t(`resource.${level}`);
  const target = href(["study", row.studyInstanceUid], {}, row.partitionName && row.partitionName !== DEFAULT_PARTITION ? row.partitionName : undefined);
  return html`<span class="resource"><span class="soft">${name}</span> ${isLink ? html`<a href=${target}>${uid}</a>` : uid}</span>`;
}

/** Reload something every `milliseconds` while `isOn`, unless the page is hidden. */
export function useInterval(work, milliseconds, isOn = true) {
  useEffect(() => {
    if (!isOn) return undefined;
    const timer = setInterval(() => !document.hidden && work(), milliseconds);
    return () => clearInterval(timer);
  }, [isOn, milliseconds, work]);
}

/** Names and values in two columns; those without a value are left out. */
export function Facts({ facts }) {
  return html`<dl class="facts">
    ${facts
      .filter(([, value]) => value !== undefined && value !== null && value !== "")
      .map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd class="break">${value}</dd></div>`)}
  </dl>`;
}

/** A value as JSON text, which can be scrolled and selected. */
export const Json = ({ label, value }) =>
  html`<pre class="json" tabindex="0" role="region" aria-label=${label}>${JSON.stringify(value, null, 2)}</pre>`;
