// @ts-check
// Play, pause, loop and scrub. The AudioContext is the clock, and the silent video follows it.

import { request, sessionPath } from "./api.js";
import { isSeen, reveal } from "./axis.js";
import { $, clamp, say } from "./dom.js";
import { grain, mixer, start, stop } from "./mixer.js";
import { set, state } from "./state.js";
import { Follower } from "./sync.js";

const PATIENCE_MS = 400, AHEAD_S = 0.08, GRAIN_MS = 60;

/** @type {HTMLVideoElement} */
const video = $("video");
let position_s = 0;
let attempt = 0;
const follower = new Follower();
let grain_ms = 0;
let shown_s = 0;
/** @type {number | null} where the video is to go after a seek that is under way */
let wanted_s = null;
let wasPlaying = false;

export const transport = {
  /** Time of the video that is heard and seen now. */
  get position_s() {
    return mixer.hasStarted ? mixer.positionAt(heardAt(performance.now())) : position_s;
  },
  /** How much the picture is ahead of the sound: the median of the last frames. */
  get offset_ms() {
    const { offset_s } = follower;
    return offset_s === null ? null : 1000 * offset_s;
  },
  video,
};

/** Return the time of the context whose sound leaves the loudspeaker at a time of `performance.now()`. */
function heardAt(now_ms) {
  const { context } = mixer;
  const { contextTime = 0, performanceTime = 0 } = context.getOutputTimestamp?.() ?? {};
  const heard = contextTime + (now_ms - performanceTime) / 1000;
  if (contextTime > 0 && Math.abs(heard - context.currentTime) < 0.6) return heard;
  const late_ms = now_ms - performance.now();
  return context.currentTime - (context.outputLatency || context.baseLatency || 0) + late_ms / 1000;
}

const end_s = () => state.session.video.duration_s;

/** Return the part that is looped, or null. */
function loop() {
  if (!state.isLooping) return null;
  const first_s = state.session.start_s, last_s = first_s + state.session.duration_s;
  const region = state.region ?? { start_s: first_s, end_s: last_s };
  const part = { start_s: Math.max(first_s, region.start_s), end_s: Math.min(last_s, region.end_s) };
  return part.end_s - part.start_s > 0.02 ? part : null;
}

/** Play from the cursor. */
export async function play() {
  if (!state.session || state.isPlaying) return;
  const mine = ++attempt, looped = loop();
  set({ isPlaying: true });
  await mixer.context.resume();
  if (looped && !(position_s >= looped.start_s && position_s < looped.end_s)) position_s = looped.start_s;
  if (position_s >= end_s() - 0.01) position_s = looped?.start_s ?? 0;
  wanted_s = null;
  video.playbackRate = 1;
  if (Math.abs(video.currentTime - position_s) > 0.001) video.currentTime = position_s;
  const kind = video.seeking ? "startAfterSeek" : "start";
  await isSought();
  if (mine !== attempt) return;
  const when = mixer.context.currentTime + AHEAD_S;
  start(position_s, when, looped);
  setTimeout(playVideo, 1000 * (when - heardAt(performance.now()) - follower.leads_s[kind]), mine);
  shown_s = position_s;
  follower.begin(kind, performance.now());
  say("Playing");
}

function playVideo(mine) {
  if (mine === attempt) video.play().catch(() => {}); // the sound plays without it
}

/** Wait for the end of a seek, or give up after a while. */
function isSought() {
  const patience = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
  const end = new Promise((resolve) => video.addEventListener("seeked", resolve, { once: true }));
  return video.seeking ? Promise.race([end, patience]) : Promise.resolve();
}

export function pause() {
  if (!state.isPlaying) return;
  position_s = Math.min(transport.position_s, end_s());
  attempt++;
  stop();
  video.pause();
  set({ isPlaying: false });
  showFrame();
  say(`Paused at ${position_s.toFixed(2)} seconds`);
}

export const toggle = () => (state.isPlaying ? pause() : play());

/** Go to a time; what plays goes on there. */
export function seek(time_s, isSeen = true) {
  if (!state.session) return;
  const goesOn = state.isPlaying;
  if (goesOn) {
    attempt++;
    stop();
    state.isPlaying = false;
  }
  position_s = clamp(time_s, 0, end_s());
  if (isSeen) reveal(position_s, 0.3);
  showFrame();
  set({ isPlaying: false });
  if (goesOn) play();
}

/** Show the frame at the cursor, one seek after the other. */
function showFrame() {
  if (video.seeking) wanted_s = position_s;
  else if (video.readyState && Math.abs(video.currentTime - position_s) > 1e-4) video.currentTime = position_s;
}

export function startScrub(time_s) {
  wasPlaying = state.isPlaying;
  pause();
  mixer.context.resume();
  scrub(time_s);
}

export function scrub(time_s) {
  seek(time_s, false);
  const now_ms = performance.now();
  if (now_ms - grain_ms < GRAIN_MS) return;
  grain_ms = now_ms;
  grain(position_s);
}

export function endScrub() {
  if (wasPlaying) play();
}

/** Loop, or no longer; what plays goes on with it. */
export function setLooping(isLooping) {
  const at_s = transport.position_s;
  set({ isLooping });
  if (state.isPlaying) seek(at_s, false);
  say(isLooping ? "Looping" : "Not looping");
}

/** Keep the picture with the sound; called for every frame that is shown. */
function follow(now_ms, media_s, display_ms) {
  if (!mixer.hasStarted || video.seeking || video.paused) return;
  const heard = heardAt(display_ms), target_s = mixer.positionAt(heard);
  if (heard < mixer.when || target_s >= end_s() - 0.05) return;
  const rate = follower.follow(media_s - target_s, now_ms);
  if (rate === null) video.currentTime = target_s + follower.leads_s.seek;
  else if (video.playbackRate !== rate) video.playbackRate = rate;
}

function eachFrame(now_ms, frame) {
  follow(now_ms, frame.mediaTime, frame.expectedDisplayTime);
  video.requestVideoFrameCallback(eachFrame);
}

/** Called once for every frame of the page while it plays. */
export function tick() {
  if (!mixer.hasStarted) return;
  const now_s = transport.position_s;
  if (!video.requestVideoFrameCallback) follow(performance.now(), video.currentTime, performance.now());
  if (now_s >= end_s()) {
    pause();
    say("At the end");
  } else if (isSeen(shown_s)) reveal(now_s, 0.02); // unless the person has scrolled away
  shown_s = now_s;
}

/** Show the video of the session; while a preview is made, try again. */
export async function openVideo() {
  const id = state.session.id, path = `${sessionPath()}/video`;
  position_s = state.session.start_s;
  video.removeAttribute("src");
  $("video-note").textContent = "";
  for (;;) {
    if (state.session?.id !== id) return;
    try {
      await request(path, { headers: { Range: "bytes=0-0" } });
      break;
    } catch (error) {
      $("video-note").textContent = error.message;
      if (error.status && error.status !== 503) return;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
  $("video-note").textContent = "";
  video.src = `/api/${path}`;
}

/** Forget the video. */
export function closeVideo() {
  pause();
  video.removeAttribute("src");
  video.load();
}

export function initTransport() {
  video.addEventListener("seeked", () => {
    if (wanted_s !== null && !state.isPlaying) video.currentTime = wanted_s;
    wanted_s = null;
  });
  video.addEventListener("loadedmetadata", showFrame);
  video.addEventListener("error", () => {
    if (video.src) $("video-note").textContent = "this browser cannot play the video; the sound plays without it";
  });
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(eachFrame);
}
