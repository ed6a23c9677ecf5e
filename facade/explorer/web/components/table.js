// A table of some hundred rows at most. The study list, which has many more, is pages/studies/list.js.
import { html } from "../vendor/htm-preact-standalone.js";
import { t } from "../lib/texts.js";
import { Icon } from "./icons.js";

/**
 * A table.
 *
 * `columns`: `{ key, title, render(row), isNumber, sortKey, isSecondary }`; without `render`, the value `row[key]`. Columns
 *   that are secondary are left out on narrow screens. The first column names the row.
 * `rows`, `keyOf(row)`; `caption`: read by screen readers; `empty`: text without rows, unless `isLoading`.
 * `sort`, `onSort(sort)`: as in the API, "StudyDate" or "-StudyDate", for columns with `sortKey`.
 */
export function Table({ columns, rows, keyOf, caption, empty, isLoading = false, sort = "", onSort }) {
  return html`<div class="table-frame" tabindex="0" role="region" aria-label=${caption}>
    <table class="table" aria-busy=${isLoading ? "true" : undefined}>
      <caption class="visually-hidden">${caption}</caption>
      <thead>
        <tr>${columns.map((column) => html`<${Heading} key=${column.key} column=${column} sort=${sort} onSort=${onSort} />`)}</tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) => html`<tr key=${keyOf(row)}>
            ${columns.map((column, index) => {
              const content = column.render ? column.render(row) : row[column.key];
              const style = `${column.isNumber ? "number" : ""} ${column.isSecondary ? "secondary" : ""}`;
              return index === 0
                ? html`<th key=${column.key} scope="row" class=${style}>${content}</th>`
                : html`<td key=${column.key} class=${style}>${content}</td>`;
            })}
          </tr>`,
        )}
      </tbody>
    </table>
    ${rows.length === 0 && html`<p class="empty">${isLoading ? t("loading") : empty}</p>`}
  </div>`;
}

/** The head of a column; a button if the table can be sorted by it. */
export function Heading({ column, sort, onSort }) {
  const style = `${column.isNumber ? "number" : ""} ${column.isSecondary ? "secondary" : ""}`;
  if (!column.sortKey || !onSort) return html`<th scope="col" class=${style}>${column.title}</th>`;
  const isAscending = sort === column.sortKey;
  const isDescending = sort === `-${column.sortKey}`;
  const order = isAscending ? "ascending" : isDescending ? "descending" : "none";
  return html`<th scope="col" class=${style} aria-sort=${order}>
    <button type="button" class="sort" onClick=${() => onSort(isAscending ? `-${column.sortKey}` : column.sortKey)}>
      ${column.title}${order !== "none" && html`<${Icon} name=${isAscending ? "arrowUp" : "arrowDown"} size=${14} />`}
    </button>
  </th>`;
}
