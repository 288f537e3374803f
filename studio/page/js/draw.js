// @ts-check
// Drawing of the timeline: one loop, which draws what changed. What rarely changes is kept as a bitmap for each lane.

import { getJson, sessionPath } from "./api.js";
import { axis } from "./axis.js";
import { $, clock, el, toDb } from "./dom.js";
import { drawHits } from "./draw_hits.js";
import { ENVELOPE, lanes, SPECTROGRAM, WAVEFORM, yOfDb } from "./lanes.js";
import { originalBuffer, takeBuffer } from "./mixer.js";
import { drawSpectrogram } from "./spectrogram.js";
import { heardTake, state, track } from "./state.js";
import { tick, transport } from "./transport.js";
import { drawWaveform } from "./waveform.js";

const COLOURS = "text quiet line grid lane envelope envelope-line wave hit chosen raised".split(" ");

let frame = 0;
let n_loaded = 0;
let rulerKey = "";
let thumbsKey = "";
/** @type {Record<string, string>} */
let colours = {};
/** @type {{times_s: number[], width: number, height: number, columns: number, picture: HTMLImageElement}?} */
let thumbnails = null;

/** Draw soon. */
export function request() {
  if (!frame) frame = requestAnimationFrame(render);
}

/** Draw all lanes anew, since something that they show has been loaded. */
export function loaded() {
  n_loaded++;
  request();
}

