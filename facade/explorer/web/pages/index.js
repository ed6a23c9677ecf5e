// All pages: their first segment of the path, text, place in the navigation, and module, loaded when first opened.
// A page without `icon` is not in the navigation. `group` is a key of "layout.group.…". `action` and `scope` are those of
// `may` of lib/permissions.js, for the requests of the page; users without this permission do not see it.
import { mayOpen } from "../lib/permissions.js";

export const PAGES = [
  { path: "/studies", title: "studies.title", icon: "list", action: "read", load: () => import("./studies.js") },
  { path: "/study", title: "study.title", action: "read", load: () => import("./study.js") },
  { path: "/upload", title: "upload.title", icon: "upload", action: "write", load: () => import("./upload.js") },
  { path: "/worklist", title: "worklist.title", icon: "calendar", action: "read", load: () => import("./worklist.js") },
  { path: "/deleted", title: "deleted.title", icon: "trash", action: "read", load: () => import("./deleted.js") },
  { path: "/status", title: "status.title", icon: "activity", group: "administration", load: () => import("./status.js") },
  { path: "/operations", title: "operations.title", icon: "refresh", group: "administration", action: "read", scope: "anywhere", load: () => import("./operations.js") },
  { path: "/transfers", title: "transfers.title", icon: "transfer", group: "administration", action: "read", load: () => import("./transfers.js") },
  { path: "/storage", title: "storage.title", icon: "storage", group: "administration", action: "read", scope: "anywhere", load: () => import("./storage.js") },
  { path: "/shares", title: "shares.title", icon: "share", group: "administration", action: "administer", scope: "anywhere", load: () => import("./shares.js") },
  { path: "/holds", title: "holds.title", icon: "hold", group: "administration", action: "read", load: () => import("./holds.js") },
  { path: "/querytags", title: "tags.title", icon: "label", group: "administration", action: "read", scope: "anywhere", load: () => import("./query_tags.js") },
  { path: "/webhooks", title: "webhooks.title", icon: "webhook", group: "administration", action: "administer", scope: "archive", load: () => import("./webhooks.js") },
  { path: "/access", title: "access.title", icon: "key", group: "administration", load: () => import("./access.js") },
  { path: "/audit", title: "audit.title", icon: "shield", group: "administration", action: "audit", scope: "anywhere", load: () => import("./audit.js") },
];

/** The path of the page that is shown for a path without segments: the first one that the user may open. */
export const homePath = () => PAGES.find((page) => page.icon && mayOpen(page)).path;
