// Start of the application: settings and partitions, then the page of the current location.
import { html, render, useEffect, useErrorBoundary, useState } from "./vendor/htm-preact-standalone.js";
import { Button } from "./components/buttons.js";
import { Dialogs } from "./components/dialogs.js";
import { Layout } from "./components/layout.js";
import { Empty, Failure, Loading, Page } from "./components/states.js";
import { Toasts } from "./components/toasts.js";
import { getJson } from "./lib/api.js";
import { grants, may, mayOpen } from "./lib/permissions.js";
import { href, navigate, restore, useLocation } from "./lib/router.js";
import { ROOT, partitions, settings, takeReturn } from "./lib/session.js";
import { t } from "./lib/texts.js";
import { PAGES, homePath } from "./pages/index.js";

function App() {
  const [start, setStart] = useState({ isReady: false, error: null });
  const location = useLocation();
  const begin = () =>
    prepared().then(
      () => setStart({ isReady: true, error: null }),
      (error) => setStart({ isReady: false, error }),
    );
  useEffect(begin, []);
  const isHome = start.isReady && location.segments.length === 0;
  const isMisplaced = start.isReady && partitions.value.length > 0 && !location.partition;
  useEffect(() => {
    if (isHome || isMisplaced) {
      const params = Object.fromEntries([...new Set(location.params.keys())].map((key) => [key, location.params.getAll(key)]));
      const partition = isMisplaced ? partitions.value[0] : location.partition;
      navigate(isMisplaced ? location.path : homePath(), params, { replace: true, partition });
    }
  }, [isHome, isMisplaced]);
  const page = PAGES.find((each) => each.path === `/${location.segments[0] ?? ""}`);
  const isWaiting = !start.isReady || isHome || isMisplaced;
  return html`
    <${Layout} pages=${start.isReady ? PAGES.filter(mayOpen) : []} current=${page}>
      ${start.error
        ? html`<${Failure} error=${start.error} retry=${begin} />`
        : isWaiting
          ? html`<${Loading} />`
          : html`<${CurrentPage} key=${`${location.partition} ${page?.path}`} page=${page} location=${location} />`}
    <//>
    <${Dialogs} />
    <${Toasts} />
  `;
}

/** Loads the module of a page, and shows its default export with the current `location`. */
function CurrentPage({ page, location }) {
  const [error, reset] = useErrorBoundary();
  const [state, setState] = useState({ component: page?.component ?? null, error: null });
  const load = () =>
    page?.load().then(
      (module) => {
        page.component = module.default;
        setState({ component: module.default, error: null });
      },
      () => setState({ component: null, error: new Error(t("error.module")) }),
    );
  const isPermitted = page !== undefined && mayOpen(page);
  useEffect(() => {
    if (!state.component && isPermitted) load();
  }, [page]);
  if (page && !isPermitted) {
    return html`<${Page} title=${t(page.title)}><${Empty} icon="shield" title=${t("forbidden.title")}><p>${t("forbidden.text")}</p><//><//>`;
  }
  if (!page) {
    return html`<${Page} title=${t("missing.title")}>
      <${Empty} icon="search" title=${t("missing.text")}><a href=${href("/")}>${t("missing.home")}</a><//>
    <//>`;
  }
  if (error) {
    console.error(error);
    return html`<div class="state failure" role="alert">
      <p>${t("error.unexpected")}</p>
      <${Button} icon="refresh" onClick=${reset}>${t("retry")}<//>
    </div>`;
  }
  if (state.error) return html`<${Failure} error=${state.error} retry=${load} />`;
  return state.component ? html`<${state.component} location=${location} />` : html`<${Loading} />`;
}

async function prepared() {
  const response = await fetch(new URL("explorer/settings.json", ROOT)).catch(() => null);
  if (!response?.ok) throw new Error(t("error.network"));
  settings.set(await response.json());
  const { hasPartitions, needsLogin } = settings.value;
  grants.set(needsLogin ? (await getJson("/me", { isService: true })).grants : null);
  const found = hasPartitions && may("read", "anywhere") ? await getJson("/partitions", { isService: true }) : [];
  partitions.set(found.map((each) => each.partitionName));
}

const returnTo = takeReturn();
if (returnTo) restore(returnTo);
const root = document.getElementById("app");
root.replaceChildren(); // the head that index.html shows until the modules are loaded
render(html`<${App} />`, root);
