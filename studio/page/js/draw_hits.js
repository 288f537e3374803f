// @ts-check
// Drawing of the hits of a lane: stems, heads, tails, and what is being dragged.

import { axis } from "./axis.js";
import { toDb } from "./dom.js";
import { ENVELOPE, yOfDb } from "./lanes.js";
import { hitsOf, state } from "./state.js";

const HEAD_PX = 4.5, TAIL_PX = 3;
export const DECAY_DB = 20 * Math.log10(Math.E);

/** Return the place of the tail's handle, at which the level has fallen to 37 %. */
export function tailOf(hit) {
  return { x: axis.xOf(hit.time_s + hit.decay_s), y: yOfDb(Math.max(-60, toDb(hit.level)) - DECAY_DB) };
}

/** Return the indexes of the hits that are seen. */
export function visible(hits) {
  const from_s = axis.timeAt(-20), to_s = axis.timeAt(axis.width_px + 20), found = [];
  hits.forEach((hit, index) => {
    if (hit.time_s + hit.decay_s >= from_s && hit.time_s <= to_s) found.push(index);
  });
  return found;
}

/** Return the indexes of the selected hits of the selected track. */
export function chosenOf(shown) {
  if (state.preview?.track === shown.name) return new Set(state.preview.indexes);
  if (shown.name !== state.track) return new Set();
  const times = new Set(state.selected);
  return new Set(shown.hits.flatMap((hit, index) => (times.has(hit.time_s) ? [index] : [])));
}

export function drawHits(context, shown, band, colours) {
  const hits = hitsOf(shown), chosen = chosenOf(shown);
  const groups = [[], []], isDense = visible(hits).length > axis.width_px / 10;
  for (const index of visible(hits)) groups[chosen.has(index) ? 1 : 0].push(hits[index]);
  drawGroup(context, groups[0], colours.hit, colours, false, isDense);
  drawGroup(context, groups[1], colours.chosen, colours, true);
  if (state.preview?.track === shown.name && state.preview.label) drawLabel(context, shown, colours);
  if (band) {
    context.strokeStyle = colours.chosen;
    context.setLineDash([4, 3]);
    context.strokeRect(band.x + 0.5, band.y + 0.5, band.width, band.height);
    context.setLineDash([]);
  }
}

function drawGroup(context, hits, colour, colours, hasHandles, isDense = false) {
  const stems = new Path2D(), heads = new Path2D(), handles = new Path2D(), bottom = ENVELOPE.top + ENVELOPE.height;
  const radius = isDense ? HEAD_PX / 2 : HEAD_PX;
  for (const hit of hits) {
    const x = axis.xOf(hit.time_s), y = yOfDb(toDb(hit.level)), tail = tailOf(hit);
    stems.moveTo(x, bottom);
    stems.lineTo(x, y);
    stems.lineTo(tail.x, tail.y);
    heads.moveTo(x + radius, y);
    heads.arc(x, y, radius, 0, 7);
    if (hasHandles) handles.rect(tail.x - TAIL_PX, tail.y - TAIL_PX, 2 * TAIL_PX, 2 * TAIL_PX);
  }
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = hasHandles ? 1.5 : isDense ? 0.4 : 1;
  context.stroke(stems);
  context.fill(heads);
  context.lineWidth = 1;
  context.strokeStyle = colours.lane;
  if (!isDense) context.stroke(heads);
  context.fill(handles);
}

/** Draw the values of the hit that is dragged next to it, where it does not hide it. */
function drawLabel(context, shown, colours) {
  const { hits, label, leader } = state.preview;
  const hit = hits[leader];
  if (!hit) return;
  context.font = "12px system-ui, sans-serif";
  const width = context.measureText(label).width + 12, x = axis.xOf(hit.time_s);
  const left = x + 12 + width < axis.width_px ? x + 12 : x - 12 - width;
  const top = Math.min(ENVELOPE.height - 24, Math.max(2, yOfDb(toDb(hit.level)) - 26));
  context.fillStyle = colours.raised;
  context.strokeStyle = colours.line;
  context.fillRect(left, top, width, 20);
  context.strokeRect(left + 0.5, top + 0.5, width, 20);
  context.fillStyle = colours.text;
  context.fillText(label, left + 6, top + 14);
}
