// Values of data sets in DICOM JSON (PS3.18 Annex F).

/** Tags of the attributes that pages show, by keyword. */
export const TAGS = Object.freeze({
  SOPClassUID: "00080016",
  SOPInstanceUID: "00080018",
  StudyDate: "00080020",
  SeriesDate: "00080021",
  StudyTime: "00080030",
  SeriesTime: "00080031",
  AccessionNumber: "00080050",
  Modality: "00080060",
  ModalitiesInStudy: "00080061",
  ReferringPhysicianName: "00080090",
  StudyDescription: "00081030",
  SeriesDescription: "0008103E",
  PatientName: "00100010",
  PatientID: "00100020",
  PatientBirthDate: "00100030",
  PatientSex: "00100040",
  StudyInstanceUID: "0020000D",
  SeriesInstanceUID: "0020000E",
  StudyID: "00200010",
  SeriesNumber: "00200011",
  InstanceNumber: "00200013",
  NumberOfStudyRelatedSeries: "00201206",
  NumberOfStudyRelatedInstances: "00201208",
  NumberOfSeriesRelatedInstances: "00201209",
  NumberOfFrames: "00280008",
  Rows: "00280010",
  Columns: "00280011",
});

/** All values of an attribute, given by its keyword or tag. */
export const valuesOf = (dataSet, name) => dataSet?.[TAGS[name] ?? name]?.Value ?? [];

/** The first value of an attribute, undefined without one. */
export const valueOf = (dataSet, name) => valuesOf(dataSet, name)[0];

/** The first value as text, "" without one. Person names keep their component groups. */
export function textOf(dataSet, name) {
  const value = valueOf(dataSet, name);
  return value === undefined || value === null ? "" : String(value.Alphabetic ?? value.Ideographic ?? value.Phonetic ?? value);
}

/** The labels of a match (docs/api.md, Labels) at a level, as pairs of name and value, by name. */
export function labelsOf(match, level) {
  for (const [tag, element] of Object.entries(match ?? {})) {
    const found = /^0099(..)01$/.exec(tag);
    if (!found || element.vr !== "SQ") continue;
    const at = (item, last) => item[`009910${last}`]?.Value?.[0] ?? "";
    return (element.Value ?? [])
      .filter((item) => at(item, "02") === level)
      .map((item) => [at(item, "03"), at(item, "04")])
      .sort(([a], [b]) => a.localeCompare(b));
  }
  return [];
}
