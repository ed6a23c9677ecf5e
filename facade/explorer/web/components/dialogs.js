// Dialogs: the native element keeps the focus inside, closes with Escape, and returns the focus to where it was.
import { html, useEffect, useRef, useState } from "../vendor/htm-preact-standalone.js";
import { createStore, useStore } from "../lib/store.js";
import { t } from "../lib/texts.js";
import { Button } from "./buttons.js";
import { useId } from "./fields.js";

const open = createStore([]);
let lastNumber = 0;

/**
 * Open a dialog; the promise has what the component passes to `close`, and undefined if the user cancels.
 *
 * The component gets `close(result)` and `properties`, and renders a `Dialog`.
 */
export function openDialog(component, properties = {}) {
  lastNumber += 1;
  const number = lastNumber;
  return new Promise((resolve) => {
    const close = (result) => {
      open.set(open.value.filter((each) => each.number !== number));
      resolve(result);
    };
    open.set([...open.value, { number, component, properties, close }]);
  });
}

// A dialog belongs to its page: the back button closes it.
window.addEventListener("hashchange", () => {
  for (const { close } of open.value) close();
});

/** The place of all dialogs, once in the application. */
export function Dialogs() {
  return useStore(open).map(
    ({ number, component, properties, close }) => html`<${component} key=${number} close=${close} ...${properties} />`,
  );
}

/**
 * The frame of a dialog: `title`, content, and `actions` (buttons, in the footer). `onSubmit` is called by Enter and by a
 * button of type "submit"; `close()` by Escape and the close button. The
 * element with `data-autofocus` gets the focus. `isWide` for tables and forms with two columns.
 */
export function Dialog({ title, close, onSubmit, actions, children, isWide = false }) {
  const element = useRef(null);
  const titleId = useId();
  useEffect(() => {
    const dialog = element.current;
    const opener = document.activeElement;
    dialog.showModal();
    dialog.querySelector("[data-autofocus]")?.focus();
    return () => {
      dialog.close();
      if (opener?.isConnected) opener.focus();
    };
  }, []);
  const submit = (event) => {
    event.preventDefault();
    onSubmit?.();
  };
  return html`<dialog
    ref=${element}
    class="dialog ${isWide ? "wide" : ""}"
    aria-labelledby=${titleId}
    onCancel=${(event) => {
      event.preventDefault();
      close();
    }}
  >
    <form onSubmit=${submit}>
      <header class="dialog-head">
        <h2 id=${titleId}>${title}</h2>
        <${Button} kind="quiet" icon="close" label=${t("dialog.close")} onClick=${() => close()} />
      </header>
      <div class="dialog-body">${children}</div>
      ${actions && html`<footer class="dialog-actions">${actions}</footer>`}
    </form>
  </dialog>`;
}

/** Ask a question; the promise is true if the user confirms. `isDanger` for what cannot be taken back easily. */
export function confirm({ title, text, action, isDanger = false }) {
  return openDialog(Confirmation, { title, text, action, isDanger });
}

function Confirmation({ close, title, text, action, isDanger }) {
  return html`<${Dialog}
    title=${title}
    close=${close}
    onSubmit=${() => close(true)}
    actions=${html`
      <${Button} onClick=${() => close()}>${t("dialog.cancel")}<//>
      <${Button} kind=${isDanger ? "danger" : "primary"} type="submit" data-autofocus>${action}<//>
    `}
  >
    <p>${text}</p>
  <//>`;
}

/**
 * State of a form in a dialog: `{ isBusy, error, run }`. `run(work)` awaits `work()`; its error is shown by `FormError`.
 */
export function useWork() {
  const [state, setState] = useState({ isBusy: false, error: null });
  const run = async (work) => {
    setState({ isBusy: true, error: null });
    try {
      const result = await work();
      setState({ isBusy: false, error: null });
      return result;
    } catch (error) {
      setState({ isBusy: false, error });
      return undefined;
    }
  };
  return { ...state, run };
}

/** An error in a form, announced by screen readers. */
export function FormError({ error }) {
  return html`<p class="form-error" role="alert">${error ? error.message : ""}</p>`;
}
