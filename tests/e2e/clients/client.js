// dicomweb-client under Node, with xhr2 for the XMLHttpRequest of browsers: it names no media type when it stores.
// Arguments: directory of the packages, base URL, file, and the UIDs of study, series and instance.
// Prints a line for each call: its name and the size of what it returned, or the error.
const { createRequire } = require("module");
const { readFileSync } = require("fs");

const [packages, base, file, studyInstanceUID, seriesInstanceUID, sopInstanceUID] = process.argv.slice(2);
const load = createRequire(`${packages}/`);
global.XMLHttpRequest = load("xhr2");
const { api } = load("dicomweb-client");

const client = new api.DICOMwebClient({ url: base });
const single = new api.DICOMwebClient({ url: base, singlepart: "bulkdata" });
const data = readFileSync(file);
const dataset = data.buffer.slice(data.byteOffset, data.byteOffset + data.length);
const instance = { studyInstanceUID, seriesInstanceUID, sopInstanceUID };
const BulkDataURI =
  `${base}/studies/${studyInstanceUID}/series/${seriesInstanceUID}/instances/${sopInstanceUID}/bulkdata/7FE00010`;

const calls = {
  store: () => client.storeInstances({ datasets: [dataset] }),
  "store-again": () => client.storeInstances({ datasets: [dataset] }),
  search: () => client.searchForStudies({ queryParams: { StudyInstanceUID: studyInstanceUID } }),
  metadata: () => client.retrieveSeriesMetadata(instance),
  instance: () => client.retrieveInstance(instance),
  study: () => client.retrieveStudy(instance),
  frame: () => client.retrieveInstanceFrames({ ...instance, frameNumbers: [1] }),
  rendered: () => client.retrieveInstanceRendered(instance),
  thumbnail: () => client.retrieveInstanceThumbnail(instance),
  "bulk-data": () => client.retrieveBulkData({ BulkDataURI }),
  "single-bulk-data": () => single.retrieveBulkData({ BulkDataURI }),
};

const size = (found) => (Array.isArray(found) ? found.map(size).join("+") : found?.byteLength ?? typeof found);

(async () => {
  for (const [name, call] of Object.entries(calls)) {
    try {
      console.log(name, size(await call()));
    } catch (error) {
      console.log(name, "failed", error.status ?? error);
    }
  }
})();
