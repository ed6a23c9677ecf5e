// The list of studies.
import { html } from "../vendor/htm-preact-standalone.js";
import { Failure, Page, useLoaded } from "../components/states.js";
import { Table } from "../components/table.js";
import { getPage } from "../lib/api.js";
import { textOf, valueOf } from "../lib/dicom.js";
import { formatDate, formatName } from "../lib/format.js";
import { t } from "../lib/texts.js";

export default function Studies() {
  const { value, error, isLoading, reload } = useLoaded((signal) => getPage("/studies", { params: { limit: 100 }, signal }), []);
  const columns = [
    { key: "name", title: t("studies.patient"), render: (row) => formatName(valueOf(row, "PatientName")) },
    { key: "date", title: t("studies.date"), render: (row) => formatDate(valueOf(row, "StudyDate")) },
    { key: "description", title: t("studies.description"), render: (row) => textOf(row, "StudyDescription") },
  ];
  return html`<${Page} title=${t("studies.title")}>
    ${error
      ? html`<${Failure} error=${error} retry=${reload} />`
      : html`<${Table}
          caption=${t("studies.title")}
          columns=${columns}
          rows=${value?.items ?? []}
          keyOf=${(row) => valueOf(row, "StudyInstanceUID")}
          isLoading=${isLoading}
          empty=${t("studies.empty")}
        />`}
  <//>`;
}
