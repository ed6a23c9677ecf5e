// Short messages about what has happened. Screen readers announce them (role "status"); errors stay until dismissed.
import { html } from "../vendor/htm-preact-standalone.js";
import { createStore, useStore } from "../lib/store.js";
import { t } from "../lib/texts.js";
import { Button } from "./buttons.js";
import { Icon } from "./icons.js";

const SHOWN_MS = 7000;
const MOST = 4;

const shown = createStore([]);
let lastNumber = 0;

const remove = (number) => shown.set(shown.value.filter((each) => each.number !== number));

/** Show a message. `kind`: "success", "error" or "info"; `action`: `{ label, run }` for a button in it. */
export function toast(text, { kind = "success", action = null } = {}) {
  lastNumber += 1;
  const number = lastNumber;
  shown.set([...shown.value.slice(1 - MOST), { number, text, kind, action }]);
  if (kind !== "error" && !action) setTimeout(() => remove(number), SHOWN_MS);
}

/** Show an error, unless the user has aborted the request. */
export function toastError(error) {
  if (error.name !== "AbortError") toast(error.message, { kind: "error" });
}

const ICONS = { success: "check", error: "alert", info: "info" };

/** The place of all messages, once in the application. */
export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${useStore(shown).map(
      ({ number, text, kind, action }) => html`<div key=${number} class="toast ${kind}">
        <${Icon} name=${ICONS[kind]} />
        <p>${text}</p>
        ${action &&
        html`<${Button}
          kind="quiet"
          onClick=${() => {
            remove(number);
            action.run();
          }}
        >${action.label}<//>`}
        <${Button} kind="quiet" icon="close" label=${t("toast.dismiss")} onClick=${() => remove(number)} />
      </div>`,
    )}
  </div>`;
}
