// One study: its series, and the selected instance as image or document, with its attributes and versions.
import { html } from "../vendor/htm-preact-standalone.js";
import { Button, LinkButton } from "../components/buttons.js";
import { Menu } from "../components/menu.js";
import { Empty, Failure, Loading, Page, useLoaded } from "../components/states.js";
import { Thumbnail } from "../components/thumbnail.js";
import { getJson, getPage, urlOf } from "../lib/api.js";
import { useChanges } from "../lib/changes.js";
import { labelsOf, textOf, valueOf, valuesOf } from "../lib/dicom.js";
import { formatDate, formatName, formatTime } from "../lib/format.js";
import { may } from "../lib/permissions.js";
import { currentLocation, href, navigate, setParams } from "../lib/router.js";
import { settings } from "../lib/session.js";
import { t } from "../lib/texts.js";
import { askForLabels, askToDelete, askToExport, askToHold, askToSend, askToShare, askToUpdate, zipUrl } from "./studies/actions.js";
import { Attributes } from "./study/attributes.js";
import { Content } from "./study/content.js";
import { SLIDE_FIELDS } from "./study/slide.js";
import { Versions } from "./study/versions.js";

const VIEWS = ["content", "attributes", "versions"];
const NUMBER_LAST = 1e9;

export default function Study({ location }) {
  const uid = location.segments[1] ?? "";
  return html`<${Loaded} key=${uid} uid=${uid} params=${location.params} />`;
}

const numberOf = (dataSet, name) => Number(valueOf(dataSet, name) ?? NUMBER_LAST);
const byNumber = (name) => (a, b) => numberOf(a, name) - numberOf(b, name);

async function loadStudy(uid, signal) {
  const [studies, series] = await Promise.all([
    getPage("/studies", { params: { StudyInstanceUID: uid, labels: true }, signal }),
    getPage(`/studies/${uid}/series`, { params: { includefield: "BodyPartExamined" }, signal }),
  ]);
  return { study: studies.items[0] ?? null, series: series.items.sort(byNumber("SeriesNumber")) };
}

function Loaded({ uid, params }) {
  const { value, error, reload } = useLoaded((signal) => loadStudy(uid, signal), [uid]);
  useChanges((studies) => (studies === null || studies.has(uid)) && reload());
  const title = t("study.title");
  if (error && !value) return html`<${Page} title=${title} isWide><${Failure} error=${error} retry=${reload} /><//>`;
  if (!value) return html`<${Page} title=${title} isWide><${Loading} /><//>`;
  if (!value.study) {
    return html`<${Page} title=${title} isWide>
      <${Empty} icon="search" title=${t("study.missing")}><a href=${href("/studies")}>${t("study.back")}</a><//>
    <//>`;
  }
  const { study, series } = value;
  const selected = series.find((each) => textOf(each, "SeriesInstanceUID") === params.get("series")) ?? series[0];
  return html`<${Page} title=${title} heading=${html`<${Heading} study=${study} />`} isWide actions=${html`<${Actions} uid=${uid} reload=${reload} />`}>
    <div class="study">
      <${SeriesList} uid=${uid} series=${series} selected=${selected} />
      ${selected && html`<${Series} key=${textOf(selected, "SeriesInstanceUID")} uid=${uid} series=${selected} params=${params} stamp=${value} />`}
    </div>
  <//>`;
}

function Heading({ study }) {
  const facts = [
    textOf(study, "PatientID"),
    formatDate(textOf(study, "PatientBirthDate")),
    textOf(study, "PatientSex"),
  ].filter(Boolean);
  const about = [
    textOf(study, "StudyDescription"),
    [formatDate(textOf(study, "StudyDate")), formatTime(textOf(study, "StudyTime"))].filter(Boolean).join(" "),
    textOf(study, "AccessionNumber"),
  ].filter(Boolean);
  return html`<span class="study-heading">
    <span class="study-patient">${formatName(valueOf(study, "PatientName")) || t("studies.nameless")}</span>
    ${facts.map((fact) => html`<span key=${fact} class="study-fact">${fact}</span>`)}
    <span class="study-about">
      ${about.map((fact) => html`<span key=${fact}>${fact}</span>`)}
      ${valuesOf(study, "ModalitiesInStudy").map((each) => html`<span key=${each} class="badge modality">${each}</span>`)}
      ${labelsOf(study, "STUDY").map(([name, value]) => html`<span key=${name} class="badge">${value ? `${name}: ${value}` : name}</span>`)}
    </span>
  </span>`;
}

/** The URL of a study in a viewer, from its template. */
function viewerUrl(template, uid) {
  const values = { study: uid, partition: currentLocation().partition, dicomweb: urlOf("") };
  const url = template.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? encodeURIComponent(values[name]) : whole));
  return url.startsWith("/") ? new URL(url.slice(1), document.baseURI).href : url;
}

