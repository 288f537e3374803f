// @ts-check
// Edits of hits: choosing, dragging, nudging, adding and deleting them. All of them end in `commit`.

import { axis, reveal } from "./axis.js";
import { clamp, say, toDb, toLevel } from "./dom.js";
import { chosenOf, tailOf, visible } from "./draw_hits.js";
import { dbAt, ENVELOPE, select, yOfDb } from "./lanes.js";
import { edit } from "./session.js";
import { hitsOf, indexNear, set, state, track } from "./state.js";
import { seek, transport } from "./transport.js";

const HEAD_PX = 9, TAIL_PX = 7, STEM_PX = 4, SLOP_PX = 3, NUDGE_MS = 500;
const DECAY_S = [0.004, 2], USUAL_LEVEL = 0.1, USUAL_DECAY_S = 0.05;
/** @type {any} */
let drag = null;
/** @type {any} */
let nudged = null;

const describe = (hit) => `${hit.time_s.toFixed(3)} s   ${toDb(hit.level).toFixed(1)} dB`;

/** Return the hit under the pointer, and which part of it. */
function under(shown, x, y) {
  const hits = hitsOf(shown), chosen = chosenOf(shown);
  let best = null, least = Infinity;
  for (const index of visible(hits)) {
    const hit = hits[index], tail = tailOf(hit), head_x = axis.xOf(hit.time_s), head_y = yOfDb(toDb(hit.level));
    /** @type {[number, number, string][]} */
    const options = [[Math.hypot(x - head_x, y - head_y), HEAD_PX, "head"]];
    if (chosen.has(index)) options.push([Math.hypot(x - tail.x, y - tail.y), TAIL_PX, "tail"]);
    if (y > head_y) options.push([Math.abs(x - head_x) + HEAD_PX, STEM_PX + HEAD_PX, "head"]); // behind heads
    for (const [distance, within, part] of options) {
      if (distance <= within && distance < least) [best, least] = [{ index, part }, distance];
    }
  }
  return best;
}

/** Begin what the pointer does at a place of the envelope. */
export function pointerDown(lane, event, x, y) {
  flushNudge();
  select(lane.name);
  const shown = track(lane.name), found = under(shown, x, y);
  if (!found) {
    drag = { kind: "band", lane, x, y, before: event.shiftKey ? state.selected : [], time_s: axis.timeAt(x) };
    return;
  }
  const chosen = chosenOf(shown), time_s = shown.hits[found.index].time_s;
  const wasChosen = chosen.has(found.index);
  if (event.shiftKey) {
    set({ selected: wasChosen ? state.selected.filter((each) => each !== time_s) : [...state.selected, time_s] });
    return;
  }
  if (!wasChosen) set({ selected: [time_s] });
  const kind = event.altKey || found.part === "tail" ? "decay" : "move";
  drag = { kind, lane, x, y, leader: found.index, hits: shown.hits, indexes: [...chosenOf(shown)], time_s };
}

export function pointerMove(lane, x, y) {
  if (!drag) {
    const found = y < ENVELOPE.height && under(track(lane.name), x, y);
    lane.canvas.style.cursor = found ? (found.part === "tail" ? "ew-resize" : "grab") : "crosshair";
    return;
  }
  drag.hasMoved ||= Math.hypot(x - drag.x, y - drag.y) > SLOP_PX;
  if (!drag.hasMoved) return;
  if (drag.kind === "band") moveBand(x, y);
  else if (drag.kind === "decay") preview(drag, decayed(drag, (x - drag.x) / axis.px_per_s));
  else {
    const by_s = Math.abs(x - drag.x) > SLOP_PX ? (x - drag.x) / axis.px_per_s : 0;
    const by_db = Math.abs(y - drag.y) > SLOP_PX ? dbAt(yOfLeader() + y - drag.y) - dbAt(yOfLeader()) : 0;
    preview(drag, moved(drag, by_s, by_db));
  }
}

const yOfLeader = () => yOfDb(toDb(drag.hits[drag.leader].level));

function moveBand(x, y) {
  const bottom = clamp(y, 0, ENVELOPE.height);
  drag.lane.band = { x: Math.min(x, drag.x), y: Math.min(bottom, drag.y), width: Math.abs(x - drag.x),
    height: Math.abs(bottom - drag.y) };
  const from_s = axis.timeAt(drag.lane.band.x), to_s = axis.timeAt(drag.lane.band.x + drag.lane.band.width);
  const inside = track(drag.lane.name).hits.filter((hit) => hit.time_s >= from_s && hit.time_s <= to_s);
  set({ selected: [...new Set([...drag.before, ...inside.map((hit) => hit.time_s)])].sort((a, b) => a - b) });
}

export function pointerUp() {
  if (!drag) return;
  const { kind, lane, hasMoved, hits, indexes, time_s, before } = drag;
  const after = state.preview;
  drag = null;
  lane.band = null;
  if (kind === "band") {
    if (hasMoved) say(`${state.selected.length} hits selected`);
    else {
      set({ selected: before });
      seek(time_s, false);
    }
    set({ selected: [...state.selected] });
  } else if (after) commit(lane.name, hits, after.hits, indexes);
  else set({ selected: [time_s] });
}

/** Leave a drag, and change nothing. */
export function cancelDrag() {
  const wasDragging = drag !== null || nudged !== null;
  if (drag) drag.lane.band = null;
  clearTimeout(nudged?.timer);
  drag = nudged = null;
  if (state.preview) set({ preview: null });
  return wasDragging;
}

