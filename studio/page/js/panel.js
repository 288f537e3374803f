// @ts-check
// The panel of the selected track: words, sound prompts, settings, generation and export.

import { sessionPath } from "./api.js";
import { $, bytesText, el, say, setValue } from "./dom.js";
import { flushNudge } from "./hits.js";
import { change, send } from "./session.js";
import { state, subscribe, track } from "./state.js";

const SETTINGS = { steps: "n_steps", cfg: "cfg_scale", control: "control_strength" };
const NEED_TRACK = ["prompt", "negative-prompt", "sound-file", "generate", "add-hit", "quantise"];
/** Session and track for which the seed was last proposed. */
let proposedFor = "";

function show() {
  const shown = track(), { session, about } = state;
  if (!session) return;
  $("track-name").textContent = shown?.name ?? "";
  setValue($("prompt"), shown?.prompt);
  setValue($("negative-prompt"), shown?.negative_prompt);
  for (const id of NEED_TRACK) $(id).disabled = !shown;
  showSounds(shown);
  for (const [id, key] of Object.entries(SETTINGS)) {
    setValue($(id), session.settings[key]);
    $(id).placeholder = about?.defaults?.[key] ?? "";
  }
  setValue($("level-match"), session.settings.level_match);
  $("level-match").options[0].textContent = about?.defaults?.level_match === false ? "auto (off)" : "auto (on)";
  $("cfg").disabled = about?.guidance === false;
  proposeSeed(shown);
  for (const kind of ["undo", "again"]) {
    $(kind).disabled = session[kind] === null;
    $(kind).title = session[kind] ?? "";
  }
  showExports(session);
}

/** Propose a seed that the track has not had yet. */
function proposeSeed(shown) {
  const mark = `${state.session.id}/${shown?.name}`;
  if (!shown || mark === proposedFor) return;
  proposedFor = mark;
  setSeed(Math.max(-1, ...shown.takes.map((take) => take.seed)) + 1);
}

function setSeed(seed) {
  $("seed").value = seed;
  $("seed").dispatchEvent(new Event("input", { bubbles: true }));
}

function showSounds(shown) {
  const rows = (shown?.audio_prompts ?? []).map((label, index) => el("li", {},
    el("span", { text: label, title: label }),
    el("button", { class: "plain away", text: "\u00d7", "aria-label": `Remove the sound prompt ${label}`,
      onclick: () => send({ kind: "remove_sound_prompt", track: shown.name, index }) })));
  $("sound-prompts").replaceChildren(...rows);
}

function showExports(session) {
  $("archive").href = `/api/${sessionPath()}/archive`;
  $("exports").replaceChildren(...session.exports.map(({ name, bytes }) => el("li", {},
    el("a", { href: `/api/${sessionPath()}/exports/${encodeURIComponent(name)}`, download: name, text: name }),
    el("span", { class: "quiet", text: bytesText(bytes) }))));
}

/** Generate as many takes of the selected track as the panel says; the next ones get other seeds. */
export function generate() {
  const shown = track();
  if (!shown) return;
  if (!$("seed").reportValidity() || !$("n-takes").reportValidity()) return;
  const seed = Number($("seed").value) || 0, n_takes = Number($("n-takes").value) || 1;
  sendLast({ kind: "generate", track: shown.name, seed, n_takes });
  setSeed(seed + n_takes);
  say("Generating");
}

/** Send a job after the nudges of hits that wait. */
function sendLast(body) {
  flushNudge();
  return send(body);
}

export const exportAll = () => sendLast({ kind: "export", sample_rate_hz: Number($("export-rate").value) });
export const undo = () => sendLast({ kind: "undo" });
export const again = () => sendLast({ kind: "again" });

/** Keep the value of a changed input as a setting of the session; empty: as the checkpoint says. */
function sendSetting(id, key, value) {
  if ($(id).reportValidity()) send({ kind: "settings", [key]: value });
}

export function initPanel() {
  subscribe(["session", "track", "about", "pending"], show);
  for (const [id, key] of Object.entries(SETTINGS)) {
    $(id).addEventListener("change", () => sendSetting(id, key, $(id).value === "" ? null : Number($(id).value)));
  }
  $("level-match").addEventListener("change", ({ target }) => {
    sendSetting("level-match", "level_match", target.value === "" ? null : target.value === "true");
  });
  for (const [id, key] of [["prompt", "prompt"], ["negative-prompt", "negative_prompt"]]) {
    $(id).addEventListener("change", () => state.track && change(state.track, { [key]: $(id).value.trim() }));
    $(id).addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey) return;
      event.preventDefault();
      $(id).blur();
    });
  }
  const clicks = { generate, export: exportAll, undo, again };
  for (const [id, call] of Object.entries(clicks)) $(id).addEventListener("click", () => call());
}
