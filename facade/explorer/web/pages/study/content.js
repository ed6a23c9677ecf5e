// The selected instance in the form that suits it: image, video, report, document, waveform, or a notice.
import { html } from "../../vendor/htm-preact-standalone.js";
import { LinkButton } from "../../components/buttons.js";
import { Select } from "../../components/fields.js";
import { Empty } from "../../components/states.js";
import { urlOf } from "../../lib/api.js";
import { textOf } from "../../lib/dicom.js";
import { kindOf } from "../../lib/kinds.js";
import { setParams } from "../../lib/router.js";
import { t } from "../../lib/texts.js";
import { ImageView } from "./image_view.js";
import { Slide } from "./slide.js";
import { Waveform } from "./waveform.js";

const MIME_TYPE = "00420012";
const TITLE = "00420010";

export function Content({ path, metadata, instances, instance, params }) {
  const kind = kindOf(metadata);
  const instancePath = `${path}/instances/${textOf(instance, "SOPInstanceUID")}`;
  if (kind === "image") {
    return html`<${ImageView} path=${path} metadata=${metadata} instances=${instances} instance=${instance} params=${params} />`;
  }
  return html`
    ${kind !== "slide" && html`<${InstanceChoice} instances=${instances} instance=${instance} />`}
    <${Other} kind=${kind} path=${path} instances=${instances} instancePath=${instancePath} metadata=${metadata} />
  `;
}

/** A choice of the instance, if the series has several. */
export function InstanceChoice({ instances, instance }) {
  if (instances.length < 2) return null;
  return html`<div class="instance-choice"><${Select}
    label=${t("study.instance")}
    value=${textOf(instance, "SOPInstanceUID")}
    options=${instances.map((each, at) => [textOf(each, "SOPInstanceUID"), t("study.instance.number", { number: textOf(each, "InstanceNumber") || String(at + 1), count: instances.length })])}
    onChange=${(uid) => setParams({ instance: uid, frame: null }, { replace: true })}
  /></div>`;
}

function Other({ kind, path, instancePath, instances, metadata }) {
  const rendered = urlOf(`${instancePath}/rendered`);
  if (kind === "video") {
    return html`<div class="stage"><video class="video" controls playsinline preload="metadata" src=${rendered} aria-label=${t("study.video")}></video></div>`;
  }
  if (kind === "report") {
    const source = urlOf(`${instancePath}/rendered`, { accept: "text/html" });
    return html`<iframe class="document" sandbox="" title=${t("study.report")} src=${source}></iframe>`;
  }
  if (kind === "document") {
    const type = textOf(metadata, MIME_TYPE).toLowerCase();
    const title = textOf(metadata, TITLE) || t("study.document");
    // The built-in viewers for PDF do not work in a sandbox. They run scripts of the document without access to pages.
    if (type === "application/pdf") return html`<iframe class="document" title=${title} src=${rendered}></iframe>`;
    if (/xml|html/.test(type)) return html`<iframe class="document" sandbox="" title=${title} src=${rendered}></iframe>`;
    return html`<${Empty} icon="document" title=${title}>
      <p>${t("study.noPreview", { type: type || "–" })}</p>
      <${LinkButton} icon="download" href=${rendered} download>${t("action.download")}<//>
    <//>`;
  }
  if (kind === "waveform") return html`<${Waveform} path=${instancePath} metadata=${metadata} />`;
  if (kind === "slide") return html`<${Slide} path=${path} instances=${instances} metadata=${metadata} />`;
  return html`<${Empty} icon="document" title=${t("study.unknown")}><p>${t("study.unknown.hint")}</p><//>`;
}
