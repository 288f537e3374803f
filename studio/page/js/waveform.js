// @ts-check
// Waveforms: peaks of blocks of samples, and drawing them.

import { axis } from "./axis.js";

const BLOCK = 256;
/** @type {WeakMap<AudioBuffer, Float32Array>} */
const known = new WeakMap();

/** Return lowest and highest sample of each block of all channels, in turn. */
export function peaks(buffer) {
  const found = known.get(buffer);
  if (found) return found;
  const made = new Float32Array(2 * Math.ceil(buffer.length / BLOCK));
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    addPeaks(buffer.getChannelData(channel), made);
  }
  known.set(buffer, made);
  return made;
}

function addPeaks(samples, made) {
  for (let block = 0, first = 0; first < samples.length; block++, first += BLOCK) {
    const last = Math.min(first + BLOCK, samples.length);
    let low = made[2 * block], high = made[2 * block + 1];
    for (let n = first; n < last; n++) {
      const sample = samples[n];
      if (sample < low) low = sample;
      else if (sample > high) high = sample;
    }
    made[2 * block] = low;
    made[2 * block + 1] = high;
  }
}

function rangeOf(buffer, blocks, first, last) {
  let low = 0, high = 0;
  if (last - first >= 2 * BLOCK) {
    for (let block = Math.floor(first / BLOCK), end = Math.ceil(last / BLOCK); block < end; block++) {
      if (blocks[2 * block] < low) low = blocks[2 * block];
      if (blocks[2 * block + 1] > high) high = blocks[2 * block + 1];
    }
    return [low, high];
  }
  low = Infinity, high = -Infinity;
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const samples = buffer.getChannelData(channel);
    for (let n = first; n < last; n++) {
      if (samples[n] < low) low = samples[n];
      if (samples[n] > high) high = samples[n];
    }
  }
  return [low, high];
}

/** Return the largest magnitude. */
export const loudest = (buffer) => peaks(buffer).reduce((most, each) => Math.max(most, Math.abs(each)), 0);

/** Draw what is visible of a sound that starts at `start_s`, so that the largest magnitude fills the height. */
export function drawWaveform(context, buffer, start_s, top, height, colour) {
  const blocks = peaks(buffer);
  const scale = height / 2 / Math.max(loudest(buffer), 0.01);
  const middle = top + height / 2;
  context.fillStyle = colour;
  context.beginPath();
  const sampleAt = (x) => Math.floor((axis.timeAt(x) - start_s) * buffer.sampleRate);
  const from_x = Math.max(0, Math.floor(axis.xOf(start_s)));
  for (let x = from_x; x < axis.width_px; x++) {
    const first = Math.max(0, sampleAt(x));
    if (first >= buffer.length) break;
    const last = Math.min(buffer.length, Math.max(first + 2, sampleAt(x + 1) + 1));
    const [low, high] = rangeOf(buffer, blocks, first, last);
    context.rect(x, middle - high * scale, 1, Math.max(1, (high - low) * scale));
  }
  context.fill();
}
