// What a page shows instead of its content, and the frame of a page.
import { html, useEffect, useRef, useState } from "../vendor/htm-preact-standalone.js";
import { t } from "../lib/texts.js";
import { Button } from "./buttons.js";
import { Icon } from "./icons.js";

/** The content is being loaded. */
export const Loading = () => html`<p class="state" role="status"><span class="spinner" aria-hidden="true"></span>${t("loading")}</p>`;

/** The content could not be loaded; `retry` loads it again. */
export function Failure({ error, retry }) {
  return html`<div class="state failure" role="alert">
    <${Icon} name="alert" size=${28} />
    <p>${error.message}</p>
    ${retry && html`<${Button} icon="refresh" onClick=${retry}>${t("retry")}<//>`}
  </div>`;
}

/** There is no content. */
export function Empty({ icon = "archive", title, children }) {
  return html`<div class="state">
    <${Icon} name=${icon} size=${32} />
    <p class="state-title">${title}</p>
    ${children}
  </div>`;
}

/**
 * The frame of a page: a heading, actions beside it, and the content. The title of the window names no patient.
 * `isWide`: as wide as the window; `isFull`: also as high, for a content that scrolls itself.
 */
export function Page({ title, heading = title, actions, children, isWide = false, isFull = false }) {
  useEffect(() => {
    document.title = `${title} · dicomstore`;
  }, [title]);
  return html`<div class="page ${isWide ? "wide" : ""} ${isFull ? "full" : ""}">
    <header class="page-head">
      <h1>${heading}</h1>
      ${actions && html`<div class="page-actions">${actions}</div>`}
    </header>
    ${children}
  </div>`;
}

/**
 * Load something when the component appears and whenever `keys` change. Returns `{ value, error, isLoading, reload }`; the
 * previous value remains until the next one is there. `load(signal)` is aborted when its result is not needed any more.
 */
export function useLoaded(load, keys) {
  const [state, setState] = useState({ value: null, error: null, isLoading: true });
  const [turn, setTurn] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    const abort = new AbortController();
    setState((previous) => ({ ...previous, error: null, isLoading: true }));
    latest.current(abort.signal).then(
      (value) => !abort.signal.aborted && setState({ value, error: null, isLoading: false }),
      (error) => !abort.signal.aborted && setState((previous) => ({ ...previous, error, isLoading: false })),
    );
    return () => abort.abort();
  }, [...keys, turn]);
  return { ...state, reload: () => setTurn((count) => count + 1) };
}