/** Take the colours of the theme. */
export function readColours() {
  const probe = el("span", { hidden: true }); // resolves light-dark()
  document.body.append(probe);
  for (const name of COLOURS) {
    probe.style.color = `var(--${name})`;
    colours[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  loaded();
}

function render() {
  frame = 0;
  if (!state.session || !axis.width_px) return;
  tick();
  drawRuler();
  drawThumbs();
  const area = $("lanes-scroll").getBoundingClientRect();
  for (const lane of lanes.values()) {
    const box = lane.row.getBoundingClientRect();
    if (box.bottom > area.top && box.top < area.bottom) drawLane(lane);
  }
  placeOverlay();
  if (state.isPlaying) request();
}

const viewKey = () => [axis.start_s, axis.px_per_s, axis.width_px, devicePixelRatio, n_loaded, state.session.id].join();

/** Give a canvas the right size, and return its context in CSS pixels. */
function contextOf(canvas, height) {
  const width = Math.round(axis.width_px * devicePixelRatio), pixels = Math.round(height * devicePixelRatio);
  if (canvas.width !== width || canvas.height !== pixels) Object.assign(canvas, { width, height: pixels });
  const context = canvas.getContext("2d");
  context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  context.clearRect(0, 0, axis.width_px, height);
  return context;
}

/** Return the distance of ticks, in seconds: as close as they are legible. */
function tickStep(least_px) {
  const steps = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300];
  return steps.find((step_s) => step_s * axis.px_per_s >= least_px) ?? 600;
}

function eachTick(step_s, call) {
  const last = Math.floor(Math.min(axis.end_s, axis.duration_s) / step_s + 1e-6);
  for (let n = Math.ceil(axis.start_s / step_s - 1e-6); n <= last; n++) call(axis.xOf(n * step_s), n * step_s);
}

function drawRuler() {
  if (rulerKey === viewKey()) return;
  rulerKey = viewKey();
  const context = contextOf($("ruler"), 24), step_s = tickStep(76);
  context.fillStyle = colours.line;
  eachTick(step_s / 5, (x) => context.fillRect(Math.round(x), 19, 1, 5));
  context.font = "11px system-ui, sans-serif";
  eachTick(step_s, (x, time_s) => {
    context.fillStyle = colours.line;
    context.fillRect(Math.round(x), 10, 1, 14);
    context.fillStyle = colours.quiet;
    context.fillText(clock(time_s, step_s < 0.01 ? 3 : step_s < 0.1 ? 2 : step_s < 1 ? 1 : 0), Math.round(x) + 4, 12);
  });
}

/** Read the thumbnails of the session. */
export async function loadThumbnails() {
  thumbnails = null;
  const id = state.session.id, path = `${sessionPath()}/thumbnails`;
  const sheet = await getJson(path).catch(() => null);
  if (!sheet || state.session?.id !== id) return;
  const picture = new Image();
  picture.onload = () => {
    if (state.session?.id !== id) return;
    thumbnails = { ...sheet, picture };
    loaded();
  };
  picture.src = `/api/${path}.jpg`;
}

function drawThumbs() {
  if (thumbsKey === viewKey()) return;
  thumbsKey = viewKey();
  const context = contextOf($("thumbs"), 48);
  if (!thumbnails) return;
  const { times_s, width, height, columns, picture } = thumbnails;
  const shown_px = (48 * width) / height, end_x = Math.min(axis.width_px, axis.xOf(axis.duration_s));
  const first = Math.floor((axis.start_s * axis.px_per_s) / shown_px);
  for (let slot = first, x; (x = slot * shown_px - axis.start_s * axis.px_per_s) < end_x; slot++) {
    const at_s = axis.timeAt(x + shown_px / 2);
    let n = Math.min(times_s.length - 1, Math.floor((at_s / axis.duration_s) * times_s.length));
    while (n > 0 && times_s[n] > at_s) n--;
    const part = Math.min(1, (end_x - x) / shown_px);
    context.drawImage(picture, (n % columns) * width, Math.floor(n / columns) * height, width * part, height,
      x, 0, shown_px * part, 48);
  }
}

function drawLane(lane) {
  const shown = lane.isOriginal ? null : track(lane.name);
  if (!lane.isOriginal && !shown) return;
  const take = shown && heardTake(shown), version = state.envelopes.get(lane.name)?.version;
  const baseKey = [viewKey(), take, version].join();
  if (lane.baseKey !== baseKey) {
    lane.baseKey = baseKey;
    lane.topKey = "";
    drawBase(lane, shown, take);
  }
  const isPreview = state.preview?.track === lane.name;
  const isSelected = lane.name === state.track;
  const topKey = JSON.stringify([isSelected && state.selected, isSelected, !!state.pending.get(lane.name)?.values.hits,
    shown?.hits.length, lane.band]);
  if (lane.topKey === topKey && !isPreview && lane.shownHits === shown?.hits) return;
  lane.topKey = isPreview ? "" : topKey;
  lane.shownHits = shown?.hits;
  const context = contextOf(lane.canvas, lane.height);
  context.drawImage(lane.base, 0, 0, axis.width_px, lane.height);
  if (shown) drawHits(context, shown, lane.band, colours);
}

function drawBase(lane, shown, take) {
  const context = contextOf(lane.base, lane.height);
  context.fillStyle = colours.lane;
  context.fillRect(0, 0, axis.xOf(axis.duration_s), lane.height);
  if (lane.isOriginal) {
    const buffer = originalBuffer();
    if (buffer) drawWaveform(context, buffer, state.session.start_s, 2, lane.height - 4, colours.wave);
    return;
  }
  drawGrid(context);
  drawEnvelope(context, shown);
  if (take === null) {
    context.fillStyle = colours.quiet;
    context.font = "12px system-ui, sans-serif";
    context.fillText("No take yet: Generate makes one (G)", 12, WAVEFORM.top + WAVEFORM.height / 2 + 4);
    return;
  }
  const buffer = takeBuffer(shown.name, take);
  if (buffer) drawWaveform(context, buffer, state.session.start_s, WAVEFORM.top, WAVEFORM.height, colours.wave);
  drawSpectrogram(context, shown.name, take, SPECTROGRAM.top, SPECTROGRAM.height, loaded);
}

function drawGrid(context) {
  context.font = "10px system-ui, sans-serif";
  for (const level_db of [0, -20, -40]) {
    const y = Math.round(yOfDb(level_db));
    context.fillStyle = colours.grid;
    context.fillRect(0, y, axis.width_px, 1);
    context.fillStyle = colours.quiet;
    context.fillText(level_db ? `\u2212${-level_db}` : "0 dB", 3, y + (level_db ? -2 : 10));
  }
  context.fillStyle = colours.grid;
  eachTick(tickStep(76), (x) => context.fillRect(Math.round(x), 0, 1, ENVELOPE.height));
  context.fillRect(0, WAVEFORM.top - 1, axis.width_px, 1);
}

/** Draw the highest value of the envelope at each pixel. */
function drawEnvelope(context, shown) {
  const { values } = state.envelopes.get(shown.name) ?? { values: [] };
  const { start_s } = state.session, rate_hz = shown.envelope_rate_hz, bottom = ENVELOPE.top + ENVELOPE.height;
  const indexAt = (x) => (axis.timeAt(x) - start_s) * rate_hz - 0.5;
  const line = new Path2D(), end_x = Math.min(axis.width_px, axis.xOf(start_s + values.length / rate_hz));
  const first_x = Math.max(0, axis.xOf(start_s));
  for (let x = first_x; x <= end_x; x++) {
    const from = Math.max(0, Math.floor(indexAt(x))), next = Math.max(from, Math.floor(indexAt(x + 1))) + 1;
    const to = Math.min(values.length, next);
    let level = 0;
    if (to - from > 1) for (let n = from; n < to; n++) level = Math.max(level, values[n]);
    else {
      const share = Math.max(0, indexAt(x) - from);
      level = (values[from] ?? 0) * (1 - share) + (values[from + 1] ?? values[from] ?? 0) * share;
    }
    line.lineTo(x, yOfDb(toDb(level)));
  }
  const area = new Path2D(line);
  area.lineTo(end_x, bottom);
  area.lineTo(first_x, bottom);
  context.fillStyle = colours.envelope;
  context.fill(area);
  context.strokeStyle = colours["envelope-line"];
  context.lineWidth = 1;
  context.stroke(line);
}

function placeOverlay() {
  const x = axis.xOf(transport.position_s), isSeen = x >= -1 && x <= axis.width_px + 1;
  for (const id of ["cursor", "cursor-grip"]) {
    $(id).style.transform = `translateX(${x}px)`;
    $(id).style.visibility = isSeen ? "visible" : "hidden";
  }
  const shown = clock(transport.position_s);
  if ($("clock").value !== shown) $("clock").value = shown;
  for (const id of ["region", "region-grip"]) {
    $(id).hidden = !state.region;
    if (!state.region) continue;
    const left = Math.max(-4, axis.xOf(state.region.start_s));
    $(id).style.transform = `translateX(${left}px)`;
    $(id).style.width = `${Math.max(0, Math.min(axis.width_px + 4, axis.xOf(state.region.end_s)) - left)}px`;
  }
}
