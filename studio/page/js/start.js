// @ts-check
// The first screen, and files that are dropped or chosen anywhere.

import { getJson, remove, sessionPath, upload } from "./api.js";
import { $, bytesText, clock, el, say, showMessage } from "./dom.js";
import { regionAsPrompt } from "./region.js";
import { open, send } from "./session.js";
import { set, state } from "./state.js";

export const REGION_TYPE = "application/x-studio-region";
const VIDEO = /\.(mp4|mov|m4v|mkv|webm|avi|mpe?g|mts|m2ts|wmv)$/i, TABLE = /\.(csv|txt|midi?)$/i;

/** List the sessions of the studio. */
export async function showSessions() {
  let sessions;
  try {
    sessions = await getJson("sessions");
  } catch (error) {
    return showMessage(error.message);
  }
  const header = ["Name", "Length", "Takes", "Size", "Changed", ""].map((text) => el("th", { text, scope: "col" }));
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...header)), el("tbody", {}, ...sessions.map(row)));
  $("sessions").replaceChildren(sessions.length ? table : el("p", { class: "quiet", text: "There are none yet." }));
}

function row(session) {
  const { id, name, duration_s, changed, n_takes, bytes } = session;
  const away = el("button", { text: "Delete", "aria-label": `Delete ${name}`, onclick: () => confirmDelete(away, id) });
  const length = duration_s === null ? "damaged" : clock(duration_s, 0);
  const date = new Date(changed).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  return el("tr", {}, el("td", {}, el("button", { class: "plain link", text: name, onclick: () => openSession(id) })),
    ...[length, n_takes, bytesText(bytes), date].map((text) => el("td", { text })), el("td", {}, away));
}

/** Delete at the second press. */
async function confirmDelete(button, id) {
  if (!button.dataset.isAsked) {
    button.dataset.isAsked = "1";
    button.textContent = "Delete for ever?";
    button.addEventListener("blur", () => {
      button.textContent = "Delete";
      delete button.dataset.isAsked;
    }, { once: true });
    return;
  }
  await remove(`sessions/${id}`).catch((error) => showMessage(error.message));
  showSessions();
}

export async function openSession(given) {
  await open(given).catch((error) => {
    showMessage(error.message);
    if (!state.session) set({ session: null });
  });
}

/** Open a video or a saved session as a new session. */
async function openFile(file) {
  const isArchive = /\.zip$/i.test(file.name);
  $("upload-note").textContent = `Uploading ${file.name}, ${bytesText(file.size)}\u2026`;
  say(`Uploading ${file.name}`);
  try {
    const answer = isArchive ? await upload("sessions/open", "archive", file) : await upload("sessions", "video", file);
    await openSession(answer.session);
  } catch (error) {
    showMessage(error.message);
  }
  $("upload-note").textContent = "";
}

/** Upload a file for the session, and send a job that uses it. */
export async function uploadFor(file, body) {
  try {
    const { name } = await upload(`${sessionPath()}/files`, "file", file);
    return await send(body({ kind: "file", name }));
  } catch (error) {
    showMessage(error.message);
    return null;
  }
}

export const addSound = (file, name) =>
  uploadFor(file, (source) => ({ kind: "add_sound_prompt", track: name, source }));

/** @param {(file: File) => void} addTable called with a table or MIDI file */
function takeFile(file, name, addTable) {
  if (/\.zip$/i.test(file.name) || file.type.startsWith("video/") || VIDEO.test(file.name)) openFile(file);
  else if (!state.session) showMessage(`${file.name} is no video: open a video first`);
  else if (TABLE.test(file.name)) addTable(file);
  else if (!name) showMessage("there is no track for this sound: add one first");
  else addSound(file, name);
}

export function initStart(addTable) {
  $("file").addEventListener("change", ({ target }) => {
    if (target.files[0]) openFile(target.files[0]);
    target.value = "";
  });
  $("sound-file").addEventListener("change", ({ target }) => {
    if (target.files[0]) addSound(target.files[0], state.track);
    target.value = "";
  });
  for (const id of ["region-grip", "region-prompt"]) {
    $(id).addEventListener("dragstart", (event) => event.dataTransfer.setData(REGION_TYPE, "region"));
  }
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(event.target);
  });
  document.addEventListener("dragleave", (event) => !event.relatedTarget && mark(null));
  document.addEventListener("dragend", () => mark(null));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    mark(null);
    const name = trackAt(event.target);
    if (event.dataTransfer.types.includes(REGION_TYPE)) {
      if (name) regionAsPrompt(name);
    } else for (const file of event.dataTransfer.files) takeFile(file, name ?? state.track, addTable);
  });
}

function trackAt(target) {
  const name = target.closest?.("[data-track]")?.dataset.track;
  return state.session?.tracks.some((track) => track.name === name) ? name : null;
}

/** Show where something that is dragged would be dropped. */
function mark(target) {
  const row = target && (state.session ? trackAt(target) && target.closest(".lane") : $("drop"));
  for (const each of document.querySelectorAll(".dropping")) if (each !== row) each.classList.remove("dropping");
  row?.classList.add("dropping");
}
