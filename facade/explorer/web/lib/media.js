// What the window looks like.
import { useEffect, useState } from "../vendor/htm-preact-standalone.js";

/** Whether a media query matches, in a component: `useMedia("(max-width: 700px)")`. */
export function useMedia(query) {
  const [matches, setMatches] = useState(() => window.matchMedia(query).matches);
  useEffect(() => {
    const list = window.matchMedia(query);
    const change = () => setMatches(list.matches);
    change();
    list.addEventListener("change", change);
    return () => list.removeEventListener("change", change);
  }, [query]);
  return matches;
}

/** Width below which lists have cards and filters a dialog. */
export const NARROW = "(max-width: 700px)";
