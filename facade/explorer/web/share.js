// The page of a link for uploads, for people without an account (facade/sharing/redeem.py).
import { html, render } from "./vendor/htm-preact-standalone.js";
import { Dialogs } from "./components/dialogs.js";
import { Logo } from "./components/layout.js";
import { Page } from "./components/states.js";
import { Toasts } from "./components/toasts.js";
import { formatMoment } from "./lib/format.js";
import { t } from "./lib/texts.js";
import { Uploader } from "./pages/upload.js";

const root = document.getElementById("app");
const { url, link, until } = root.dataset;
// The token in the URL is a credential, so the browser keeps an unfinished upload under the id of the link.
const target = { url: new URL(url, document.baseURI).href, name: `share ${link}` };

render(
  html`
    <header class="head"><span class="brand"><${Logo} /><span>dicomstore</span></span></header>
    <main>
      <${Page} title=${t("upload.link.title")}>
        <p class="soft">${t("upload.link.until", { until: formatMoment(until) })}</p>
        <${Uploader} target=${target} />
      <//>
    </main>
    <${Dialogs} />
    <${Toasts} />
  `,
  root,
);
