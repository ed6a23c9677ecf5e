// The frame of the application: head with partition switch and appearance, navigation, and the current page.
import { html, useEffect, useRef, useState } from "../vendor/htm-preact-standalone.js";
import { href, navigate, useLocation } from "../lib/router.js";
import { ROOT, partitions, settings } from "../lib/session.js";
import { createKeptStore, useStore } from "../lib/store.js";
import { t } from "../lib/texts.js";
import { Button, LinkButton } from "./buttons.js";
import { Icon } from "./icons.js";

const appearance = createKeptStore("appearance", "auto");
const APPEARANCES = ["auto", "light", "dark"];
const APPEARANCE_ICONS = { auto: "contrast", light: "sun", dark: "moon" };

const apply = (value) => {
  document.documentElement.dataset.appearance = value;
};
apply(appearance.value);
appearance.subscribe(apply);

/** `pages`: those of pages/index.js; `current`: the one that is shown, in `children`. */
export function Layout({ pages, current, children }) {
  const [isOpen, setOpen] = useState(false);
  const main = useRef(null);
  const { path } = useLocation();
  const shownPath = useRef(path);
  useEffect(() => {
    setOpen(false);
    // The keyboard and screen readers continue at the new page.
    if (shownPath.current !== path) main.current.focus({ preventScroll: true });
    shownPath.current = path;
  }, [path]);
  useEffect(() => {
    if (!isOpen) return undefined;
    const close = (event) => event.key === "Escape" && setOpen(false);
    window.addEventListener("keydown", close);
    return () => window.removeEventListener("keydown", close);
  }, [isOpen]);
  return html`
    <a
      class="skip"
      href="#main"
      onClick=${(event) => {
        event.preventDefault();
        main.current.focus();
      }}
    >${t("layout.skip")}</a>
    <header class="head">
      <${Button}
        kind="quiet menu-button"
        icon="menu"
        label=${t("layout.menu")}
        aria-expanded=${isOpen ? "true" : "false"}
        aria-controls="navigation"
        onClick=${() => setOpen(!isOpen)}
      />
      <a class="brand" href=${href("/")} aria-label=${t("layout.home")}><${Logo} /><span>dicomstore</span></a>
      <div class="head-actions">
        <${PartitionSwitch} />
        <${AppearanceButton} />
        <${Account} />
      </div>
    </header>
    <div class="body">
      <nav id="navigation" class="navigation ${isOpen ? "open" : ""}" aria-label=${t("layout.navigation")}>
        ${groupsOf(pages).map(
          ([group, members]) => html`<div key=${group} class="navigation-group">
            ${group && html`<p class="navigation-title" id="group-${group}">${t(`layout.group.${group}`)}</p>`}
            <ul aria-labelledby=${group ? `group-${group}` : undefined}>
              ${members.map(
                (page) => html`<li key=${page.path}>
                  <a href=${href(page.path)} aria-current=${page === current ? "page" : undefined}>
                    <${Icon} name=${page.icon} /><span>${t(page.title)}</span>
                  </a>
                </li>`,
              )}
            </ul>
          </div>`,
        )}
      </nav>
      ${isOpen && html`<div class="shade" onClick=${() => setOpen(false)}></div>`}
      <main id="main" ref=${main} tabindex="-1">${children}</main>
    </div>
  `;
}

function groupsOf(pages) {
  const groups = new Map();
  for (const page of pages.filter((each) => each.icon)) {
    const group = page.group ?? "";
    groups.set(group, [...(groups.get(group) ?? []), page]);
  }
  return [...groups];
}

/** The mark of the application. */
export function Logo() {
  return html`<svg class="logo" viewBox="0 0 32 32" width="28" height="28" aria-hidden="true" focusable="false">
    <rect class="logo-field" width="32" height="32" rx="8" />
    <g class="logo-lines">
      <rect x="7" y="7" width="18" height="18" rx="4" />
      <circle cx="16" cy="16" r="4.6" />
      <path d="M16 7v4.4M16 20.6V25M7 16h4.4M20.6 16H25" />
    </g>
  </svg>`;
}

function PartitionSwitch() {
  const names = useStore(partitions);
  const { partition, segments } = useLocation();
  if (names.length === 0) return null;
  const top = segments.length > 0 ? `/${segments[0]}` : "/studies";
  return html`<label class="partition">
    <span class="visually-hidden">${t("layout.partition")}</span>
    <${Icon} name="archive" />
    <select onChange=${(event) => navigate(top, {}, { partition: event.target.value })}>
      ${names.map((name) => html`<option key=${name} value=${name} selected=${name === partition}>${name}</option>`)}
    </select>
  </label>`;
}

function AppearanceButton() {
  const value = useStore(appearance);
  const next = APPEARANCES[(APPEARANCES.indexOf(value) + 1) % APPEARANCES.length];
  return html`<${Button}
    kind="quiet"
    icon=${APPEARANCE_ICONS[value] ?? "contrast"}
    label=${t("layout.appearance", { now: t(`layout.appearance.${value}`) })}
    onClick=${() => appearance.set(next)}
  />`;
}

function Account() {
  const known = useStore(settings);
  if (!known?.hasSession) return null;
  return html`<${LinkButton} kind="quiet" icon="person" label=${t("layout.logout")} href=${new URL("logout", ROOT).href} />`;
}
