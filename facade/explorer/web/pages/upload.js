// Uploads of files and folders: choosing, progress, and the outcome of each file.
import { html, useEffect, useRef, useState } from "../vendor/htm-preact-standalone.js";
import { Button, LinkButton } from "../components/buttons.js";
import { confirm } from "../components/dialogs.js";
import { Select } from "../components/fields.js";
import { Icon } from "../components/icons.js";
import { Page, useLoaded } from "../components/states.js";
import { Table } from "../components/table.js";
import { toastError } from "../components/toasts.js";
import { formatAge, formatBytes, formatNumber } from "../lib/format.js";
import { href } from "../lib/router.js";
import { useStore } from "../lib/store.js";
import { t } from "../lib/texts.js";
import { current, earlier, forget, isActive, start } from "../lib/upload/current.js";
import { OUTCOMES } from "../lib/upload/engine.js";
import { fromDrop, fromFiles, fromHandles } from "../lib/upload/sources.js";

const PORTION = 50;
const PROBLEMS = ["failed", "unreadable"];
const KINDS = { stored: "success", replaced: "success", unchanged: "accent", earlier: "accent", failed: "danger", unreadable: "danger", notDicom: "warning" };

export default function UploadPage() {
  return html`<${Page} title=${t("upload.title")}><${Uploader} /><//>`;
}

/** Choosing, progress and outcomes of uploads: into the current partition, or to the `target` of a link (lib/upload/current.js). */
export function Uploader({ target = null }) {
  const { upload } = useStore(current);
  const snapshot = upload?.snapshot() ?? null;
  const isBusy = isActive();
  const { value: kept, reload } = useLoaded(() => earlier(target), [upload]);
  const begin = (files, options) => start(files, { target, ...options }).then(reload, toastError);
  return html`
    ${kept && !isBusy && html`<${Earlier} kept=${kept} begin=${begin} reload=${reload} />`}
    ${!isBusy && html`<${Chooser} begin=${begin} />`}
    ${snapshot && html`<${Progress} upload=${upload} snapshot=${snapshot} isLink=${target !== null} />`}
    ${snapshot && html`<${Outcomes} upload=${upload} snapshot=${snapshot} />`}
  `;
}

function Chooser({ begin, kept = null }) {
  const [isOver, setOver] = useState(false);
  const drop = async (event) => {
    event.preventDefault();
    setOver(false);
    const dropped = await fromDrop(event.dataTransfer);
    begin(dropped.files, { handles: dropped.handles, kept });
  };
  const over = (event) => {
    event.preventDefault();
    setOver(true);
  };
  return html`<section
    class="drop ${isOver ? "over" : ""}"
    aria-label=${t("upload.choose")}
    onDragEnter=${over}
    onDragOver=${over}
    onDragLeave=${() => setOver(false)}
    onDrop=${drop}
  >
    <${Icon} name="upload" size=${34} />
    <p class="state-title">${t("upload.drop")}</p>
    <p class="soft">${t("upload.hint")}</p>
    <div class="drop-actions"><${FileButtons} begin=${begin} kept=${kept} /></div>
  </section>`;
}

