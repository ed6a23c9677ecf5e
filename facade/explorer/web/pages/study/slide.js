// The overview of a slide (PS3.3 section A.32.8): one level of its pyramid, put together from its tiles.
import { html, useEffect, useRef } from "../../vendor/htm-preact-standalone.js";
import { urlOf } from "../../lib/api.js";
import { textOf, valueOf, valuesOf } from "../../lib/dicom.js";
import { t } from "../../lib/texts.js";

const MOST_PIXELS = 2048;
const MOST_TILES = 100;
const PARALLEL = 6;
const IMAGE_TYPE = "00080008";
const MATRIX_COLUMNS = "00480006";
const MATRIX_ROWS = "00480007";
const ORGANIZATION = "00209311";

/** Attributes of instances that the choice of a level needs. */
export const SLIDE_FIELDS = [IMAGE_TYPE, MATRIX_COLUMNS, MATRIX_ROWS, ORGANIZATION];

const numberOf = (dataSet, name) => Number(valueOf(dataSet, name) ?? 0);

function levelOf(instance) {
  const [width, height] = [numberOf(instance, MATRIX_COLUMNS), numberOf(instance, MATRIX_ROWS)];
  const [tileWidth, tileHeight] = [numberOf(instance, "Columns"), numberOf(instance, "Rows")];
  const across = Math.ceil(width / tileWidth);
  const tiles = across * Math.ceil(height / tileHeight);
  // Tiles in the order of the matrix: all of it, in one focal plane and optical path.
  const isComplete = tiles === Math.max(1, numberOf(instance, "NumberOfFrames")) && (tiles === 1 || textOf(instance, ORGANIZATION) === "TILED_FULL");
  return { instance, width, height, tileWidth, tileHeight, across, tiles, isComplete, flavor: valuesOf(instance, IMAGE_TYPE)[2] };
}

/** The largest level of the slide that is small enough to be shown whole, otherwise its overview; undefined without both. */
function chosenLevel(instances) {
  const levels = instances.map(levelOf).filter(({ isComplete, width, height, tiles }) => isComplete && Math.max(width, height) <= MOST_PIXELS && tiles <= MOST_TILES);
  const widest = (flavors) => levels.filter(({ flavor }) => flavors.includes(flavor)).sort((a, b) => b.width - a.width)[0];
  return widest(["VOLUME", "THUMBNAIL"]) ?? widest(["OVERVIEW"]);
}

export function Slide({ path, instances, metadata }) {
  const level = chosenLevel(instances);
  const size = { columns: numberOf(metadata, MATRIX_COLUMNS), rows: numberOf(metadata, MATRIX_ROWS) };
  return html`<figure class="stage">
    ${level
      ? html`<${Tiles} key=${textOf(level.instance, "SOPInstanceUID")} path=${path} level=${level} />`
      : html`<img class="slide" src=${urlOf(`${path}/thumbnail`, { viewport: `${MOST_PIXELS},${MOST_PIXELS}` })} alt=${t("study.slide")} />`}
    <figcaption class="stage-caption">${t("study.slide.size", size)}</figcaption>
  </figure>`;
}

function Tiles({ path, level }) {
  const canvas = useRef(null);
  useEffect(() => {
    const context = canvas.current.getContext("2d");
    const below = `${path}/instances/${textOf(level.instance, "SOPInstanceUID")}`;
    let next = 0;
    let isWanted = true;
    const load = async () => {
      while (isWanted && next < level.tiles) {
        const at = next;
        next += 1;
        const image = new Image();
        image.src = urlOf(level.tiles === 1 ? `${below}/rendered` : `${below}/frames/${at + 1}/rendered`);
        const isLoaded = await image.decode().then(() => true, () => false);
        if (isLoaded && isWanted) context.drawImage(image, (at % level.across) * level.tileWidth, Math.floor(at / level.across) * level.tileHeight);
      }
    };
    Promise.all(Array.from({ length: PARALLEL }, load)).then(() => {
      if (isWanted) canvas.current.dataset.complete = "true";
    });
    return () => {
      isWanted = false;
    };
  }, []);
  return html`<canvas ref=${canvas} class="slide" width=${level.width} height=${level.height} role="img" aria-label=${t("study.slide")}></canvas>`;
}
