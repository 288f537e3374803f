// @ts-check
// Spectrograms: grey parts of 10 s from the server, coloured here, and kept while they are needed.

import { request, sessionPath } from "./api.js";
import { axis } from "./axis.js";
import { clamp } from "./dom.js";
import { state } from "./state.js";

const TILE_S = 10, MOST_TILES = 160, SMALLER = 8;
// Black to white over violet and orange; luminance rises evenly.
const COLOURS = [[0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122], [229, 80, 100], [251, 135, 97],
  [254, 194, 135], [252, 253, 191]];

/** @type {Map<string, {full: HTMLCanvasElement, small: HTMLCanvasElement} | null>} null: on its way, or not there */
const tiles = new Map();

const lookup = Array.from({ length: 256 }, (_, grey) => {
  const place = (grey / 255) * (COLOURS.length - 1);
  const low = Math.min(Math.floor(place), COLOURS.length - 2);
  return COLOURS[low].map((value, index) => value + (COLOURS[low + 1][index] - value) * (place - low));
});

function canvasOf(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

/** Colour a grey picture; a smaller copy is for views of the whole video. */
function coloured(picture) {
  const full = canvasOf(picture.width, picture.height);
  const context = full.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const pixels = context.getImageData(0, 0, full.width, full.height);
  for (let n = 0; n < pixels.data.length; n += 4) {
    const colour = lookup[pixels.data[n]];
    pixels.data[n] = colour[0], pixels.data[n + 1] = colour[1], pixels.data[n + 2] = colour[2];
    pixels.data[n + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
  const small = canvasOf(full.width / SMALLER, full.height);
  small.getContext("2d").drawImage(full, 0, 0, small.width, small.height);
  return { full, small };
}

async function load(key, path, done) {
  tiles.set(key, null);
  try {
    const content = await (await request(path)).blob();
    tiles.set(key, coloured(await createImageBitmap(content)));
    for (const old of tiles.keys()) if (tiles.size > MOST_TILES && old !== key) tiles.delete(old);
    done();
  } catch (error) {
    if (error.status === undefined) tiles.delete(key); // the server was gone: try again
  }
}

/** Draw what is visible of the spectrogram of a take; `done` is called when a missing part has come. */
export function drawSpectrogram(context, name, take, top, height, done) {
  const { start_s, duration_s } = state.session;
  context.fillStyle = "rgb(0 0 4)";
  const left = Math.max(0, axis.xOf(start_s));
  context.fillRect(left, top, Math.min(axis.width_px, axis.xOf(start_s + duration_s)) - left, height);
  const first = Math.max(0, Math.floor((axis.start_s - start_s) / TILE_S));
  const last = Math.ceil((Math.min(axis.end_s - start_s, duration_s)) / TILE_S);
  for (let number = first; number < last; number++) {
    const path = `${sessionPath(name)}/takes/${take}/spectrogram/${number}.png`;
    const tile = tiles.get(path);
    const length_s = Math.min(TILE_S, duration_s - number * TILE_S);
    if (tile) drawTile(context, tile, start_s + number * TILE_S, length_s, top, height);
    else if (tile === undefined) load(path, path, done);
  }
}

function drawTile(context, tile, at_s, seconds, top, height) {
  const from_s = clamp(axis.start_s - at_s, 0, seconds), to_s = clamp(axis.end_s - at_s, 0, seconds);
  const picture = axis.px_per_s < 40 ? tile.small : tile.full;
  const column = picture.width / TILE_S;
  const x = axis.xOf(at_s + from_s), width = axis.xOf(at_s + to_s) - x;
  if (width <= 0) return;
  context.drawImage(picture, from_s * column, 0, (to_s - from_s) * column, picture.height, x, top, width + 0.5, height);
}
