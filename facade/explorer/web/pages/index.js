// All pages: their first segment of the path, text, place in the navigation, and module, loaded when first opened.
// A page without `icon` is not in the navigation. `group` is a key of "layout.group.…".
export const PAGES = [
  { path: "/studies", title: "studies.title", icon: "list", load: () => import("./studies.js") },
  { path: "/study", title: "study.title", load: () => import("./study.js") },
  { path: "/upload", title: "upload.title", icon: "upload", load: () => import("./upload.js") },
  { path: "/worklist", title: "worklist.title", icon: "calendar", load: () => import("./worklist.js") },
  { path: "/deleted", title: "deleted.title", icon: "trash", load: () => import("./deleted.js") },
  { path: "/status", title: "status.title", icon: "activity", group: "administration", load: () => import("./status.js") },
  { path: "/operations", title: "operations.title", icon: "refresh", group: "administration", load: () => import("./operations.js") },
  { path: "/storage", title: "storage.title", icon: "storage", group: "administration", load: () => import("./storage.js") },
  { path: "/shares", title: "shares.title", icon: "share", group: "administration", load: () => import("./shares.js") },
  { path: "/holds", title: "holds.title", icon: "hold", group: "administration", load: () => import("./holds.js") },
  { path: "/querytags", title: "tags.title", icon: "label", group: "administration", load: () => import("./query_tags.js") },
  { path: "/webhooks", title: "webhooks.title", icon: "webhook", group: "administration", load: () => import("./webhooks.js") },
  { path: "/access", title: "access.title", icon: "key", group: "administration", load: () => import("./access.js") },
  { path: "/audit", title: "audit.title", icon: "shield", group: "administration", load: () => import("./audit.js") },
];

/** The page that is shown for a path without segments. */
export const HOME = "/studies";
