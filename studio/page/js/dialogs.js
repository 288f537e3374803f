// @ts-check
// Dialogs: adding a track, and splitting hits off.

import { $, el } from "./dom.js";
import { flushNudge } from "./hits.js";
import { send } from "./session.js";
import { uploadFor } from "./start.js";
import { set, state, track, tracks } from "./state.js";

/** @type {File?} a file that was dropped */
let dropped = null;

/** Return a name that no track has. */
function freeName(wish) {
  const taken = new Set(state.session.tracks.map((each) => each.name));
  const name = wish.replace(/[^A-Za-z0-9_-]+/g, "-").replace(/^[-_]+/, "").slice(0, 36) || "track";
  for (let n = 2, free = name; ; free = `${name}-${n++}`) if (!taken.has(free)) return free;
}

/** Ask for a new track; with a file, its hits come from there. */
export function askTrack(file = null) {
  if (!state.session) return;
  dropped = file;
  const options = [["empty", "none yet"], ...tracks().map(({ name }) => [`copy:${name}`, `those of ${name}`]),
    ["file", file?.name ?? "from a file: table, MIDI, labels or sound"]];
  $("add-source").replaceChildren(...options.map(([value, text]) => el("option", { value, text })));
  $("add-source").value = file ? "file" : "empty";
  $("add-name").value = freeName(file?.name.replace(/\.\w+$/, "") ?? "track");
  $("add-prompt").value = $("add-file").value = "";
  showFile();
  $("add-dialog").returnValue = "";
  $("add-dialog").showModal();
  $("add-name").select();
}

function showFile() {
  const isNeeded = $("add-source").value === "file" && !dropped;
  $("add-file-label").hidden = !isNeeded;
  $("add-file").required = isNeeded;
}

async function addTrack() {
  if ($("add-dialog").returnValue !== "ok") return;
  const name = $("add-name").value, prompt = $("add-prompt").value.trim() || null;
  const body = (source) => ({ kind: "add_track", name, prompt, source });
  const [kind, of] = $("add-source").value.split(":");
  const job = kind === "file" ? await uploadFor(dropped ?? $("add-file").files[0], body)
    : await send(body(kind === "copy" ? { kind, track: of } : { kind }));
  if (job) selectSoon(name);
}

/** Select a track as soon as it is there. */
function selectSoon(name, tries = 20) {
  if (state.session?.tracks.some((each) => each.name === name)) set({ track: name, selected: [] });
  else if (tries) setTimeout(selectSoon, 200, name, tries - 1);
}

export function askSplit() {
  flushNudge();
  const n = state.selected.length;
  if (!n || !track()) return;
  $("split-text").textContent = `${n} ${n === 1 ? "hit goes" : "hits go"} from ${state.track} to a track of its own.`;
  $("split-name").value = freeName(`${state.track}-2`);
  $("split-prompt").value = "";
  $("split-dialog").returnValue = "";
  $("split-dialog").showModal();
  $("split-name").select();
}

function split() {
  if ($("split-dialog").returnValue !== "ok") return;
  const prompt = $("split-prompt").value.trim() || null;
  send({ kind: "split", track: state.track, name: $("split-name").value, times_s: state.selected, prompt });
  set({ selected: [] });
}

export function initDialogs() {
  $("add-track").addEventListener("click", () => askTrack());
  $("add-source").addEventListener("change", showFile);
  $("add-dialog").addEventListener("close", addTrack);
  $("split").addEventListener("click", askSplit);
  $("split-dialog").addEventListener("close", split);
}
