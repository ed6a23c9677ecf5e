// A table of some hundred rows at most. The study list, which has many more, is pages/studies/list.js.
import { html } from "../vendor/htm-preact-standalone.js";
import { t } from "../lib/texts.js";
import { Icon } from "./icons.js";

/**
 * A table.
 *
 * `columns`: `{ key, title, render(row), isNumber, sortKey, isSecondary }`; without `render`, the value `row[key]`. Columns
 *   that are secondary are left out on narrow screens, where each row is a block. The first column names the row.
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
                : html`<td key=${column.key} class=${style} data-title=${column.title}>${content}</td>`;
            })}
          </tr>`,
        )}
      </tbody>
    </table>
    ${rows.length === 0 && html`<p class="empty">${isLoading ? t("loading") : empty}</p>`}
  </div>`;
}

/** The head of a column; a button if the table can be sorted by it. */
function Heading({ column, sort, onSort }) {
  const style = `${column.isNumber ? "number" : ""} ${column.isSecondary ? "secondary" : ""}`;
  if (!column.sortKey || !onSort) return html`<th scope="col" class=${style}>${column.title}</th>`;
  return html`<th scope="col" class=${style} aria-sort=${orderOf(column, sort)}>
    <${SortButton} column=${column} sort=${sort} onSort=${onSort} />
  </th>`;
}

/** The value of `aria-sort` of a column. */
export function orderOf(column, sort) {
  if (sort === column.sortKey) return "ascending";
  return sort === `-${column.sortKey}` ? "descending" : "none";
}

/** The title of a column as a button that sorts by it: ascending first, then descending. */
export function SortButton({ column, sort, onSort }) {
  const order = orderOf(column, sort);
  return html`<button type="button" class="sort" onClick=${() => onSort(order === "ascending" ? `-${column.sortKey}` : column.sortKey)}>
    ${column.title}${order !== "none" && html`<${Icon} name=${order === "ascending" ? "arrowUp" : "arrowDown"} size=${14} />`}
  </button>`;
}
