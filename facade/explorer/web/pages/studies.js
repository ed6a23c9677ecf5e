// The list of studies: filters and order in the URL, a list of any length, and actions on selected studies.
import { html, useEffect, useMemo, useReducer, useRef, useState } from "../vendor/htm-preact-standalone.js";
import { Button } from "../components/buttons.js";
import { openDialog } from "../components/dialogs.js";
import { Grid } from "../components/grid.js";
import { Menu } from "../components/menu.js";
import { Empty, Failure, Loading, Page, useLoaded } from "../components/states.js";
import { Thumbnail } from "../components/thumbnail.js";
import { toastError } from "../components/toasts.js";
import { getJson, getPage } from "../lib/api.js";
import { useChanges } from "../lib/changes.js";
import { textOf, valueOf } from "../lib/dicom.js";
import { formatDate, formatName } from "../lib/format.js";
import { nameOfQueryTag } from "../lib/keywords.js";
import { NARROW, useMedia } from "../lib/media.js";
import { PagedList } from "../lib/paged.js";
import { may } from "../lib/permissions.js";
import { href, navigate, setParams } from "../lib/router.js";
import { createKeptStore, useStore } from "../lib/store.js";
import { t } from "../lib/texts.js";
import { Labels, Modalities, columnsOf, shownColumns } from "./studies/columns.js";
import { FilterChips, FilterFields, activeFilters, areTagsSearched, searchKeys, sortOf } from "./studies/filters.js";

// Loaded when first used: the first view needs few bytes.
const loadActions = () => import("./studies/actions.js");
const chooseColumns = (tags) => import("./studies/column_dialog.js").then(({ ColumnDialog }) => openDialog(ColumnDialog, { tags })).catch(toastError);

const ROW_HEIGHT = 56;
const CARD_HEIGHT = 76;
const NO_TAGS = [];

const areFiltersOpen = createKeptStore("studyFilters", true);
const uidOf = (study) => textOf(study, "StudyInstanceUID");
// The list that was shown last: it appears at once, at the same place, when the user returns from a study.
let latest = null;

export default function Studies({ location }) {
  const { params, partition } = location;
  const { value: tags } = useLoaded(loadTags, []);
  const tagColumns = useStore(shownColumns).filter((each) => each.startsWith("tag:"));
  // The list does not wait for the tags unless it depends on them.
  if (tags === null && (tagColumns.length > 0 || areTagsSearched(params))) {
    return html`<${Page} title=${t("studies.title")} isWide><${Loading} /><//>`;
  }
  const known = tags ?? NO_TAGS;
  const key = JSON.stringify([partition, searchKeys(params, known), sortOf(params), tagColumns]);
  return html`<${List} key=${`list ${partition}`} listKey=${key} params=${params} tags=${known} />`;
}

/** The extended query tags that can be searched, with a name; none if the user may not read them. */
async function loadTags(signal) {
  const found = await getJson("/extendedquerytags", { isService: true, params: { limit: 200 }, signal }).catch(() => []);
  return (found ?? [])
    .filter((tag) => tag.status?.toLowerCase() === "ready" && tag.queryStatus?.toLowerCase() !== "disabled")
    .map((tag) => ({ path: tag.path, name: nameOfQueryTag(tag), creator: tag.privateCreator ?? "" }));
}

function useStudies(listKey, params, tags) {
  const [version, changed] = useReducer((count) => count + 1, 0);
  const list = useMemo(() => {
    if (latest?.key === listKey) {
      latest.changed = changed;
      return latest;
    }
    latest?.list.stop();
    const keys = searchKeys(params, tags);
    const shownTags = shownColumns.value.filter((each) => each.startsWith("tag:")).map((each) => each.slice(4));
    const asked = { ...keys, sort: sortOf(params) || undefined, labels: true, includefield: shownTags.join(",") || undefined };
    const entry = { key: listKey, place: { top: 0 }, changed };
    entry.list = new PagedList({
      load: (page, signal) => getPage("/studies", { params: page.pagetoken ? { ...page, totalcount: undefined } : { ...asked, ...page }, signal }),
      changed: () => entry.changed(),
      isCountedApart: Object.keys(keys).length > 0, // without filters it is known at once
    });
    latest = entry;
    return entry;
  }, [listKey]);
  return { ...list, version };
}

