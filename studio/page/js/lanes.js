// @ts-check
// The rows of the timeline: a header and a canvas for each track, and for the original sound.

import { $, dbText, el, panText, say, setValue } from "./dom.js";
import { update } from "./mixer.js";
import { change, send } from "./session.js";
import { heardTake, ORIGINAL, originalGain_db, putPending, set, state, subscribe, tracks } from "./state.js";

/** Parts of a lane, in CSS pixels from its top. */
export const ENVELOPE = { top: 0, height: 104 }, WAVEFORM = { top: 106, height: 44 };
export const SPECTROGRAM = { top: 152, height: 56 };
export const LANE_PX = 208, ORIGINAL_PX = 64;
const LEAST_DB = -60, MARGIN_PX = 10;

/** Return the CSS pixel of a level in decibels, within a lane. */
export const yOfDb = (level_db) =>
  MARGIN_PX + (Math.min(0, Math.max(LEAST_DB, level_db)) / LEAST_DB) * (ENVELOPE.height - MARGIN_PX - 4);

/** Return the level in decibels at a CSS pixel of a lane. */
export const dbAt = (y) =>
  Math.max(LEAST_DB, Math.min(0, ((y - MARGIN_PX) / (ENVELOPE.height - MARGIN_PX - 4)) * LEAST_DB));

/** @type {Map<string, any>} lanes on the page, by track */
export const lanes = new Map();
let addHandlers = (lane) => {};

/** Return whether a track is muted or another one is solo. */
export const isSilent = (name, isMuted) => (state.solo.size ? !state.solo.has(name) : isMuted);

export function select(name) {
  if (state.track === name || !state.session.tracks.some((track) => track.name === name)) return;
  set({ track: name, selected: [] });
  say(`Track ${name}`);
}

function slider(kind, name, range, text) {
  const output = el("output", { class: "value" });
  const input = el("input", { type: "range", ...range, value: 0, testid: `${kind}-${label(name)}`,
    "aria-label": `${kind} of ${label(name)}`, title: "Double-click: back to 0" });
  const key = kind === "pan" ? "pan" : "gain_db";
  const show = () => {
    output.value = text(Number(input.value));
    input.setAttribute("aria-valuetext", output.value);
  };
  const values = () => ({ [key]: Number(input.value) });
  input.addEventListener("input", () => {
    show();
    putPending(name, values());
  });
  input.addEventListener("change", () => change(name, values()));
  input.addEventListener("dblclick", () => {
    input.value = "0";
    change(name, values());
  });
  const row = el("label", { class: "slider" }, kind === "pan" ? "Pan" : "Gain", input, output);
  return { row, input, show };
}

const label = (name) => (name === ORIGINAL ? "original" : name);

export function toggleSolo(name) {
  const solo = new Set(state.solo);
  if (!solo.delete(name)) solo.add(name);
  set({ solo });
  say(`${label(name)} ${solo.has(name) ? "solo" : "not solo"}`);
}

export function toggleMute(name) {
  const shown = tracks().find((each) => each.name === name);
  if (!shown) return;
  change(name, { muted: !shown.muted });
  say(`${name} ${shown.muted ? "heard" : "muted"}`);
}

function toggle(kind, text, name, call) {
  return el("button", { class: `toggle ${kind}`, text, testid: `${kind}-${label(name)}`, "aria-pressed": "false",
    "aria-label": `${kind} ${label(name)}`, onclick: call });
}

function addTrackLane(name) {
  const lane = addLane(name, LANE_PX);
  lane.gain = slider("gain", name, { min: -40, max: 40, step: 0.5 }, (value_db) => dbText(value_db));
  lane.pan = slider("pan", name, { min: -1, max: 1, step: 0.05 }, panText);
  lane.mute = toggle("mute", "M", name, () => toggleMute(name));
  lane.solo = toggle("solo", "S", name, () => toggleSolo(name));
  lane.title = el("button", { class: "plain title", text: name, onclick: () => select(name) });
  lane.words = el("div", { class: "words" });
  lane.take = el("div", { class: "quiet small" });
  const away = el("button", { class: "plain away", text: "\u00d7", "aria-label": `Remove the track ${name}`,
    title: "Remove this track (Undo brings it back)", onclick: () => send({ kind: "remove_track", track: name }) });
  lane.head.append(el("div", { class: "line" }, lane.title, lane.mute, lane.solo, away), lane.words, lane.gain.row,
    lane.pan.row, lane.take);
  lane.head.addEventListener("pointerdown", () => select(name));
  lane.canvas.addEventListener("focus", () => select(name));
  addHandlers(lane);
}

