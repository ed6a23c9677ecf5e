// The dialog in which users choose the columns of the list of studies and their order.
import { html } from "../../vendor/htm-preact-standalone.js";
import { Button } from "../../components/buttons.js";
import { Dialog } from "../../components/dialogs.js";
import { Checkbox } from "../../components/fields.js";
import { useStore } from "../../lib/store.js";
import { t } from "../../lib/texts.js";
import { allColumns, columnsOf, resetColumns, shownColumns } from "./columns.js";

export function ColumnDialog({ close, tags }) {
  const keys = useStore(shownColumns);
  const shown = columnsOf(tags, keys);
  const hidden = allColumns(tags).filter((column) => !keys.includes(column.key));
  const move = (at, step) => {
    const order = shown.map((column) => column.key);
    [order[at], order[at + step]] = [order[at + step], order[at]];
    shownColumns.set(order);
  };
  const toggle = (key, isShown) => shownColumns.set(isShown ? [...keys, key] : keys.filter((each) => each !== key));
  return html`<${Dialog}
    title=${t("columns.title")}
    close=${close}
    onSubmit=${() => close()}
    actions=${html`
      <${Button} onClick=${resetColumns}>${t("columns.reset")}<//>
      <${Button} kind="primary" type="submit">${t("columns.done")}<//>
    `}
  >
    <ol class="column-list">
      ${shown.map(
        (column, at) => html`<li key=${column.key}>
          <${Checkbox} label=${column.title} checked disabled=${shown.length === 1} onChange=${() => toggle(column.key, false)} />
          <${Button} kind="quiet" icon="arrowUp" label=${t("columns.up", { name: column.title })} disabled=${at === 0} onClick=${() => move(at, -1)} />
          <${Button}
            kind="quiet"
            icon="arrowDown"
            label=${t("columns.down", { name: column.title })}
            disabled=${at === shown.length - 1}
            onClick=${() => move(at, 1)}
          />
        </li>`,
      )}
      ${hidden.map(
        (column) => html`<li key=${column.key}><${Checkbox} label=${column.title} checked=${false} onChange=${() => toggle(column.key, true)} /></li>`,
      )}
    </ol>
    <p class="hint">${t("columns.hint")}</p>
  <//>`;
}