function List({ listKey, params, tags }) {
  const { list, place, version } = useStudies(listKey, params, tags);
  const isNarrow = useMedia(NARROW);
  const isOpen = useStore(areFiltersOpen);
  const [isOpenNarrow, setOpenNarrow] = useState(false);
  const columns = columnsOf(tags, useStore(shownColumns));
  const [selection, setSelection] = useState(new Set());
  const [removed, setRemoved] = useState(new Set());
  const [hasNews, setNews] = useState(false);
  const view = useRef([0, 0]);
  const sort = sortOf(params);
  const filters = activeFilters(params, tags);

  useEffect(() => {
    setSelection(new Set());
    setRemoved(new Set());
    setNews(false);
    // A list that was shown before is shown at once; what has changed meanwhile follows.
    if (list.total === null && !list.error) list.show(0, 0);
    else list.refresh(...view.current);
  }, [list]);

  const refresh = () => {
    setNews(false);
    setRemoved(new Set());
    return list.refresh(...view.current);
  };
  useChanges(async (studies) => {
    if (studies === null || place.top === 0) {
      await refresh();
      return;
    }
    await update(list, studies, setRemoved, setNews);
  });

  const after = async (result) => {
    if (!result) return;
    setSelection(new Set());
    await refresh();
  };
  const chosen = [...selection];
  const act = (work) => () => loadActions().then(work).then(after).catch(toastError);
  const actions = [
    { label: t("action.download"), icon: "download", run: () => loadActions().then((all) => all.download(chosen)).catch(toastError) },
    { label: t("action.share"), icon: "share", action: "administer", run: act((all) => all.askToShare(chosen.map((uid) => `/studies/${uid}`)).then(() => null)) },
    { label: t("action.label"), icon: "label", action: "write", run: act((all) => all.askForLabels(chosen)) },
    { label: t("action.update"), icon: "edit", action: "write", run: act((all) => all.askToUpdate(chosen)) },
    { label: t("action.send"), icon: "transfer", action: "export", run: act((all) => all.askToSend(chosen)) },
    { label: t("action.export"), icon: "export", action: "export", run: act((all) => all.askToExport(chosen)) },
    { label: t("action.delete"), icon: "trash", action: "delete", isDanger: true, run: act((all) => all.askToDelete(chosen, refresh)) },
  ].filter(({ action }) => !action || may(action));
  const selectAll = () => setSelection(new Set([...list.loaded()].map(([, row]) => uidOf(row))));
  const areFieldsShown = isNarrow ? isOpenNarrow : isOpen;
  const toggle = () => (isNarrow ? setOpenNarrow(!isOpenNarrow) : areFiltersOpen.set(!isOpen));
  const sorts = columns.filter((column) => column.sortKey).flatMap((column) => [
    [column.sortKey, t("studies.sort.up", { name: column.title })],
    [`-${column.sortKey}`, t("studies.sort.down", { name: column.title })],
  ]);

  return html`<${Page}
    title=${t("studies.title")}
    isWide
    isFull
    actions=${html`
      <${Button} icon="filter" aria-expanded=${areFieldsShown ? "true" : "false"} onClick=${toggle}>
        ${filters.length > 0 ? t("studies.filters.count", { count: filters.length }) : t("studies.filters")}
      <//>
      ${!isNarrow && html`<${Button} icon="columns" label=${t("columns.title")} onClick=${() => chooseColumns(tags)} />`}
    `}
  >
    ${areFieldsShown && html`<${FilterFields} params=${params} tags=${tags} sorts=${isNarrow ? sorts : null} />`}
    <${FilterChips} params=${params} tags=${tags} />
    <div class="list-bar ${selection.size > 0 ? "selecting" : ""}">
      <p class="list-count" role="status">
        ${selection.size > 0
          ? t("studies.selected", { count: selection.size })
          : list.total === null
            ? t("loading")
            : list.isCounted
              ? t(filters.length > 0 ? "studies.found" : "studies.count", { count: list.total })
              : t("studies.counting", { count: list.total })}
      </p>
      ${selection.size > 0
        ? html`<div class="list-actions">
            ${isNarrow
              ? html`<${Menu} label=${t("studies.actions")} items=${actions}>${t("studies.actions")}<//>`
              : actions.map((each) => html`<${Button} key=${each.label} kind=${each.isDanger ? "quiet danger-text" : "quiet"} icon=${each.icon} onClick=${each.run}>${each.label}<//>`)}
            <${Button} kind="quiet" icon="close" label=${t("studies.unselect")} onClick=${() => setSelection(new Set())} />
          </div>`
        : html`<div class="list-actions">
            ${hasNews && html`<${Button} kind="quiet accent-text" icon="arrowUp" onClick=${() => goToTop(refresh)}>${t("studies.news")}<//>`}
            <${Button} kind="quiet" icon="refresh" label=${t("studies.refresh")} onClick=${refresh} />
          </div>`}
    </div>
    ${list.error
      ? html`<${Failure} error=${list.error} retry=${refresh} />`
      : list.total === 0
        ? html`<${Nothing} isFiltered=${filters.length > 0} />`
        : html`<${Grid}
            key=${`${listKey} ${isNarrow}`}
            label=${t("studies.title")}
            total=${list.total ?? 0}
            version=${version}
            rowHeight=${isNarrow ? CARD_HEIGHT : ROW_HEIGHT}
            columns=${columns}
            renderCard=${isNarrow ? Card : undefined}
            renderLead=${(row, isMoving) => html`<${Thumbnail} path=${`/studies/${uidOf(row)}`} isDelayed=${isMoving} size=${isNarrow ? 52 : 40} />`}
            rowAt=${(index) => list.row(index)}
            keyOf=${uidOf}
            show=${(first, last) => {
              view.current = [first, last];
              list.show(first, last);
            }}
            selection=${selection}
            onSelect=${setSelection}
            onSelectAll=${selectAll}
            onOpen=${(row) => navigate(["study", uidOf(row)])}
            hrefOf=${(row) => href(["study", uidOf(row)])}
            nameOf=${(row) => formatName(valueOf(row, "PatientName")) || uidOf(row)}
            isMarked=${(row) => removed.has(uidOf(row))}
            sort=${sort}
            onSort=${(value) => setParams({ sort: value })}
            place=${place}
          />`}
  <//>`;
}

