// Changes in the archive as they happen, from the stream of the change feed (Server-Sent Events).
import { useEffect, useRef } from "../vendor/htm-preact-standalone.js";
import { getJson, urlOf } from "./api.js";
import { currentLocation } from "./router.js";

const QUIET_MS = 800;
const ACTIONS = ["Create", "Update", "Delete"];

/**
 * Call `changed(studies)` with the UIDs of studies that have changed in the current partition, at most about once a second.
 *
 * The connection is closed while the page is hidden, because browsers allow few at a time; `changed(null)` follows then,
 * when changes may have been missed. Users who may not read the change feed get no calls.
 */
export function useChanges(changed) {
  const latest = useRef(changed);
  latest.current = changed;
  useEffect(() => {
    let source = null;
    let timer = 0;
    let isEnded = false;
    const studies = new Set();
    const tell = () => {
      timer = 0;
      const found = new Set(studies);
      studies.clear();
      latest.current(found);
    };
    const note = (event) => {
      const entry = JSON.parse(event.data);
      const { partition } = currentLocation();
      if (partition && entry.partitionName !== partition) return;
      studies.add(entry.studyInstanceUid);
      timer ||= setTimeout(tell, QUIET_MS);
    };
    const open = async () => {
      const newest = await getJson("/changefeed/latest", { params: { includeMetadata: false }, isService: true }).catch(() => undefined);
      if (newest === undefined || isEnded || document.hidden || source) return;
      const params = { includeMetadata: false, lastEventId: newest?.sequence ?? 0 };
      source = new EventSource(urlOf("/changefeed/stream", params, { isService: true }));
      for (const action of ACTIONS) source.addEventListener(action, note);
    };
    const close = () => {
      source?.close();
      source = null;
    };
    const toggle = () => {
      if (document.hidden) return close();
      latest.current(null);
      return open();
    };
    document.addEventListener("visibilitychange", toggle);
    open();
    return () => {
      isEnded = true;
      close();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", toggle);
    };
  }, []);
}
