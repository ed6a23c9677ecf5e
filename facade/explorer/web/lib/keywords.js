// Keywords of attributes by tag (PS3.6), from the table of the archive; loaded when first needed.
let table = null;

/** Return a function from a tag of eight hexadecimal digits to its keyword, "" for private and unknown ones. */
export async function loadKeywords() {
  table ??= fetch(new URL("../keywords.txt", import.meta.url))
    .then((response) => response.text())
    .then((text) => {
      const known = new Map();
      const repeating = [];
      for (const line of text.split("\n")) {
        const [tag, keyword] = line.split(" ");
        if (tag.includes("x")) repeating.push([new RegExp(`^${tag.replaceAll("x", "[0-9A-F]")}$`), keyword]);
        else known.set(tag, keyword);
      }
      return (tag) => known.get(tag) ?? repeating.find(([pattern]) => pattern.test(tag))?.[1] ?? "";
    });
  return table;
}

/** The name of an extended query tag for people: that of the data dictionary, or creator and number. */
export function nameOfQueryTag({ path, keyword, privateCreator }) {
  if (keyword) return titleOf(keyword);
  const [group, element] = [path.slice(0, 4), path.slice(4)];
  return privateCreator ? `${privateCreator} (${group},xx${element.slice(2)})` : `(${group},${element})`;
}

/** "Study Instance UID" for "StudyInstanceUID". */
export const titleOf = (keyword) => keyword.replace(/([a-z0-9])([A-Z])/g, "$1 $2").replace(/([A-Z]+)([A-Z][a-z])/g, "$1 $2");
