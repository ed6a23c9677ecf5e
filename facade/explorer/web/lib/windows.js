// Windows of grey-scale images (PS3.3 section C.11.2.1.2): those of the object, and usual ones for CT.
import { textOf, valuesOf } from "./dicom.js";

const CENTER = "00281050";
const WIDTH = "00281051";
const EXPLANATION = "00281055";
const CT = [
  ["brain", 40, 80],
  ["subdural", 75, 215],
  ["bone", 480, 2500],
  ["lung", -600, 1500],
  ["mediastinum", 50, 350],
  ["abdomen", 60, 400],
  ["liver", 90, 150],
];

/** Windows as `{ key, name, center, width }`; those of the object have a name, usual ones a key of a text. */
export function windowsOf(metadata) {
  const widths = valuesOf(metadata, WIDTH);
  const names = valuesOf(metadata, EXPLANATION);
  const own = valuesOf(metadata, CENTER)
    .map((center, at) => ({ key: `own${at}`, name: names[at] ?? "", center: Number(center), width: Number(widths[at]) }))
    .filter((window) => Number.isFinite(window.center) && window.width >= 1);
  const usual = textOf(metadata, "Modality") === "CT" ? CT.map(([key, center, width]) => ({ key, name: "", center, width })) : [];
  return [...own, ...usual];
}

/** Whether the image has a single sample for each pixel, so that a window applies. */
export const isGrey = (metadata) => /^MONOCHROME/.test(textOf(metadata, "00280004"));
