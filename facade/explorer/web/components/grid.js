// A list of any length: only the rows in view exist as elements (WAI-ARIA grid with `aria-activedescendant`).
import { html, useCallback, useEffect, useLayoutEffect, useRef, useState } from "../vendor/htm-preact-standalone.js";
import { useId } from "./fields.js";
import { SortButton, orderOf } from "./table.js";
import { t } from "../lib/texts.js";

const OVERSCAN = 8;
const SETTLED_MS = 120;
const MAX_HEIGHT = 8_000_000; // browsers limit the height of an element
const ENTER = "Enter";

/**
 * A grid with a heading.
 *
 * `total`: number of rows; `rowAt(index)`: a row, undefined while it is not loaded; `keyOf(row)`; `show(first, last)`: called with
 *   the rows in view when scrolling has settled.
 * `columns`: as for `Table`, with `width` of CSS grid; `renderCard(row)`: content of a row without columns, on narrow screens.
 * `renderLead(row, isMoving)`: what precedes the first column, such as an image that is not to be loaded while scrolling.
 * `selection`: set of keys; `onSelect(set)`; `onOpen(row)`; `hrefOf(row)`; `nameOf(row)`: name of the row for its box.
 * `isMarked(row)`: whether the row is shown as removed. `place`: `{ top }`, kept by the caller while the grid does not exist.
 */
