// @ts-check
// What is heard: a channel for each track and for the original sound, all on the clock of one AudioContext.

import { request, sessionPath } from "./api.js";
import { toLevel } from "./dom.js";
import { heardTake, ORIGINAL, originalGain_db, state, tracks } from "./state.js";

const RATE_HZ = 44100, SMOOTH_S = 0.01, SWAP_S = 0.02, MOST_SAMPLES = 150e6;

/** @type {AudioContext} */
let context;
/** @type {GainNode} */
let output;
/** @type {Map<string, {buffer: AudioBuffer?, failed: boolean}>} by address, the last used last */
const sounds = new Map();
/** @type {Map<string, any>} */
const channels = new Map();
/** @type {{at_s: number, when: number, loop: {start_s: number, end_s: number}?}?} */
let clock = null;
let onSound = () => {};

export const mixer = {
  get context() {
    return audio();
  },
  /** Return the time of the video that is heard at a time of the context. */
  positionAt(time) {
    if (!clock) return 0;
    const position_s = clock.at_s + Math.max(0, time - clock.when);
    const { loop } = clock;
    if (!loop || position_s < loop.end_s) return position_s;
    return loop.start_s + ((position_s - loop.start_s) % (loop.end_s - loop.start_s));
  },
  get hasStarted() {
    return clock !== null;
  },
  /** Time of the context at which the sound starts. */
  get when() {
    return clock?.when ?? Infinity;
  },
  channels,
};

function audio() {
  if (!context) {
    context = new AudioContext({ sampleRate: RATE_HZ, latencyHint: "interactive" });
    output = context.createGain();
    output.connect(context.destination);
  }
  return context;
}

/** Call a function whenever a sound has been loaded. */
export const onLoaded = (call) => (onSound = call);

/** Return the sound at an address, or null while it is loaded. */
function soundAt(path, isTake) {
  const found = sounds.get(path);
  if (found) {
    sounds.delete(path);
    sounds.set(path, found);
    return found.buffer;
  }
  const entry = { buffer: null, failed: false };
  sounds.set(path, entry);
  load(path, entry, isTake);
  return null;
}

async function load(path, entry, isTake) {
  try {
    const content = await (await request(path)).arrayBuffer();
    entry.buffer = await audio().decodeAudioData(content);
  } catch (error) {
    entry.failed = true;
    if (error.status === undefined) sounds.delete(path); // the server was gone: try again
    return;
  }
  if (isTake) fade(entry.buffer);
  dropOld();
  update();
  onSound();
}

/** Fade in over 1 ms and out over 10 ms, as the server does in the mix. */
function fade(buffer) {
  const lengths = [0.001, 0.01].map((each) => Math.max(1, Math.round(each * buffer.sampleRate)));
  for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
    const samples = buffer.getChannelData(channel);
    lengths.forEach((length, isEnd) => {
      for (let n = 0; n < Math.min(length, samples.length / 2); n++) {
        samples[isEnd ? samples.length - 1 - n : n] *= 0.5 - 0.5 * Math.cos((Math.PI * (n + 0.5)) / length);
      }
    });
  }
}

function dropOld() {
  const size = (entry) => (entry.buffer ? entry.buffer.length * entry.buffer.numberOfChannels : 0);
  let total = [...sounds.values()].reduce((sum, entry) => sum + size(entry), 0);
  const used = new Set(sources().map((source) => source.path));
  for (const [path, entry] of sounds) {
    if (total <= MOST_SAMPLES) return;
    if (used.has(path) || !entry.buffer) continue;
    total -= size(entry);
    sounds.delete(path);
  }
}

/** Return the address of the sound of a take. */
export const takePath = (name, take) => `${sessionPath(name)}/takes/${take}/sound`;

/** Return the sound of a take, or null while it is loaded. */
export const takeBuffer = (name, take) => soundAt(takePath(name, take), true);

/** Return the original sound, or null if there is none or it is loaded. */
export const originalBuffer = () => state.session.video.has_sound && state.session.tracks.length
  ? soundAt(`${sessionPath()}/original`, false) : null;

/** Return what is to be heard, with gains of both sides. */
function sources() {
  const session = state.session;
  if (!session) return [];
  const headroom = toLevel(session.headroom_db ?? 0);
  const found = tracks().map((track) => {
    const take = heardTake(track), angle = ((track.pan + 1) * Math.PI) / 4;
    const isHeard = state.solo.size ? state.solo.has(track.name) : !track.muted;
    const gain = isHeard ? headroom * toLevel(track.gain_db) * Math.SQRT2 : 0;
    const path = take === null ? null : takePath(track.name, take);
    return { name: track.name, path, isTake: true, left: gain * Math.cos(angle), right: gain * Math.sin(angle) };
  });
  if (session.video.has_sound) {
    const gain_db = originalGain_db();
    const isHeard = gain_db !== null && (!state.solo.size || state.solo.has(ORIGINAL));
    const gain = isHeard ? headroom * toLevel(gain_db) : 0;
    found.push({ name: ORIGINAL, path: `${sessionPath()}/original`, isTake: false, left: gain, right: gain });
  }
  return found;
}

