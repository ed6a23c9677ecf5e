// Columns of the list of studies.
import { html } from "../../vendor/htm-preact-standalone.js";
import { labelsOf, textOf, valueOf, valuesOf } from "../../lib/dicom.js";
import { formatDate, formatName, formatTime } from "../../lib/format.js";
import { createKeptStore } from "../../lib/store.js";
import { t } from "../../lib/texts.js";

const DEFAULT = ["patient", "date", "description", "modalities", "accession", "instances", "labels"];

/** Keys of the shown columns, in order; kept in this browser. */
export const shownColumns = createKeptStore("studyColumns", DEFAULT);

/** Restore the columns that a new user sees. */
export const resetColumns = () => shownColumns.set(DEFAULT);

export const Modalities = ({ study }) =>
  html`<span class="study-badges">${valuesOf(study, "ModalitiesInStudy").map((each) => html`<span key=${each} class="badge modality">${each}</span>`)}</span>`;

export const Labels = ({ study }) =>
  html`<span class="study-badges">
    ${labelsOf(study, "STUDY").map(([name, value]) => html`<span key=${name} class="badge">${value ? `${name}: ${value}` : name}</span>`)}
  </span>`;

const COLUMNS = [
  {
    key: "patient",
    sortKey: "PatientName",
    width: "minmax(14rem, 2.4fr)",
    render: (row) => html`<span class="two-lines">
      <strong>${formatName(valueOf(row, "PatientName")) || t("studies.nameless")}</strong><span class="soft">${textOf(row, "PatientID")}</span>
    </span>`,
  },
  { key: "birthDate", sortKey: "PatientBirthDate", width: "8rem", render: (row) => formatDate(textOf(row, "PatientBirthDate")) },
  { key: "sex", width: "4rem", render: (row) => textOf(row, "PatientSex") },
  {
    key: "date",
    sortKey: "StudyDate",
    width: "8rem",
    render: (row) => html`<span class="two-lines">
      <span>${formatDate(textOf(row, "StudyDate"))}</span><span class="soft">${formatTime(textOf(row, "StudyTime"))}</span>
    </span>`,
  },
  { key: "description", sortKey: "StudyDescription", width: "minmax(9rem, 2fr)", render: (row) => textOf(row, "StudyDescription") },
  { key: "modalities", width: "minmax(6rem, .8fr)", render: (row) => html`<${Modalities} study=${row} />` },
  { key: "accession", sortKey: "AccessionNumber", width: "minmax(8rem, 1fr)", render: (row) => textOf(row, "AccessionNumber") },
  {
    key: "referring",
    sortKey: "ReferringPhysicianName",
    width: "minmax(8rem, 1.2fr)",
    render: (row) => formatName(valueOf(row, "ReferringPhysicianName")),
  },
  { key: "studyId", sortKey: "StudyID", width: "6rem", render: (row) => textOf(row, "StudyID") },
  { key: "series", sortKey: "NumberOfStudyRelatedSeries", width: "4.5rem", isNumber: true, render: (row) => textOf(row, "NumberOfStudyRelatedSeries") },
  {
    key: "instances",
    sortKey: "NumberOfStudyRelatedInstances",
    width: "6.5rem",
    isNumber: true,
    render: (row) => textOf(row, "NumberOfStudyRelatedInstances"),
  },
  { key: "labels", width: "minmax(7rem, 1fr)", render: (row) => html`<${Labels} study=${row} />` },
];

/** The value of an extended query tag in a match; a private one is in a block of its creator (PS3.5 section 7.8.1). */
function tagText(row, { path, creator }) {
  const group = path.slice(0, 4);
  const block = creator && Object.keys(row).find((tag) => tag.startsWith(`${group}00`) && textOf(row, tag) === creator);
  return textOf(row, block ? group + block.slice(6) + path.slice(6) : path);
}

/** All columns; `tags` are the extended query tags of the archive, which are columns, too. */
export function allColumns(tags) {
  const own = COLUMNS.map((column) => ({ ...column, title: t(`studies.column.${column.key}`) }));
  const more = tags.map((tag) => ({
    key: `tag:${tag.path}`,
    title: tag.name,
    width: "minmax(7rem, 1fr)",
    render: (row) => tagText(row, tag),
  }));
  return [...own, ...more];
}

/** The columns with the given keys, in this order; unknown keys are left out. */
export const columnsOf = (tags, keys) => {
  const byKey = new Map(allColumns(tags).map((column) => [column.key, column]));
  return keys.map((key) => byKey.get(key)).filter(Boolean);
};
