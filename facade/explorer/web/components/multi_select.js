// A choice of several values: a button that opens a list of boxes to tick.
import { html, useEffect, useRef, useState } from "../vendor/htm-preact-standalone.js";
import { useId } from "./fields.js";
import { Icon } from "./icons.js";

/** `options`: values; `values`: the selected ones; `none`: text without a selection; `titleOf(value)`: text of an option. */
export function MultiSelect({ label, options, values, onChange, none, titleOf = (value) => value }) {
  const id = useId();
  const [isOpen, setOpen] = useState(false);
  const frame = useRef(null);
  const button = useRef(null);
  useEffect(() => {
    if (!isOpen) return undefined;
    frame.current.querySelector(".menu input")?.focus();
    const leave = (event) => !frame.current.contains(event.target) && setOpen(false);
    document.addEventListener("pointerdown", leave);
    document.addEventListener("focusin", leave);
    return () => {
      document.removeEventListener("pointerdown", leave);
      document.removeEventListener("focusin", leave);
    };
  }, [isOpen]);
  const keys = (event) => {
    if (event.key === "Escape" && isOpen) {
      event.stopPropagation();
      setOpen(false);
      button.current.focus();
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && isOpen) {
      event.preventDefault();
      const boxes = [...frame.current.querySelectorAll(".menu input")];
      boxes[(boxes.indexOf(document.activeElement) + step + boxes.length) % boxes.length].focus();
    } else if (step) {
      event.preventDefault();
      setOpen(true);
    }
  };
  const toggle = (value) => onChange(values.includes(value) ? values.filter((each) => each !== value) : [...values, value]);
  const all = [...options, ...values.filter((value) => !options.includes(value))];
  return html`<div class="field multi-select" ref=${frame} onKeyDown=${keys}>
    <span class="fields-title" id="${id}-label">${label}</span>
    <button
      ref=${button}
      type="button"
      id=${id}
      class="select-button"
      aria-haspopup="true"
      aria-expanded=${isOpen ? "true" : "false"}
      aria-labelledby="${id}-label ${id}"
      onClick=${() => setOpen(!isOpen)}
    >
      <span>${values.length > 0 ? values.map(titleOf).join(", ") : none}</span><${Icon} name="chevronDown" size=${14} />
    </button>
    ${isOpen &&
    html`<div class="menu" role="group" aria-labelledby="${id}-label">
      ${all.map(
        (value) => html`<label key=${value} class="menu-check">
          <input type="checkbox" checked=${values.includes(value)} onChange=${() => toggle(value)} />${titleOf(value)}
        </label>`,
      )}
    </div>`}
  </div>`;
}