function addOriginalLane() {
  const lane = addLane(ORIGINAL, ORIGINAL_PX);
  lane.gain = slider("gain", ORIGINAL, { min: -40, max: 40, step: 0.5 }, (value_db) => dbText(value_db));
  lane.gain.input.dataset.testid = "original-gain";
  lane.mute = toggle("mute", "M", ORIGINAL, () => {
    change(ORIGINAL, { gain_db: originalGain_db() === null ? Number(lane.gain.input.value) : null });
  });
  lane.solo = toggle("solo", "S", ORIGINAL, () => toggleSolo(ORIGINAL));
  lane.head.append(el("div", { class: "line" }, el("span", { class: "title", text: "original" }), lane.mute, lane.solo),
    lane.gain.row);
  addHandlers(lane);
}

function addLane(name, height) {
  const canvas = el("canvas", { testid: `lane-${label(name)}`, tabindex: "0", role: "application",
    style: `height: ${height}px` });
  const head = el("div", { class: "head lane-head", testid: `track-${label(name)}`, "data-track": name,
    role: "group", "aria-label": `Track ${label(name)}` });
  const row = el("div", { class: "row lane", "data-track": name }, head, canvas);
  const lane = { name, row, head, canvas, height, isOriginal: name === ORIGINAL, base: document.createElement("canvas"),
    baseKey: "", topKey: "" };
  lanes.set(name, lane);
  $("lanes").append(row);
  return lane;
}

function showTrack(lane, shown) {
  lane.row.classList.toggle("selected", shown.name === state.track);
  lane.row.classList.toggle("silent", isSilent(shown.name, shown.muted));
  lane.title.setAttribute("aria-pressed", String(shown.name === state.track));
  const sounds = shown.audio_prompts.length;
  const words = [shown.prompt, sounds && `${sounds} sound${sounds > 1 ? "s" : ""}`].filter(Boolean);
  lane.words.textContent = words.join(", ") || "no words";
  lane.words.title = shown.prompt ?? "";
  setValue(lane.gain.input, shown.gain_db);
  setValue(lane.pan.input, shown.pan);
  lane.gain.show();
  lane.pan.show();
  lane.mute.setAttribute("aria-pressed", String(shown.muted));
  lane.solo.setAttribute("aria-pressed", String(state.solo.has(shown.name)));
  const take = heardTake(shown), isB = take !== shown.kept;
  lane.take.textContent = take === null ? "no take yet" : `take ${take}${isB ? " (B)" : ""} of ${shown.takes.length}`;
  lane.canvas.setAttribute("aria-label", `${shown.name}: envelope with ${shown.hits.length} hits, waveform and ` +
    "spectrogram. N and P choose hits, Alt and arrows move them; the table of hits has their values.");
}

function showOriginal(lane) {
  const gain_db = originalGain_db();
  if (gain_db !== null) setValue(lane.gain.input, gain_db);
  lane.gain.show();
  lane.mute.setAttribute("aria-pressed", String(gain_db === null));
  lane.solo.setAttribute("aria-pressed", String(state.solo.has(ORIGINAL)));
  lane.row.classList.toggle("silent", isSilent(ORIGINAL, gain_db === null));
  lane.canvas.setAttribute("aria-label", "Original sound of the video: waveform");
}

function render() {
  const wanted = state.session ? tracks() : [];
  const names = new Set(wanted.map((each) => each.name));
  if (state.session?.video.has_sound && wanted.length) names.add(ORIGINAL);
  for (const [name, lane] of lanes) {
    if (names.has(name)) continue;
    lane.row.remove();
    lanes.delete(name);
  }
  for (const name of names) if (!lanes.has(name)) name === ORIGINAL ? addOriginalLane() : addTrackLane(name);
  for (const name of names) {
    const { row } = lanes.get(name), index = [...names].indexOf(name);
    if ($("lanes").children[index] !== row) $("lanes").insertBefore(row, $("lanes").children[index] ?? null);
  }
  for (const each of wanted) showTrack(lanes.get(each.name), each);
  if (lanes.has(ORIGINAL)) showOriginal(lanes.get(ORIGINAL));
  showEmpty(wanted);
  if (state.session) update();
}

function showEmpty(wanted) {
  $("lanes").querySelector(".empty")?.remove();
  if (!state.session || wanted.length) return;
  const job = state.jobs.find((each) => each.kind === "begin");
  const hasFailed = job?.status === "failed" || job?.status === "cancelled";
  const text = hasFailed ? "There are no hits: open the video again."
    : state.session.undo ? "There is no track: add one, or undo." : "The hits are predicted from the picture\u2026";
  $("lanes").append(el("p", { class: "empty", text }));
}

/** @param {(lane: any) => void} handlers adds what the pointer does in a lane */
export function initLanes(handlers) {
  addHandlers = handlers;
  subscribe(["session", "pending", "track", "solo", "marked", "isB", "jobs"], render);
}