/** Buttons that open the dialogs of the browser for files and folders. */
function FileButtons({ begin, kept, isFolderOnly = false }) {
  const files = useRef(null);
  const folder = useRef(null);
  const chosen = (event) => {
    const list = [...event.target.files];
    event.target.value = "";
    if (list.length > 0) begin(fromFiles(list), { kept });
  };
  const chooseFolder = async () => {
    if (!window.showDirectoryPicker) {
      folder.current.click();
      return;
    }
    try {
      const handle = await window.showDirectoryPicker({ id: "dicomstore" });
      begin(fromHandles([handle]), { handles: [handle], kept });
    } catch (error) {
      toastError(error);
    }
  };
  return html`
    ${!isFolderOnly && html`<${Button} kind="primary" icon="document" onClick=${() => files.current.click()}>${t("upload.files")}<//>`}
    <${Button} kind=${isFolderOnly ? "primary" : ""} icon="folder" onClick=${chooseFolder}>${t("upload.folder")}<//>
    <input ref=${files} type="file" multiple hidden data-chosen="files" onChange=${chosen} />
    <input ref=${folder} type="file" webkitdirectory hidden data-chosen="folder" onChange=${chosen} />
  `;
}

/** An upload that was interrupted by a reload: with handles it continues, otherwise the folder is chosen again. */
function Earlier({ kept, begin, reload }) {
  const hasHandles = kept.handles.length > 0;
  const proceed = async () => {
    for (const handle of kept.handles) {
      if (handle.requestPermission && (await handle.requestPermission({ mode: "read" })) !== "granted") return;
    }
    begin(fromHandles(kept.handles), { handles: kept.handles, kept });
  };
  const discard = () => forget(kept).then(reload, toastError);
  return html`<section class="card upload-card" aria-label=${t("upload.earlier")}>
    <h2>${t("upload.earlier")}</h2>
    <p>${t("upload.earlier.text", { count: kept.done, age: formatAge(kept.started) })} ${!hasHandles && t("upload.earlier.again")}</p>
    <div class="row-actions">
      ${hasHandles
        ? html`<${Button} kind="primary" icon="play" onClick=${proceed}>${t("upload.continue")}<//>`
        : html`<${FileButtons} begin=${begin} kept=${kept} isFolderOnly=${true} />`}
      <${Button} icon="trash" onClick=${discard}>${t("upload.discard")}<//>
    </div>
  </section>`;
}

function Progress({ upload, snapshot, isLink }) {
  const { state, fraction } = snapshot;
  const isEnded = state === "done" || state === "cancelled";
  const cancel = async () => {
    const isSure = await confirm({ title: t("upload.cancel.title"), text: t("upload.cancel.text"), action: t("upload.cancel") });
    if (isSure) upload.cancel();
  };
  useTick(!isEnded);
  return html`<section class="card upload-card" aria-label=${t("upload.progress")}>
    <div class="upload-head">
      <div role="status"><h2>${t(`upload.state.${state}`)}</h2></div>
      <div class="row-actions">
        ${state === "running" && html`<${Button} icon="pause" onClick=${() => upload.pause()}>${t("upload.pause")}<//>`}
        ${["paused", "interrupted"].includes(state) &&
        html`<${Button} kind="primary" icon="play" onClick=${() => upload.resume()}>${t("upload.continue")}<//>`}
        ${isEnded
          ? !isLink && html`<${LinkButton} icon="list" href=${href("/studies")}>${t("upload.studies")}<//>`
          : html`<${Button} icon="close" onClick=${cancel}>${t("upload.cancel")}<//>`}
      </div>
    </div>
    <progress max="1" value=${fraction} aria-label=${t("upload.progress")}></progress>
    <dl class="figures">
      <${Figure} name=${t("upload.figure.files")} value=${t("upload.of", { done: snapshot.done, found: snapshot.found })} more=${snapshot.isFinding && t("upload.finding")} />
      <${Figure} name=${t("upload.figure.bytes")} value=${formatBytes(snapshot.bytes)} />
      <${Figure} name=${t("upload.figure.rate")} value=${rateOf(snapshot)} />
      <${Figure} name=${isEnded ? t("upload.figure.time") : t("upload.figure.remaining")} value=${isEnded ? formatSeconds(snapshot.seconds) : remainingOf(snapshot)} />
    </dl>
    ${snapshot.error && html`<p class="form-error" role="alert">${explanationOf(snapshot.error, isLink)}</p>`}
    ${!isEnded && html`<p class="soft">${t(isLink ? "upload.link.stay" : "upload.stay")}</p>`}
  </section>`;
}

const Figure = ({ name, value, more }) => html`<div><dt>${name}</dt><dd>${value}${more && html` <span class="soft">${more}</span>`}</dd></div>`;

function rateOf({ bytesPerSecond, filesPerSecond, state, retryIn }) {
  if (retryIn > 0) return t("upload.retry", { seconds: Math.ceil(retryIn / 1000) });
  if (state === "paused" || state === "interrupted" || filesPerSecond === 0) return "–";
  return t("upload.rate", { bytes: formatBytes(bytesPerSecond), files: formatNumber(Math.round(filesPerSecond)) });
}

const remainingOf = ({ remaining }) => (remaining === null ? "–" : formatSeconds(remaining));

/** A duration: 42 s, 3 min 20 s, 2 h 5 min. */
function formatSeconds(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return t("upload.seconds", { seconds: whole });
  if (whole < 3600) return t("upload.minutes", { minutes: Math.floor(whole / 60), seconds: whole % 60 });
  return t("upload.hours", { hours: Math.floor(whole / 3600), minutes: Math.floor((whole % 3600) / 60) });
}

function explanationOf(error, isLink) {
  if (error.status === 0) return t("upload.error.network");
  if (error.status === 401) return t(isLink ? "upload.link.expired" : "upload.error.login");
  if (error.status === 403) return error.message || t("error.forbidden");
  return error.message || t("error.unavailable");
}

/** Render again each second, for the time until the next attempt. */
function useTick(isOn) {
  const [, set] = useState(0);
  useEffect(() => {
    if (!isOn) return undefined;
    const timer = setInterval(() => set((count) => count + 1), 1000);
    return () => clearInterval(timer);
  }, [isOn]);
}

function Outcomes({ upload, snapshot }) {
  const present = OUTCOMES.filter((each) => snapshot.counts[each] > 0);
  const hasProblems = PROBLEMS.some((each) => snapshot.counts[each] > 0);
  const [chosen, choose] = useState("");
  const [shown, setShown] = useState(PORTION);
  if (present.length === 0) return null;
  const filter = chosen || (hasProblems ? "problems" : "all");
  const isShown = (each) => filter === "all" || each.outcome === filter || (filter === "problems" && PROBLEMS.includes(each.outcome));
  const rows = [];
  let matching = 0;
  for (let index = upload.results.length - 1; index >= 0; index -= 1) {
    const each = upload.results[index];
    if (isShown(each)) {
      matching += 1;
      if (rows.length < shown) rows.push({ ...each, index });
    }
  }
  const columns = [
    { key: "path", title: t("upload.column.file"), render: (row) => html`<span class="break">${row.path}</span>` },
    { key: "size", title: t("upload.column.size"), isNumber: true, isSecondary: true, render: (row) => formatBytes(row.size) },
    { key: "outcome", title: t("upload.column.outcome"), render: (row) => html`<${OutcomeBadge} outcome=${row.outcome} />` },
    { key: "message", title: t("upload.column.reason"), render: (row) => row.message || (PROBLEMS.includes(row.outcome) ? t(`upload.reason.${row.outcome}`) : "") },
  ];
  const options = [
    ["all", t("upload.filter.all")],
    ...(hasProblems ? [["problems", t("upload.filter.problems")]] : []),
    ...present.map((each) => [each, t(`upload.outcome.${each}`)]),
  ];
  return html`<section class="upload-outcomes" aria-label=${t("upload.outcomes")}>
    <div class="upload-head">
      <h2>${t("upload.outcomes")}</h2>
      <ul class="badges">
        ${present.map((each) => html`<li key=${each}><${OutcomeBadge} outcome=${each} count=${snapshot.counts[each]} /></li>`)}
      </ul>
      <${Select} label=${t("upload.filter")} value=${filter} options=${options} onChange=${(value) => { choose(value); setShown(PORTION); }} />
    </div>
    <${Table} caption=${t("upload.table")} columns=${columns} rows=${rows} keyOf=${(row) => row.index} empty=${t("upload.none")} />
    ${matching > rows.length && html`<${Button} onClick=${() => setShown(shown + 5 * PORTION)}>${t("upload.more", { count: matching - rows.length })}<//>`}
  </section>`;
}

const OutcomeBadge = ({ outcome, count }) =>
  html`<span class="badge ${KINDS[outcome]}">${count !== undefined && `${formatNumber(count)} `}${t(`upload.outcome.${outcome}`)}</span>`;
