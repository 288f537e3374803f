// @ts-check
// The keyboard: one list, which the keys and the help dialog are made from.

import { axis, showWhole, zoom } from "./axis.js";
import { askSplit } from "./dialogs.js";
import { $, el, hideMessage, isTextField } from "./dom.js";
import { addHit, cancelDrag, deleteSelected, nudge, step } from "./hits.js";
import { select, toggleMute, toggleSolo } from "./lanes.js";
import { again, exportAll, generate, undo } from "./panel.js";
import { clearRegion, redoRegion, setEnd } from "./region.js";
import { set, state, tracks } from "./state.js";
import { toggleAb } from "./takes.js";
import { seek, setLooping, toggle, transport } from "./transport.js";

const by = (seconds) => seek(transport.position_s + seconds);
const frame_s = () => 1 / (state.session.video.rate_hz || 25);

/**
 * Keys, what they do in words, and the function; several keys of a line are separated by blanks.
 * @type {[string, string, (key: string) => void][]}
 */
const KEYS = [
  ["Space", "play or pause", toggle],
  ["L", "loop the region, or all", () => setLooping(!state.isLooping)],
  ["Home", "to the start", () => seek(0)],
  ["End", "to the end", () => seek(axis.duration_s)],
  ["ArrowLeft", "back by a frame", () => by(-frame_s())],
  ["ArrowRight", "on by a frame", () => by(frame_s())],
  ["Shift+ArrowLeft", "back by a second", () => by(-1)],
  ["Shift+ArrowRight", "on by a second", () => by(1)],
  ["+ =", "zoom in", () => zoom(1.5, cursor())],
  ["- _", "zoom out", () => zoom(1 / 1.5, cursor())],
  ["0", "whole video", showWhole],
  ["[", "region starts at the cursor", () => setEnd("start_s")],
  ["]", "region ends at the cursor", () => setEnd("end_s")],
  ["R", "redo the region", redoRegion],
  ["G", "generate", generate],
  ["N", "next hit", () => step(1)],
  ["P", "previous hit", () => step(-1)],
  ["Alt+ArrowLeft", "selected hits earlier by 10 ms", () => nudge(-0.01, 0)],
  ["Alt+ArrowRight", "selected hits later by 10 ms", () => nudge(0.01, 0)],
  ["Alt+Shift+ArrowLeft", "earlier by 1 ms", () => nudge(-0.001, 0)],
  ["Alt+Shift+ArrowRight", "later by 1 ms", () => nudge(0.001, 0)],
  ["Alt+ArrowUp", "selected hits louder by 1 dB", () => nudge(0, 1)],
  ["Alt+ArrowDown", "selected hits softer by 1 dB", () => nudge(0, -1)],
  ["A", "add a hit at the cursor", () => addHit()],
  ["Delete Backspace", "delete the selected hits", deleteSelected],
  ["Ctrl+A", "select all hits", () => set({ selected: trackHits().map((hit) => hit.time_s) })],
  ["T", "split the selected hits into a track", askSplit],
  ["1 2 3 4 5 6 7 8 9", "choose a track", (key) => select(tracks()[Number(key) - 1]?.name)],
  ["S", "solo", () => state.track && toggleSolo(state.track)],
  ["M", "mute", () => state.track && toggleMute(state.track)],
  ["B", "hear take A or B", toggleAb],
  ["Ctrl+Z", "undo", undo],
  ["Ctrl+Shift+Z Ctrl+Y", "redo what was undone", again],
  ["E", "export", exportAll],
  ["Escape", "leave a drag, the message, the region, the selection", escape],
  ["?", "these keys", () => $("help").showModal()],
];

const trackHits = () => tracks().find((each) => each.name === state.track)?.hits ?? [];

/** Return the pixel of the cursor if it is seen, around which keys zoom. */
function cursor() {
  const x = axis.xOf(transport.position_s);
  return x >= 0 && x <= axis.width_px ? x : undefined;
}

function escape() {
  if (cancelDrag()) return;
  if (!$("message").hidden) hideMessage();
  else if (state.region) clearRegion();
  else set({ selected: [] });
}

/** Return the name of a pressed key with its modifiers, as in the list. */
function nameOf(event) {
  const key = event.key === " " ? "Space" : event.key.length === 1 ? event.key.toUpperCase() : event.key;
  const isNamed = key.length > 1 || /[A-Z]/.test(key);
  const isCtrl = event.ctrlKey || event.metaKey, isShift = event.shiftKey && isNamed;
  return [isCtrl && "Ctrl", event.altKey && "Alt", isShift && "Shift", key].filter(Boolean).join("+");
}

/** Return whether a control that has the focus needs a key itself. */
function isTaken(event) {
  const element = document.activeElement ?? document.body;
  if (isTextField(element) || document.querySelector("dialog[open]")) return true;
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  const isArrow = /^(Arrow|Home|End|Page)/.test(event.key);
  if (element.matches("select")) return true;
  if (element.matches("input[type=range]")) return isArrow;
  return (event.key === " " || event.key === "Enter") && element.matches("button, a");
}

const table = new Map(KEYS.flatMap(([keys, , call]) => keys.split(" ").map((key) => [key, call])));

function onKey(event) {
  /** @type {any} */ const focused = document.activeElement;
  if (event.key === "Escape" && isTextField(focused)) return focused.blur();
  const call = table.get(nameOf(event));
  if (!call || isTaken(event) || (!state.session && nameOf(event) !== "?")) return;
  event.preventDefault();
  call(event.key);
}

const SHOWN = { ArrowLeft: "\u2190", ArrowRight: "\u2192", ArrowUp: "\u2191", ArrowDown: "\u2193", Escape: "Esc" };

function keyElements(keys) {
  const options = keys.startsWith("1 2") ? ["1\u20139"] : keys.split(" ");
  const parts = (option) => option.split(/\+(?=.)/).map((key) => el("kbd", { text: SHOWN[key] ?? key }));
  return options.flatMap((option) => [...parts(option), " "]);
}

/** Take the focus from a button that was clicked with the pointer: the next Space plays. */
function onClick({ detail, target }) {
  const button = target.closest("button");
  if (detail && button && !button.closest("dialog, #sessions")) button.blur();
}

export function initKeys() {
  document.addEventListener("keydown", onKey);
  document.addEventListener("click", onClick);
  const rows = KEYS.map(([keys, text]) => el("div", {}, el("span", {}, ...keyElements(keys)), el("span", { text })));
  $("help-keys").replaceChildren(...rows);
  $("open-help").addEventListener("click", () => $("help").showModal());
}
