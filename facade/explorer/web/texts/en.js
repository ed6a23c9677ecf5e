// All words that people read, in English. `{name}` is a value. A key with the forms ".one" and ".other" depends on `count`.
// A translation is a copy of this file. Keep keys together by page.
export default {
  loading: "Loading…",
  retry: "Try again",
  "error.network": "The archive cannot be reached.",
  "error.login": "You are being taken to the login.",
  "error.unauthenticated": "You are not logged in, or your session has ended.",
  "error.forbidden": "You may not do this.",
  "error.unavailable": "The archive is busy or starting. Try again in a moment.",
  "error.status": "The archive has refused the request (status {status}).",
  "error.module": "A part of the application could not be loaded. Reload the page.",
  "error.unexpected": "Something went wrong on this page.",

  "missing.title": "Page not found",
  "missing.text": "There is no such page.",
  "missing.home": "Go to the studies",

  "dialog.close": "Close",
  "dialog.cancel": "Cancel",
  "toast.dismiss": "Dismiss",

  "layout.skip": "Skip to the content",
  "layout.menu": "Menu",
  "layout.navigation": "Pages",
  "layout.group.administration": "Administration",
  "layout.partition": "Data partition",
  "layout.appearance": "Appearance: {now}",
  "layout.appearance.auto": "as the system",
  "layout.appearance.light": "light",
  "layout.appearance.dark": "dark",
  "layout.logout": "Log out",

  "studies.title": "Studies",
  "studies.count.one": "{count} study",
  "studies.count.other": "{count} studies",
  "studies.empty": "There are no studies yet.",
  "studies.patient": "Patient",
  "studies.date": "Date",
  "studies.description": "Description",
};