function goToTop(refresh) {
  document.querySelector(".grid")?.scrollTo({ top: 0 });
  refresh();
}

/** Read changed studies that are loaded again, mark those that were deleted, and note whether there are others. */
async function update(list, studies, setRemoved, setNews) {
  const loaded = new Set([...list.loaded()].map(([, row]) => uidOf(row)));
  const known = [...studies].filter((uid) => loaded.has(uid));
  if (known.length < studies.size) setNews(true);
  for (const uid of known) {
    const page = await getPage("/studies", { params: { StudyInstanceUID: uid, labels: true } }).catch(() => null);
    if (page?.items.length === 1) list.replace((row) => uidOf(row) === uid, page.items[0]);
    else if (page) setRemoved((before) => new Set([...before, uid]));
  }
}

function Card(row) {
  return html`<span class="card-row">
    <span class="card-line"><strong>${formatName(valueOf(row, "PatientName")) || t("studies.nameless")}</strong><${Modalities} study=${row} /></span>
    <span class="card-line soft"><span>${textOf(row, "PatientID")}</span><span>${formatDate(textOf(row, "StudyDate"))}</span></span>
    <span class="card-line"><span>${textOf(row, "StudyDescription")}</span><${Labels} study=${row} /></span>
  </span>`;
}

function Nothing({ isFiltered }) {
  if (isFiltered) return html`<${Empty} icon="search" title=${t("studies.none")}><p>${t("studies.noneHint")}</p><//>`;
  return html`<${Empty} title=${t("studies.empty")}><p>${t("studies.emptyHint")}</p><//>`;
}
