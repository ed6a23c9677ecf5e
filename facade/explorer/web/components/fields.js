// Fields of forms: each has a label, and a hint and an error that belong to it for screen readers.
import { html, useRef } from "../vendor/htm-preact-standalone.js";

let lastNumber = 0;

/** An id that no other element has. */
export function useId() {
  const id = useRef(null);
  if (id.current === null) {
    lastNumber += 1;
    id.current = `f${lastNumber}`;
  }
  return id.current;
}

function Frame({ id, label, hint, error, children }) {
  return html`<div class="field">
    <label for=${id}>${label}</label>
    ${children}
    ${hint && html`<p class="hint" id="${id}-hint">${hint}</p>`}
    ${error && html`<p class="form-error" id="${id}-error">${error}</p>`}
  </div>`;
}

const described = (id, hint, error) => [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ") || undefined;

/** A field for one line of text; `onChange(value)` at every key. Other properties are those of the input. */
export function TextField({ label, value, onChange, hint, error, type = "text", ...properties }) {
  const id = useId();
  return html`<${Frame} id=${id} label=${label} hint=${hint} error=${error}>
    <input
      id=${id}
      type=${type}
      value=${value}
      onInput=${(event) => onChange(event.target.value)}
      aria-describedby=${described(id, hint, error)}
      aria-invalid=${error ? "true" : undefined}
      autocomplete="off"
      ...${properties}
    />
  <//>`;
}

/** A field for several lines of text. */
export function TextArea({ label, value, onChange, hint, error, rows = 4, ...properties }) {
  const id = useId();
  return html`<${Frame} id=${id} label=${label} hint=${hint} error=${error}>
    <textarea
      id=${id}
      rows=${rows}
      value=${value}
      onInput=${(event) => onChange(event.target.value)}
      aria-describedby=${described(id, hint, error)}
      aria-invalid=${error ? "true" : undefined}
      ...${properties}
    ></textarea>
  <//>`;
}

/** A choice of `options`: `[value, text]` each. */
export function Select({ label, value, onChange, options, hint, error, ...properties }) {
  const id = useId();
  return html`<${Frame} id=${id} label=${label} hint=${hint} error=${error}>
    <select
      id=${id}
      onChange=${(event) => onChange(event.target.value)}
      aria-describedby=${described(id, hint, error)}
      ...${properties}
    >
      ${options.map(([each, text]) => html`<option key=${each} value=${each} selected=${each === value}>${text}</option>`)}
    </select>
  <//>`;
}

/** A box to tick. */
export function Checkbox({ label, checked, onChange, ...properties }) {
  const id = useId();
  return html`<div class="check">
    <input id=${id} type="checkbox" checked=${checked} onChange=${(event) => onChange(event.target.checked)} ...${properties} />
    <label for=${id}>${label}</label>
  </div>`;
}
