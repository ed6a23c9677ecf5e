// A value that the archive shows only once: a token, a URL with a token, the secret of a webhook.
import { html, useRef, useState } from "../vendor/htm-preact-standalone.js";
import { t } from "../lib/texts.js";
import { Button } from "./buttons.js";
import { TextField } from "./fields.js";

export function Secret({ label, value }) {
  const frame = useRef(null);
  const [isCopied, setCopied] = useState(false);
  const copy = async () => {
    frame.current.querySelector("input").select();
    try {
      await navigator.clipboard.writeText(value);
      setCopied(true);
    } catch {
      // Without permission, the selected text can be copied with the keyboard.
    }
  };
  return html`<div class="secret" ref=${frame}>
    <${TextField} label=${label} hint=${t("secret.hint")} value=${value} onChange=${() => {}} readonly spellcheck="false" />
    <${Button} icon="copy" onClick=${copy}>${t(isCopied ? "secret.copied" : "secret.copy")}<//>
  </div>`;
}
