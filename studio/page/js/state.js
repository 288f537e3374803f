// @ts-check
// What the page knows. Parts change it with `set` and are told with `subscribe`.

/**
 * @typedef {{time_s: number, level: number, decay_s: number}} Hit
 * @typedef {{number: number, seed: number, onset_f1: number?, level_error_db: number, likeness: number?,
 *   from_take: number?, regions_s: [number, number][], best: boolean}} Take
 * @typedef {{name: string, prompt: string?, negative_prompt: string?, audio_prompts: string[], gain_db: number,
 *   pan: number, muted: boolean, kept: number?, envelope_rate_hz: number, envelope_version: number, hits: Hit[],
 *   takes: Take[]}} Track
 */

/** Name of the channel of the video's own sound; no track has it. */
export const ORIGINAL = "original-sound";

export const state = {
  /** @type {any} */ about: null,
  /** @type {any} */ session: null,
  /** @type {any[]} */ jobs: [],
  /** @type {string?} name of the selected track */ track: null,
  /** @type {number[]} times of the selected hits, in order */ selected: [],
  /** @type {{start_s: number, end_s: number}?} */ region: null,
  isLooping: false,
  /** @type {Set<string>} */ solo: new Set(),
  /** @type {Map<string, number>} take of each track that is heard as B */ marked: new Map(),
  isB: false,
  isOffline: false,
  isPlaying: false,
  /** @type {Map<string, {version: number, values: Float32Array}>} */ envelopes: new Map(),
  /** @type {Map<string, {values: any, jobs: Set<string>}>} changes that the server has not made yet */
  pending: new Map(),
  /** @type {{track: string, hits: Hit[], indexes: number[], leader: number, label: string}?} hits that are dragged */
  preview: null,
};

/** @type {{keys: string[], call: () => void}[]} */
const listeners = [];

/** Change some keys, and tell who listens to them. */
export function set(values) {
  Object.assign(state, values);
  const changed = Object.keys(values);
  for (const { keys, call } of listeners) if (keys.some((key) => changed.includes(key))) call();
}

export function subscribe(keys, call) {
  listeners.push({ keys, call });
}

/** Return the tracks as the person sees them: with changes that wait for the server. @returns {Track[]} */
export function tracks() {
  return (state.session?.tracks ?? []).map((track) => ({ ...track, ...state.pending.get(track.name)?.values }));
}

/** Return a track by name, or the selected one. @returns {Track | undefined} */
export const track = (name = state.track) => tracks().find((each) => each.name === name);

/** Return the gain of the original sound; null: it is not heard. */
export function originalGain_db() {
  const pending = state.pending.get(ORIGINAL);
  return pending ? pending.values.gain_db : state.session?.original_gain_db ?? null;
}

/** Return the hits of a track as they are drawn. @returns {Hit[]} */
export function hitsOf(shown) {
  return state.preview?.track === shown.name ? state.preview.hits : shown.hits;
}

/** Return the number of the take of a track that is heard. */
export function heardTake(shown) {
  const marked = state.marked.get(shown.name);
  const isThere = shown.takes.some((take) => take.number === marked);
  return state.isB && isThere ? marked : shown.kept;
}

/** Show values of a track before the server has them; `jobs` are added when the server has answered. */
export function putPending(name, values) {
  const entry = state.pending.get(name) ?? { values: {}, jobs: new Set() };
  entry.values = { ...entry.values, ...values };
  state.pending.set(name, entry);
  set({ pending: state.pending });
  return entry;
}

/** Forget the changes of a track that wait for the server. */
export function dropPending(name) {
  if (state.pending.delete(name)) set({ pending: state.pending });
}

/** Return the index of the hit next to a time, or -1 if it is further away. */
export function indexNear(hits, time_s, within_s = 0.05) {
  let best = -1;
  hits.forEach((hit, index) => {
    const distance = Math.abs(hit.time_s - time_s);
    if (distance <= within_s && (best < 0 || distance < Math.abs(hits[best].time_s - time_s))) best = index;
  });
  return best;
}

/** Keep the selection on the hits next to where it was; each hit once. */
export function reselect() {
  const hits = track()?.hits ?? [];
  const found = new Set(state.selected.map((time_s) => indexNear(hits, time_s)).filter((index) => index >= 0));
  const selected = [...found].map((index) => hits[index].time_s).sort((a, b) => a - b);
  if (selected.join() !== state.selected.join()) set({ selected });
}