function addChannel(name) {
  const input = new GainNode(audio(), { channelCount: 2, channelCountMode: "explicit" }); // mono goes to both sides
  const splitter = new ChannelSplitterNode(context, { numberOfOutputs: 2 });
  const merger = new ChannelMergerNode(context, { numberOfInputs: 2 });
  const left = new GainNode(context, { gain: 0 }), right = new GainNode(context, { gain: 0 });
  input.connect(splitter);
  splitter.connect(left, 0).connect(merger, 0, 0);
  splitter.connect(right, 1).connect(merger, 0, 1);
  merger.connect(output);
  const channel = { input, left, right, merger, voice: null };
  channels.set(name, channel);
  return channel;
}

/** Hear the state as it is now. */
export function update() {
  const wanted = sources();
  for (const [name, channel] of channels) {
    if (wanted.some((source) => source.name === name)) continue;
    endVoice(channel);
    channel.merger.disconnect();
    channels.delete(name);
  }
  for (const source of wanted) {
    if (!source.path || (source.name === ORIGINAL && !state.session.tracks.length)) continue;
    const channel = channels.get(source.name) ?? addChannel(source.name);
    channel.left.gain.setTargetAtTime(source.left, context.currentTime, SMOOTH_S);
    channel.right.gain.setTargetAtTime(source.right, context.currentTime, SMOOTH_S);
    const buffer = soundAt(source.path, source.isTake);
    if (clock && buffer && channel.voice?.path !== source.path) swap(channel, source.path, buffer);
  }
}

function swap(channel, path, buffer) {
  const when = Math.max(context.currentTime + SWAP_S, clock.when);
  endVoice(channel, when);
  const gain = new GainNode(context, { gain: when > clock.when ? 0 : 1 });
  gain.gain.setValueAtTime(gain.gain.value, when);
  gain.gain.linearRampToValueAtTime(1, when + SWAP_S);
  gain.connect(channel.input);
  channel.voice = { path, gain, source: startSource(buffer, when, gain) };
}

/** Start a sound so that it is on the clock. */
function startSource(buffer, when, target) {
  const source = new AudioBufferSourceNode(context, { buffer });
  const { start_s } = state.session, offset_s = mixer.positionAt(when) - start_s;
  if (clock.loop) {
    Object.assign(source, { loop: true, loopStart: clock.loop.start_s - start_s, loopEnd: clock.loop.end_s - start_s });
  }
  source.connect(target);
  if (offset_s < buffer.duration) source.start(when + Math.max(0, -offset_s), Math.max(0, offset_s));
  return source;
}

function endVoice(channel, when = context.currentTime) {
  if (!channel.voice) return;
  const { gain, source } = channel.voice;
  channel.voice = null;
  gain.gain.cancelScheduledValues(0);
  gain.gain.setValueAtTime(1, when);
  gain.gain.linearRampToValueAtTime(0, when + SWAP_S);
  try {
    source.stop(when + SWAP_S);
  } catch {
    gain.disconnect(); // it was never started, since it ends before
  }
}

/** Start all sounds: `at_s` of the video is heard at `when` of the context. */
export function start(at_s, when, loop) {
  const lengths = sources().flatMap(({ path }) => sounds.get(path)?.buffer?.duration ?? []);
  const end_s = state.session.start_s + Math.min(...lengths); // sounds of other lengths would drift apart in a loop
  clock = { at_s, when, loop: loop && { ...loop, end_s: Math.min(loop.end_s, end_s) } };
  update();
}

export function stop() {
  clock = null;
  for (const channel of channels.values()) endVoice(channel);
}

/** Play a short piece of all sounds, while the person scrubs. */
export function grain(at_s, length_s = 0.08) {
  if (audio().state !== "running") return;
  const now = context.currentTime;
  for (const { name, path, isTake } of sources()) {
    const buffer = path && soundAt(path, isTake), channel = channels.get(name);
    const offset_s = at_s - state.session.start_s;
    if (!buffer || !channel || offset_s < 0 || offset_s >= buffer.duration) continue;
    const gain = new GainNode(context, { gain: 0 }), source = new AudioBufferSourceNode(context, { buffer });
    gain.gain.setValueAtTime(0, now);
    gain.gain.linearRampToValueAtTime(1, now + length_s / 4);
    gain.gain.setValueAtTime(1, now + (3 * length_s) / 4);
    gain.gain.linearRampToValueAtTime(0, now + length_s);
    source.connect(gain).connect(channel.input);
    source.start(now, offset_s, length_s);
  }
}

/** Forget the sounds of a session that is closed. */
export function clear() {
  stop();
  sounds.clear();
  if (context) update();
}
