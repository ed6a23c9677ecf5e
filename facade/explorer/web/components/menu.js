// A button that opens a menu of actions (WAI-ARIA menu button).
import { html, useEffect, useRef, useState } from "../vendor/htm-preact-standalone.js";
import { Button } from "./buttons.js";
import { Icon } from "./icons.js";

/** `items`: `{ label, icon, run, href, isDanger }`; entries that are false are left out. */
export function Menu({ label, icon = "more", kind = "", items, children }) {
  const [isOpen, setOpen] = useState(false);
  const frame = useRef(null);
  const entries = () => [...frame.current.querySelectorAll("[role=menuitem]")];
  useEffect(() => {
    if (!isOpen) return undefined;
    entries()[0]?.focus();
    const leave = (event) => !frame.current.contains(event.target) && setOpen(false);
    document.addEventListener("pointerdown", leave);
    document.addEventListener("focusin", leave);
    return () => {
      document.removeEventListener("pointerdown", leave);
      document.removeEventListener("focusin", leave);
    };
  }, [isOpen]);
  const close = () => {
    setOpen(false);
    frame.current.querySelector("button").focus();
  };
  const keys = (event) => {
    if (!isOpen) return;
    const all = entries();
    const at = all.indexOf(document.activeElement);
    const target = { ArrowDown: (at + 1) % all.length, ArrowUp: (at - 1 + all.length) % all.length, Home: 0, End: all.length - 1 }[event.key];
    if (target !== undefined) {
      event.preventDefault();
      all[target].focus();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      close();
    } else if (event.key === "Tab") {
      setOpen(false);
    }
  };
  return html`<div class="menu-frame" ref=${frame} onKeyDown=${keys}>
    <${Button}
      kind=${kind}
      icon=${icon}
      label=${label}
      aria-haspopup="menu"
      aria-expanded=${isOpen ? "true" : "false"}
      onClick=${() => setOpen(!isOpen)}
    >${children}<//>
    ${isOpen &&
    html`<div class="menu" role="menu" aria-label=${label}>
      ${items.filter(Boolean).map(
        (item) => html`<${item.href ? "a" : "button"}
          key=${item.label}
          type=${item.href ? undefined : "button"}
          role="menuitem"
          tabindex="-1"
          class="menu-item ${item.isDanger ? "danger" : ""}"
          href=${item.href}
          target=${item.href ? item.target : undefined}
          rel=${item.href ? "noreferrer" : undefined}
          download=${item.download}
          onClick=${() => {
            close();
            item.run?.();
          }}
        >${item.icon && html`<${Icon} name=${item.icon} />`}<span>${item.label}</span><//>`,
      )}
    </div>`}
  </div>`;
}