export function Grid(properties) {
  const { label, total, rowHeight, columns, renderCard, renderLead, rowAt, keyOf, show, selection, onSelect, onOpen, hrefOf, nameOf, sort, onSort, place, version } = properties;
  const id = useId();
  const frame = useRef(null);
  const [view, setView] = useState({ top: place.top, height: 600 });
  const [active, setActive] = useState(-1);
  const [isMoving, setMoving] = useState(false);
  const timer = useRef(0);
  const anchor = useRef(-1);

  const full = total * rowHeight;
  const height = Math.min(full, MAX_HEIGHT);
  const headHeight = renderCard ? 0 : 36;
  const inView = Math.max(1, Math.ceil((view.height - headHeight) / rowHeight));
  // If the element is lower than all rows together, its scroll position is a fraction of the rows.
  const scale = full > height ? (full - view.height) / Math.max(1, height - view.height) : 1;
  const offset = Math.min(view.top * scale, Math.max(0, full - view.height + headHeight));
  const first = Math.max(0, Math.floor(offset / rowHeight));
  const last = Math.min(total - 1, first + inView);

  useLayoutEffect(() => {
    const element = frame.current;
    element.scrollTop = place.top;
    const observer = new ResizeObserver(() => setView((now) => ({ ...now, height: element.clientHeight })));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  useEffect(() => () => clearTimeout(timer.current), []);
  useEffect(() => {
    if (!isMoving) show(first, last);
  }, [first, last, isMoving, version, total]);

  const scrolled = useCallback((event) => {
    place.top = event.currentTarget.scrollTop;
    setView((now) => ({ ...now, top: place.top }));
    setMoving(true);
    clearTimeout(timer.current);
    timer.current = setTimeout(setMoving, SETTLED_MS, false);
  }, []);

  const activate = (index) => {
    const target = Math.max(0, Math.min(total - 1, index));
    setActive(target);
    const from = target * rowHeight;
    const visible = view.height - headHeight;
    if (from < offset) frame.current.scrollTop = from / scale;
    else if (from + rowHeight > offset + visible) frame.current.scrollTop = (from + rowHeight - visible) / scale;
    return target;
  };
  const select = (index, { isRange = false } = {}) => {
    const row = rowAt(index);
    if (!row) return false;
    const selected = new Set(selection);
    if (isRange && anchor.current >= 0) {
      const [from, to] = [Math.min(anchor.current, index), Math.max(anchor.current, index)];
      for (let at = from; at <= to; at += 1) if (rowAt(at)) selected.add(keyOf(rowAt(at)));
    } else {
      const key = keyOf(row);
      if (!selected.delete(key)) selected.add(key);
      anchor.current = index;
    }
    onSelect(selected);
    return selected.has(keyOf(row));
  };
  const keys = (event) => {
    if (event.target !== frame.current || event.altKey) return;
    const now = active < 0 ? first - 1 : active;
    const target = { ArrowDown: now + 1, ArrowUp: active < 0 ? first : now - 1, PageDown: now + inView - 1, PageUp: now - inView + 1, Home: 0, End: total - 1 }[event.key];
    if (target !== undefined && total > 0) {
      event.preventDefault();
      if (event.shiftKey && anchor.current < 0) anchor.current = Math.max(0, active);
      const reached = activate(target);
      if (event.shiftKey && onSelect) select(reached, { isRange: true });
    } else if (event.key === " " && active >= 0 && onSelect) {
      event.preventDefault();
      select(active, { isRange: event.shiftKey });
    } else if (event.key === ENTER && active >= 0 && rowAt(active)) {
      event.preventDefault();
      onOpen(rowAt(active));
    } else if (event.key === "Escape" && selection?.size) {
      onSelect(new Set());
    } else if (event.key === "a" && (event.ctrlKey || event.metaKey) && onSelect) {
      event.preventDefault();
      properties.onSelectAll?.();
    }
  };

  const template = [onSelect && "2.75rem", ...(renderCard ? ["minmax(0, 1fr)"] : columns.map((column) => column.width))].filter(Boolean).join(" ");
  const rows = [];
  for (let index = Math.max(0, first - OVERSCAN); index <= Math.min(total - 1, last + OVERSCAN); index += 1) rows.push(index);
  const shift = view.top - offset; // 0 unless the scroll position is a fraction
  return html`<div
    ref=${frame}
    class="grid ${renderCard ? "cards" : ""} ${isMoving ? "moving" : ""}"
    role="grid"
    tabindex="0"
    aria-label=${label}
    aria-rowcount=${total + 1}
    aria-multiselectable=${onSelect ? "true" : undefined}
    aria-activedescendant=${active >= 0 && rows.includes(active) ? `${id}-${active}` : undefined}
    onScroll=${scrolled}
    onKeyDown=${keys}
  >
    <div class="grid-head ${renderCard ? "visually-hidden" : ""}" role="row" aria-rowindex="1" style=${{ gridTemplateColumns: template }}>
      ${onSelect && html`<div role="columnheader" class="grid-cell"><span class="visually-hidden">${t("grid.selected")}</span></div>`}
      ${renderCard
        ? html`<div role="columnheader">${label}</div>`
        : columns.map((column) => html`<${GridHeading} key=${column.key} column=${column} sort=${sort} onSort=${onSort} />`)}
    </div>
    <div class="grid-body" role="rowgroup" style=${{ height: `${height}px` }}>
      ${rows.map((index) => {
        const row = rowAt(index);
        const key = row ? keyOf(row) : "";
        return html`<${Row}
          key=${index}
          id="${id}-${index}"
          index=${index}
          top=${index * rowHeight + shift}
          height=${rowHeight}
          template=${template}
          row=${row}
          columns=${columns}
          renderCard=${renderCard}
          lead=${row && renderLead?.(row, isMoving)}
          isActive=${index === active}
          isSelected=${Boolean(row) && selection?.has(key)}
          isMarked=${Boolean(row) && properties.isMarked?.(row)}
          hasBox=${Boolean(onSelect)}
          name=${row && onSelect ? nameOf(row) : ""}
          href=${row ? hrefOf(row) : undefined}
          onBox=${(isRange) => {
            setActive(index);
            return select(index, { isRange });
          }}
          onPress=${() => setActive(index)}
        />`;
      })}
    </div>
  </div>`;
}

function GridHeading({ column, sort, onSort }) {
  const canSort = column.sortKey && onSort;
  return html`<div role="columnheader" class="grid-cell ${column.isNumber ? "number" : ""}" aria-sort=${canSort ? orderOf(column, sort) : undefined}>
    ${canSort ? html`<${SortButton} column=${column} sort=${sort} onSort=${onSort} />` : html`<span>${column.title}</span>`}
  </div>`;
}

function Row({ id, index, top, height, template, row, columns, renderCard, lead, isActive, isSelected, isMarked, hasBox, name, href, onBox, onPress }) {
  const style = { top: `${top}px`, height: `${height}px`, gridTemplateColumns: template };
  const state = `${isActive ? "active" : ""} ${isSelected ? "selected" : ""} ${isMarked ? "marked" : ""}`;
  if (!row) {
    return html`<div class="grid-row waiting" role="row" id=${id} aria-rowindex=${index + 2} style=${style}>
      <div role="gridcell" class="grid-cell"><span class="visually-hidden">${t("loading")}</span></div>
    </div>`;
  }
  return html`<div
    class="grid-row ${state}"
    role="row"
    id=${id}
    aria-rowindex=${index + 2}
    aria-selected=${hasBox ? String(isSelected) : undefined}
    style=${style}
    onPointerDown=${onPress}
  >
    ${hasBox &&
    html`<div role="gridcell" class="grid-cell box">
      <input
        type="checkbox"
        tabindex="-1"
        checked=${isSelected}
        aria-label=${t("grid.select", { name })}
        onClick=${(event) => {
          event.currentTarget.checked = onBox(event.shiftKey);
        }}
      />
    </div>`}
    ${renderCard
      ? html`<div role="gridcell" class="grid-cell"><a class="row-link" tabindex="-1" href=${href}>${lead}${renderCard(row)}</a></div>`
      : columns.map(
          (column, at) => html`<div key=${column.key} role="gridcell" class="grid-cell ${column.isNumber ? "number" : ""}">
            ${at === 0 ? html`<a class="row-link" tabindex="-1" href=${href}>${lead}${column.render(row)}</a>` : column.render(row)}
          </div>`,
        )}
  </div>`;
}
