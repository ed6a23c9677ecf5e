// All attributes of an instance as a tree that can be searched; binary values are links.
import { html, useMemo, useState } from "../../vendor/htm-preact-standalone.js";
import { TextField } from "../../components/fields.js";
import { Loading, useLoaded } from "../../components/states.js";
import { formatBytes, formatNumber } from "../../lib/format.js";
import { loadKeywords, titleOf } from "../../lib/keywords.js";
import { ROOT } from "../../lib/session.js";
import { t } from "../../lib/texts.js";
import { InstanceChoice } from "./content.js";

const MOST_FOUND = 300;
const MOST_ITEMS = 200;
const MOST_CHARACTERS = 2000;
const SHOWN_BYTES = 24;

const tagText = (tag) => `(${tag.slice(0, 4)},${tag.slice(4)})`;

/** The values of an element as text; "" for sequences and binary values. */
function valueText(element) {
  if (element.vr === "SQ" || !element.Value) return "";
  const text = (value) => {
    if (value === null) return "";
    if (typeof value !== "object") return String(value);
    return ["Alphabetic", "Ideographic", "Phonetic"].map((group) => value[group]).filter(Boolean).join(" = ");
  };
  return element.Value.map(text).join(" \\ ");
}

export function Attributes({ metadata, instances, instance }) {
  const [asked, setAsked] = useState("");
  const { value: keywordOf } = useLoaded(loadKeywords, []);
  const found = useMemo(() => (keywordOf && asked.trim() ? search(metadata, asked.trim().toLowerCase(), keywordOf) : null), [metadata, asked, keywordOf]);
  if (!keywordOf) return html`<${Loading} />`;
  return html`<div class="attributes">
    <div class="attributes-head">
      <${TextField} label=${t("attributes.search")} type="search" placeholder=${t("attributes.searchHint")} value=${asked} onChange=${setAsked} />
      <${InstanceChoice} instances=${instances} instance=${instance} />
    </div>
    <p class="list-count" role="status">${found ? t("attributes.found", { count: found.length }) : t("attributes.count", { count: Object.keys(metadata).length })}</p>
    ${found
      ? html`<ul class="tree">${found.map(({ path, tag, element }) => html`<${Element} key=${path + tag} tag=${tag} element=${element} keywordOf=${keywordOf} path=${path} />`)}</ul>`
      : html`<${DataSet} dataSet=${metadata} keywordOf=${keywordOf} />`}
  </div>`;
}

/** Elements whose tag, keyword or value has a text, with the path of the sequence items that contain them. */
function search(dataSet, text, keywordOf, path = "", found = []) {
  for (const [tag, element] of Object.entries(dataSet)) {
    if (found.length >= MOST_FOUND) break;
    const keyword = keywordOf(tag);
    const names = [tag, tagText(tag), keyword, titleOf(keyword), valueText(element)];
    if (names.some((each) => each.toLowerCase().includes(text))) found.push({ path, tag, element });
    if (element.vr === "SQ") {
      for (const [at, item] of (element.Value ?? []).entries()) {
        search(item ?? {}, text, keywordOf, `${path}${titleOf(keyword) || tagText(tag)} ${at + 1} › `, found);
      }
    }
  }
  return found;
}

function DataSet({ dataSet, keywordOf }) {
  return html`<ul class="tree">
    ${Object.entries(dataSet).map(([tag, element]) => html`<${Element} key=${tag} tag=${tag} element=${element} keywordOf=${keywordOf} />`)}
  </ul>`;
}

function Element({ tag, element, keywordOf, path = "" }) {
  const keyword = keywordOf(tag);
  const name = html`<span class="tree-name">${path && html`<span class="soft">${path}</span>`}${titleOf(keyword) || t("attributes.private")}</span>`;
  const head = html`<code class="tree-tag">${tagText(tag)}</code>${name}<code class="tree-vr soft">${element.vr}</code>`;
  if (element.vr === "SQ") return html`<${Sequence} head=${head} items=${element.Value ?? []} keywordOf=${keywordOf} />`;
  return html`<li class="tree-row">${head}<span class="tree-value"><${Value} element=${element} /></span></li>`;
}

// Items exist as elements only while they are open, because a sequence may have thousands.
function Sequence({ head, items, keywordOf }) {
  const [isOpen, setOpen] = useState(false);
  const [most, setMost] = useState(MOST_ITEMS);
  return html`<li>
    <details onToggle=${(event) => event.target === event.currentTarget && setOpen(event.currentTarget.open)}>
      <summary class="tree-row">${head}<span class="tree-value soft">${t("attributes.items", { count: items.length })}</span></summary>
      ${isOpen &&
      html`<ol class="tree-items">
        ${items.slice(0, most).map((item, at) => html`<${Item} key=${at} number=${at + 1} item=${item ?? {}} keywordOf=${keywordOf} isOpen=${items.length === 1} />`)}
        ${items.length > most && html`<li><button type="button" class="chip" onClick=${() => setMost(most + MOST_ITEMS)}>${t("attributes.more")}</button></li>`}
      </ol>`}
    </details>
  </li>`;
}

function Item({ number, item, keywordOf, isOpen: isFirst }) {
  const [isOpen, setOpen] = useState(isFirst);
  return html`<li>
    <details open=${isOpen} onToggle=${(event) => event.target === event.currentTarget && setOpen(event.currentTarget.open)}>
      <summary class="tree-item">${t("attributes.item", { number })}</summary>
      ${isOpen && html`<${DataSet} dataSet=${item} keywordOf=${keywordOf} />`}
    </details>
  </li>`;
}

/** The value of an element: text, a link to a binary value, or the bytes of a short one. */
export function Value({ element }) {
  if (element.BulkDataURI) {
    return html`<a href=${localUrl(element.BulkDataURI)} download>${t("attributes.binary")}</a>`;
  }
  if (element.InlineBinary !== undefined) {
    const bytes = atob(element.InlineBinary);
    const shown = [...bytes.slice(0, SHOWN_BYTES)].map((each) => each.charCodeAt(0).toString(16).padStart(2, "0")).join(" ");
    return html`<span class="soft">${formatBytes(bytes.length)}</span> <code>${shown}${bytes.length > SHOWN_BYTES ? " …" : ""}</code>`;
  }
  const text = valueText(element);
  if (text.length <= MOST_CHARACTERS) return text;
  return `${text.slice(0, MOST_CHARACTERS)}… (${t("attributes.characters", { count: formatNumber(text.length) })})`;
}

/** The URL of a value at the address of this page; the archive may use another name for itself. */
function localUrl(uri) {
  const at = uri.search(/\/v\d+\//);
  return at < 0 ? uri : new URL(uri.slice(at + 1), ROOT).href;
}
