// All pages: their first segment of the path, text, place in the navigation, and module, loaded when first opened.
// A page without `icon` is not in the navigation. `group` is a key of "layout.group.…".
export const PAGES = [
  { path: "/studies", title: "studies.title", icon: "list", load: () => import("./studies.js") },
  { path: "/upload", title: "upload.title", icon: "upload", load: () => import("./upload.js") },
];

/** The page that is shown for a path without segments. */
export const HOME = "/studies";
