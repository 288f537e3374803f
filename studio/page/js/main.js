// @ts-check
// Puts the page together.

import { getJson } from "./api.js";
import { axis, onView } from "./axis.js";
import { askTrack, initDialogs } from "./dialogs.js";
import { $, hideMessage, say, toDb, trackTouches } from "./dom.js";
import { loaded, loadThumbnails, readColours, request } from "./draw.js";
import { flushNudge } from "./hits.js";
import { initJobs } from "./jobs.js";
import { initKeys } from "./keys.js";
import { yOfDb } from "./lanes.js";
import { clear, mixer, onLoaded, update } from "./mixer.js";
import { initPanel } from "./panel.js";
import { initTimeline } from "./region.js";
import { close, flushAll } from "./session.js";
import { initStart, openSession, showSessions } from "./start.js";
import { set, state, subscribe } from "./state.js";
import { initTable } from "./table.js";
import { initTakes } from "./takes.js";
import { closeVideo, initTransport, openVideo, setLooping, toggle, transport } from "./transport.js";

const THEMES = ["auto", "light", "dark"];
/** @type {string?} id of the session that is shown; empty: the first screen */
let shownId = null;

/** Show the first screen or the studio, and load what belongs to a session when it is opened. */
function showSession() {
  const { session } = state;
  document.body.classList.toggle("has-session", !!session);
  $("start").hidden = !!session;
  $("studio").hidden = !session;
  $("session-name").textContent = session?.name ?? "";
  document.title = session ? `${session.name} \u2013 Studio` : "Studio";
  const id = session?.id ?? "";
  if (id === shownId) return request();
  shownId = id;
  clear();
  closeVideo();
  if (!session) return showSessions();
  $("thumbs").setAttribute("aria-valuemax", String(session.video.duration_s));
  openVideo();
  loadThumbnails();
}

function showPlaying() {
  $("play").textContent = state.isPlaying ? "Pause" : "Play";
  $("play").setAttribute("aria-label", state.isPlaying ? "Pause" : "Play");
  $("loop").setAttribute("aria-pressed", String(state.isLooping));
  $("thumbs").setAttribute("aria-valuenow", transport.position_s.toFixed(3));
  request();
}

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("theme").textContent = `Theme: ${theme}`;
  localStorage.setItem("theme", theme);
  readColours();
}

function initTheme() {
  const now = () => localStorage.getItem("theme") ?? "auto";
  setTheme(THEMES.includes(now()) ? now() : "auto");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readColours);
  $("theme").addEventListener("click", () => {
    setTheme(THEMES[(THEMES.indexOf(now()) + 1) % THEMES.length]);
    say($("theme").textContent);
  });
}

/** Read what the server can, until its models are loaded. */
async function readAbout() {
  try {
    const about = await getJson("about");
    set({ about });
    const model = about.model === "bundled" ? "bundled model" : about.model?.split(/[\\/]/).pop();
    $("model").textContent = about.ready ? model : "The model is being loaded\u2026";
    if (about.ready) return;
  } catch {
    // the banner says it
  }
  setTimeout(readAbout, 1000);
}

function openHash() {
  const id = location.hash.slice(1);
  if (id && id !== state.session?.id) openSession(id);
  else if (!id) set({ session: null });
}

function init() {
  trackTouches();
  const parts = [initTransport, initTimeline, initPanel, initTakes, initTable, initJobs, initDialogs, initKeys];
  for (const part of parts) part();
  initStart(askTrack);
  initTheme();
  subscribe(["session"], showSession);
  subscribe(["isPlaying", "isLooping"], showPlaying);
  subscribe(["session", "pending", "track", "selected", "preview", "marked", "isB", "solo"], request);
  subscribe(["envelopes"], loaded);
  subscribe(["solo", "marked", "isB"], () => state.session && update());
  subscribe(["isOffline"], () => ($("offline").hidden = !state.isOffline));
  onView(request);
  onLoaded(loaded);
  $("play").addEventListener("click", toggle);
  $("loop").addEventListener("click", () => setLooping(!state.isLooping));
  $("message-close").addEventListener("click", hideMessage);
  $("to-start").addEventListener("click", close);
  window.addEventListener("hashchange", openHash);
  window.addEventListener("pagehide", () => {
    flushNudge();
    flushAll();
  });
  readAbout();
  openHash();
}

/** @type {any} */ (window).studio = { state, set, transport, axis, mixer, yOfLevel: (_, level) => yOfDb(toDb(level)) };
init();