function preview({ lane, indexes, leader, kind }, hits) {
  const hit = hits[leader];
  const label = kind === "decay" ? `decay ${(1000 * hit.decay_s).toFixed(0)} ms` : describe(hit);
  set({ preview: { track: lane.name, hits, indexes, leader, label } });
}

function mapped(hits, indexes, call) {
  const result = hits.slice();
  for (const index of indexes) result[index] = call(hits[index]);
  return result;
}

function moved({ hits, indexes }, by_s, by_db) {
  const last_s = state.session.start_s + state.session.duration_s, first_s = state.session.start_s;
  return mapped(hits, indexes, (hit) => ({
    ...hit,
    time_s: clamp(hit.time_s + by_s, first_s, last_s),
    level: by_db ? toLevel(clamp(Math.max(-60, toDb(hit.level)) + by_db, -60, 0)) : hit.level,
  }));
}

function decayed({ hits, indexes, leader }, by_s) {
  const factor = Math.max(1e-3, (hits[leader].decay_s + by_s) / hits[leader].decay_s);
  return mapped(hits, indexes, (hit) => ({ ...hit, decay_s: clamp(hit.decay_s * factor, ...DECAY_S) }));
}

/** Send what changed of some hits, in an order in which no hit takes the place of one that is still to be moved. */
function commit(name, before, after, indexes) {
  const order = [...indexes].sort((a, b) => a - b);
  if (order.some((index) => after[index].time_s > before[index].time_s)) order.reverse();
  const edits = [];
  for (const index of order) {
    const { time_s, level, decay_s } = before[index], to = after[index];
    if (to.time_s !== time_s) edits.push({ kind: "move", time_s, to_s: to.time_s });
    if (to.level !== level) edits.push({ kind: "level", time_s: to.time_s, level: to.level });
    if (to.decay_s !== decay_s) edits.push({ kind: "decay", time_s: to.time_s, decay_s: to.decay_s });
  }
  edit(name, edits, after);
  const selected = indexes.map((index) => after[index].time_s).sort((a, b) => a - b);
  set({ preview: null, selected });
  if (edits.length) say(indexes.length > 1 ? `${indexes.length} hits changed` : describe(after[indexes[0]]));
}

/** Change a hit by typed values. */
export function change(index, values) {
  flushNudge();
  const shown = track();
  if (!shown?.hits[index]) return;
  commit(shown.name, shown.hits, mapped(shown.hits, [index], (hit) => ({ ...hit, ...values })), [index]);
}

/** Move the selected hits a little; what is pressed in quick succession is one edit. */
export function nudge(by_s, by_db) {
  const shown = track();
  if (!shown || (!nudged && !state.selected.length)) return;
  if (!nudged) {
    const indexes = [...chosenOf(shown)];
    if (!indexes.length) return;
    const lane = { name: shown.name };
    nudged = { kind: "move", lane, hits: shown.hits, indexes, leader: indexes[0], by_s: 0, by_db: 0 };
  }
  nudged.by_s += by_s;
  nudged.by_db += by_db;
  preview(nudged, moved(nudged, nudged.by_s, nudged.by_db));
  clearTimeout(nudged.timer);
  nudged.timer = setTimeout(flushNudge, NUDGE_MS);
}

/** Send the nudges that wait. */
export function flushNudge() {
  if (!nudged) return;
  const { lane, hits, indexes, timer } = nudged, after = state.preview?.hits;
  clearTimeout(timer);
  nudged = null;
  if (after) commit(lane.name, hits, after, indexes);
}

/** Add a hit to the selected track; without a level it is as loud as the others. */
export function addHit(time_s = transport.position_s, level = null) {
  flushNudge();
  const shown = track();
  if (!shown) return;
  const sorted = (key) => shown.hits.map((hit) => hit[key]).sort((a, b) => a - b);
  const median = (key, usual) => sorted(key)[shown.hits.length >> 1] ?? usual;
  const hit = { time_s, level: level ?? median("level", USUAL_LEVEL), decay_s: median("decay_s", USUAL_DECAY_S) };
  if (indexNear(shown.hits, time_s) >= 0) {
    say("There is a hit already");
    return;
  }
  edit(shown.name, [{ kind: "add", time_s, level: hit.level }], [...shown.hits, hit]);
  set({ selected: [time_s] });
  say(`Hit added at ${describe(hit)}`);
}

export function doubleClick(lane, x, y) {
  const shown = track(lane.name);
  if (y >= ENVELOPE.height || under(shown, x, y)) return;
  select(lane.name);
  addHit(clamp(axis.timeAt(x), 0, axis.duration_s), toLevel(dbAt(y)));
}

export function deleteSelected() {
  flushNudge();
  const shown = track(), chosen = shown && chosenOf(shown);
  if (!chosen?.size) return;
  const edits = [...chosen].map((index) => ({ kind: "delete", time_s: shown.hits[index].time_s }));
  edit(shown.name, edits, shown.hits.filter((_, index) => !chosen.has(index)));
  set({ selected: [] });
  say(edits.length > 1 ? `${edits.length} hits deleted` : "Hit deleted");
}

/** Select the next or previous hit, from the selected one or from the cursor. */
export function step(direction) {
  flushNudge();
  const hits = track()?.hits ?? [], from_s = state.selected.at(direction > 0 ? -1 : 0) ?? transport.position_s;
  const hit = direction > 0 ? hits.find((each) => each.time_s > from_s + 1e-4)
    : hits.findLast((each) => each.time_s < from_s - 1e-4);
  if (!hit) return;
  set({ selected: [hit.time_s] });
  reveal(hit.time_s, 0.3);
  if (!state.isPlaying) seek(hit.time_s);
  say(`Hit ${hits.indexOf(hit) + 1} of ${hits.length}, ${describe(hit)}`);
}
