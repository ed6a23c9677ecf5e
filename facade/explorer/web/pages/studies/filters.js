// Filters of the list of studies. Each is a search key of the API with the name that it has there, in the URL of the page.
import { html, useEffect, useRef, useState } from "../../vendor/htm-preact-standalone.js";
import { Button } from "../../components/buttons.js";
import { Select, TextField } from "../../components/fields.js";
import { Icon } from "../../components/icons.js";
import { MultiSelect } from "../../components/multi_select.js";
import { formatDate } from "../../lib/format.js";
import { setParams } from "../../lib/router.js";
import { t } from "../../lib/texts.js";

const TYPING_MS = 350;
const MODALITIES = ["CT", "MR", "US", "CR", "DX", "MG", "XA", "RF", "NM", "PT", "SM", "XC", "ES", "OP", "OPT", "ECG", "SEG", "SR", "RTSTRUCT", "RTDOSE", "RTPLAN", "DOC", "PR", "OT"];
const NAMES = ["PatientName", "ReferringPhysicianName"];
const PARTS = ["StudyDescription"];
const BEGINNINGS = ["PatientID", "AccessionNumber", "StudyID"];
const TEXTS = ["PatientName", "PatientID", "AccessionNumber", "StudyDescription", "ReferringPhysicianName", "StudyID"];
const DATES = ["StudyDate", "PatientBirthDate"];
const LABEL = "label.";
const VALID_DATE = /^\d{8}$/;

const ATTRIBUTES = [...TEXTS, ...DATES, "ModalitiesInStudy", "StudyInstanceUID"];

/** Whether the page has parameters that may be extended query tags. */
export const areTagsSearched = (params) => [...params.keys()].some((name) => name !== "sort" && !ATTRIBUTES.includes(name) && !name.startsWith(LABEL));

/** Names of the parameters of the page that are filters. */
export function activeFilters(params, tags) {
  const known = new Set([...ATTRIBUTES, ...tags.map((tag) => tag.path)]);
  return [...new Set(params.keys())].filter((name) => (known.has(name) || name.startsWith(LABEL)) && params.get(name));
}

/**
 * The search keys of a request for the filters of the page.
 *
 * Text without wildcards finds its beginning or, in descriptions, a part; words of a name find the beginnings of its words.
 */
export function searchKeys(params, tags) {
  const keys = {};
  for (const name of activeFilters(params, tags)) {
    const values = params.getAll(name);
    keys[name] = values.map((value) => {
      if (/[*?]/.test(value) || name.startsWith(LABEL)) return value;
      if (PARTS.includes(name)) return `*${value}*`;
      return BEGINNINGS.includes(name) ? `${value}*` : value;
    });
    if (NAMES.includes(name) && !values.some((value) => /[*?^]/.test(value))) keys.fuzzymatching = true;
  }
  return keys;
}

/** The order of the list, as in the API: "-StudyDate"; "" for the newest first. */
export const sortOf = (params) => params.get("sort") ?? "";

/** The fields; each change is in the URL after a moment. */
export function FilterFields({ params, tags, sorts }) {
  const [hasMore, setMore] = useState(() => activeFilters(params, tags).some((name) => !FIRST.includes(name)));
  return html`<div class="study-filters" role="search" aria-label=${t("studies.filters")}>
    <div class="filter-fields">
      ${FIRST_TEXTS.map((name) => html`<${TextFilter} key=${name} name=${name} label=${t(`studies.filter.${name}`)} params=${params} />`)}
      <${DateFilter} name="StudyDate" label=${t("studies.filter.StudyDate")} params=${params} />
      <${MultiSelect}
        label=${t("studies.filter.ModalitiesInStudy")}
        none=${t("studies.filter.all")}
        options=${MODALITIES}
        values=${(params.get("ModalitiesInStudy") ?? "").split(",").filter(Boolean)}
        onChange=${(values) => setParams({ ModalitiesInStudy: values.join(",") })}
      />
      ${sorts &&
      html`<${Select}
        label=${t("studies.sort")}
        value=${sortOf(params)}
        options=${[["", t("studies.sort.newest")], ...sorts]}
        onChange=${(value) => setParams({ sort: value })}
      />`}
      ${hasMore &&
      html`
        ${MORE_TEXTS.map((name) => html`<${TextFilter} key=${name} name=${name} label=${t(`studies.filter.${name}`)} params=${params} />`)}
        <${DateFilter} name="PatientBirthDate" label=${t("studies.filter.PatientBirthDate")} params=${params} />
        <${LabelFilter} params=${params} tags=${tags} />
        ${tags.map((tag) => html`<${TextFilter} key=${tag.path} name=${tag.path} label=${tag.name} params=${params} />`)}
      `}
      <div class="filter-more">
        <${Button} kind="quiet" icon=${hasMore ? "minus" : "plus"} aria-expanded=${hasMore ? "true" : "false"} onClick=${() => setMore(!hasMore)}>
          ${hasMore ? t("studies.filter.fewer") : t("studies.filter.more")}
        <//>
      </div>
    </div>
  </div>`;
}