function Actions({ uid, reload }) {
  const viewers = settings.value?.viewers ?? [];
  const changed = (result) => result && reload();
  const removed = (result) => result?.length && navigate("/studies");
  const more = [
    may("write") && { label: t("action.label"), icon: "label", run: () => askForLabels([uid]).then(changed) },
    may("write") && { label: t("action.update"), icon: "edit", run: () => askToUpdate([uid]) },
    may("export") && { label: t("action.send"), icon: "transfer", run: () => askToSend([uid]) },
    may("export") && { label: t("action.export"), icon: "export", run: () => askToExport([uid]) },
    may("administer") && { label: t("action.hold"), icon: "hold", run: () => askToHold(uid) },
    may("delete") && { label: t("action.delete"), icon: "trash", isDanger: true, run: () => askToDelete([uid], () => {}).then(removed) },
  ].filter(Boolean);
  return html`
    <${LinkButton} icon="back" href=${href("/studies")} label=${t("study.back")} />
    ${viewers.length === 1 &&
    html`<${LinkButton} kind="primary" icon="external" href=${viewerUrl(viewers[0].url, uid)} target="_blank" rel="noreferrer">
      ${t("study.openIn", { name: viewers[0].name })}
    <//>`}
    ${viewers.length > 1 &&
    html`<${Menu}
      kind="primary"
      icon="external"
      label=${t("study.open")}
      items=${viewers.map((viewer) => ({ label: viewer.name, href: viewerUrl(viewer.url, uid), target: "_blank" }))}
    >${t("study.open")}<//>`}
    <${LinkButton} icon="download" href=${zipUrl(`/studies/${uid}`)} download="${uid}.zip">${t("action.download")}<//>
    ${may("administer") && html`<${Button} icon="share" onClick=${() => askToShare([`/studies/${uid}`])}>${t("action.share")}<//>`}
    ${more.length > 0 && html`<${Menu} label=${t("study.more")} items=${more} />`}
  `;
}

function SeriesList({ uid, series, selected }) {
  return html`<nav class="series-list" aria-label=${t("study.series")}>
    <h2 class="series-title">${t("study.seriesCount", { count: series.length })}</h2>
    <ul>
      ${series.map((each) => {
        const seriesUid = textOf(each, "SeriesInstanceUID");
        const count = Number(valueOf(each, "NumberOfSeriesRelatedInstances") ?? 0);
        return html`<li key=${seriesUid}>
          <a
            class="series-item"
            href=${href(["study", uid], { series: seriesUid })}
            aria-current=${each === selected ? "true" : undefined}
          >
            <${Thumbnail} path=${`/studies/${uid}/series/${seriesUid}`} size=${64} />
            <span class="series-text">
              <span class="series-name">${textOf(each, "SeriesDescription") || t("study.series.nameless", { number: textOf(each, "SeriesNumber") || "–" })}</span>
              <span class="soft">${[textOf(each, "Modality"), t("study.instances", { count })].filter(Boolean).join(" · ")}</span>
            </span>
          </a>
        </li>`;
      })}
    </ul>
  </nav>`;
}

const INSTANCE_FIELDS = ["NumberOfFrames", "AvailableTransferSyntaxUID", ...SLIDE_FIELDS].join(",");

// `stamp` is another value whenever the study has changed.
function Series({ uid, series, params, stamp }) {
  const seriesUid = textOf(series, "SeriesInstanceUID");
  const path = `/studies/${uid}/series/${seriesUid}`;
  const { value, error, reload } = useLoaded(
    async (signal) => (await getPage(`${path}/instances`, { params: { includefield: INSTANCE_FIELDS, limit: 100_000 }, signal })).items.sort(byNumber("InstanceNumber")),
    [path, stamp],
  );
  const view = VIEWS.includes(params.get("view")) ? params.get("view") : VIEWS[0];
  if (error && !value) return html`<section class="study-main"><${Failure} error=${error} retry=${reload} /></section>`;
  if (!value) return html`<section class="study-main"><${Loading} /></section>`;
  const instance = value.find((each) => textOf(each, "SOPInstanceUID") === params.get("instance")) ?? value[0];
  if (!instance) return html`<section class="study-main"><${Empty} title=${t("study.series.empty")} /></section>`;
  return html`<section class="study-main" aria-label=${t("study.selected")}>
    <${Tabs} view=${view} />
    <div role="tabpanel" id="study-panel" aria-labelledby="tab-${view}" class="study-panel">
      <${View} view=${view} path=${path} instances=${value} instance=${instance} params=${params} stamp=${value} />
    </div>
  </section>`;
}

function Tabs({ view }) {
  const select = (name) => setParams({ view: name === VIEWS[0] ? null : name }, { replace: true });
  const keys = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const name = VIEWS[(VIEWS.indexOf(view) + step + VIEWS.length) % VIEWS.length];
    select(name);
    document.getElementById(`tab-${name}`).focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${t("study.views")} onKeyDown=${keys}>
    ${VIEWS.map(
      (name) => html`<button
        key=${name}
        type="button"
        role="tab"
        id="tab-${name}"
        aria-selected=${String(name === view)}
        aria-controls=${name === view ? "study-panel" : undefined}
        tabindex=${name === view ? "0" : "-1"}
        onClick=${() => select(name)}
      >${t(`study.view.${name}`)}</button>`,
    )}
  </div>`;
}

function View({ view, path, instances, instance, params, stamp }) {
  const instancePath = `${path}/instances/${textOf(instance, "SOPInstanceUID")}`;
  const { value: metadata, error, reload: again } = useLoaded(
    async (signal) => (await getJson(`${instancePath}/metadata`, { headers: { Accept: "application/dicom+json" }, signal }))[0],
    [instancePath, stamp],
  );
  if (view === "versions") return html`<${Versions} path=${instancePath} stamp=${stamp} />`;
  if (error && !metadata) return html`<${Failure} error=${error} retry=${again} />`;
  if (!metadata) return html`<${Loading} />`;
  return view === "attributes"
    ? html`<${Attributes} metadata=${metadata} instances=${instances} instance=${instance} />`
    : html`<${Content} path=${path} metadata=${metadata} instances=${instances} instance=${instance} params=${params} />`;
}
