// Buttons and links that look like buttons.
import { html } from "../vendor/htm-preact-standalone.js";
import { Icon } from "./icons.js";

/**
 * A button. `kind`: "primary", "danger", "quiet" (no frame), or none. With `icon` and without children it needs `label`,
 * which is then also its tooltip. Other properties are those of the element.
 */
export function Button({ kind = "", icon, label, children, busy = false, ...properties }) {
  const isIconOnly = !children || (Array.isArray(children) && children.length === 0);
  return html`<button
    type="button"
    class="button ${kind} ${isIconOnly ? "icon-only" : ""}"
    aria-label=${isIconOnly ? label : undefined}
    title=${isIconOnly ? label : undefined}
    aria-busy=${busy ? "true" : undefined}
    ...${properties}
  >
    ${icon && html`<${Icon} name=${icon} />`}${children}
  </button>`;
}

/** A link that looks like a button. */
export function LinkButton({ kind = "", icon, label, children, ...properties }) {
  const isIconOnly = !children || (Array.isArray(children) && children.length === 0);
  return html`<a
    class="button ${kind} ${isIconOnly ? "icon-only" : ""}"
    aria-label=${isIconOnly ? label : undefined}
    title=${isIconOnly ? label : undefined}
    ...${properties}
  >
    ${icon && html`<${Icon} name=${icon} />`}${children}
  </a>`;
}
