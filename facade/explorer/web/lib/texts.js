// The words of the application: `t("studies.count", { count: 3 })` returns the text of a key in the language.
import en from "../texts/en.js";

const LANGUAGE = "en";
const texts = en;
const plural = new Intl.PluralRules(LANGUAGE);
const number = new Intl.NumberFormat(LANGUAGE);

/**
 * Return a text. `{name}` is replaced by the value of that name, numbers with separators of thousands. With `count`, the
 * key may have a form for each plural category, as in "studies.count.one" and "studies.count.other".
 */
export function t(key, values = {}) {
  const text = texts[key] ?? texts[`${key}.${plural.select(Number(values.count))}`];
  if (text === undefined) throw new Error(`there is no text ${key}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? number.format(value) : String(value ?? "");
  });
}

/** Whether there is a text with this key: for names that come from the service, such as kinds of operations. */
export const hasText = (key) => key in texts;
