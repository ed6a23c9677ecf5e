// What kind of object an instance is, by its SOP class and transfer syntax (PS3.4 Annex B, PS3.5 Annex A).
import { textOf } from "./dicom.js";

const STORAGE = "1.2.840.10008.5.1.4.1.1.";
const REPORTS = [`${STORAGE}88.`];
const DOCUMENTS = [`${STORAGE}104.`];
const WAVEFORMS = [`${STORAGE}9.`];
const SLIDE = `${STORAGE}77.1.6`;
const VIDEO = /^1\.2\.840\.10008\.1\.2\.4\.(10[0-8])(\.1)?$/;
const TRANSFER_SYNTAX = "00083002";

/** "image", "slide", "video", "report", "document", "waveform" or "other"; `metadata` of the instance. */
export function kindOf(metadata) {
  const sopClass = textOf(metadata, "SOPClassUID");
  const starts = (prefixes) => prefixes.some((prefix) => sopClass.startsWith(prefix));
  if (starts(REPORTS) || metadata["0040A730"]) return "report";
  if (starts(DOCUMENTS)) return "document";
  if (starts(WAVEFORMS)) return "waveform";
  if (VIDEO.test(textOf(metadata, TRANSFER_SYNTAX))) return "video";
  if (sopClass === SLIDE) return "slide";
  return textOf(metadata, "Rows") && (metadata["7FE00010"] || metadata["7FE00008"] || metadata["7FE00009"]) ? "image" : "other";
}