const FIRST_TEXTS = ["PatientName", "PatientID", "AccessionNumber"];
const MORE_TEXTS = ["StudyDescription", "ReferringPhysicianName", "StudyID"];
const FIRST = [...FIRST_TEXTS, "StudyDate", "ModalitiesInStudy"];

function TextFilter({ name, label, params }) {
  const current = params.get(name) ?? "";
  const [value, setValue] = useState(current);
  const timer = useRef(0);
  const sent = useRef(current);
  useEffect(() => {
    if (current !== sent.current) {
      sent.current = current;
      setValue(current);
    }
  }, [current]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const send = (text) => {
    sent.current = text.trim();
    setParams({ [name]: sent.current }, { replace: true });
  };
  return html`<${TextField}
    label=${label}
    type="search"
    value=${value}
    onChange=${(text) => {
      setValue(text);
      clearTimeout(timer.current);
      timer.current = setTimeout(send, TYPING_MS, text);
    }}
    onKeyDown=${(event) => {
      if (event.key !== "Enter") return;
      clearTimeout(timer.current);
      send(value);
    }}
  />`;
}

function DateFilter({ name, label, params }) {
  const [first = "", last = first] = (params.get(name) ?? "").split("-");
  const change = (from, to) => setParams({ [name]: from || to ? (from === to ? from : `${from}-${to}`) : "" }, { replace: true });
  const field = (text, value, onChange) => html`<input
    type="date"
    aria-label="${label}: ${text}"
    value=${VALID_DATE.test(value) ? `${value.slice(0, 4)}-${value.slice(4, 6)}-${value.slice(6)}` : ""}
    onChange=${(event) => onChange(event.target.value.replaceAll("-", ""))}
  />`;
  return html`<fieldset class="field date-range">
    <legend class="fields-title">${label}</legend>
    ${field(t("studies.filter.from"), first, (value) => change(value, last === first && params.get(name)?.includes("-") === false ? value : last))}
    <span aria-hidden="true">–</span>
    ${field(t("studies.filter.to"), last, (value) => change(first, value))}
  </fieldset>`;
}

function LabelFilter({ params }) {
  const names = [...new Set(params.keys())].filter((key) => key.startsWith(LABEL));
  const name = names[0]?.slice(LABEL.length) ?? "";
  const shown = name ? `${name}=${params.get(names[0])}` : "";
  const [value, setValue] = useState(shown);
  useEffect(() => setValue(shown), [shown]);
  const send = () => {
    const [wanted, ...rest] = value.trim().split("=");
    const cleared = Object.fromEntries(names.map((key) => [key, null]));
    const isName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(wanted);
    setParams({ ...cleared, ...(isName ? { [LABEL + wanted]: rest.join("=") || "*" } : {}) }, { replace: true });
  };
  return html`<${TextField}
    label=${t("studies.filter.label")}
    placeholder=${t("studies.filter.labelExample")}
    type="search"
    value=${value}
    onChange=${setValue}
    onBlur=${send}
    onKeyDown=${(event) => event.key === "Enter" && send()}
  />`;
}

/** The active filters, each with a button that removes it. */
export function FilterChips({ params, tags }) {
  const names = activeFilters(params, tags);
  if (names.length === 0) return null;
  const titles = new Map(tags.map((tag) => [tag.path, tag.name]));
  const titleOf = (name) =>
    titles.get(name) ?? (name.startsWith(LABEL) ? t("studies.filter.labelNamed", { name: name.slice(LABEL.length) }) : t(`studies.filter.${name}`));
  return html`<ul class="chips" aria-label=${t("studies.filters.active")}>
    ${names.map(
      (name) => html`<li key=${name}>
        <button type="button" class="chip" aria-label=${t("studies.filter.remove", { name: titleOf(name) })} onClick=${() => setParams({ [name]: null })}>
          <span>${titleOf(name)}: <strong>${params.getAll(name).map((value) => shown(name, value)).join(", ")}</strong></span>
          <${Icon} name="close" size=${14} />
        </button>
      </li>`,
    )}
    ${names.length > 1 &&
    html`<li><button type="button" class="chip clear" onClick=${() => setParams(Object.fromEntries(names.map((name) => [name, null])))}>${t("studies.filter.clear")}</button></li>`}
  </ul>`;
}

const shown = (name, value) => (DATES.includes(name) ? value.split("-").map(formatDate).join(" – ") : value.replaceAll(",", ", "));
