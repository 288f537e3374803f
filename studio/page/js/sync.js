// @ts-check
// How the picture is kept with the sound: small errors by the rate of the video, large ones by a seek.

import { clamp } from "./dom.js";

const NEAR_S = 0.008, FAR_S = 0.15, MOST_RATE = 0.1, LEAST_RATE = 0.002, PER_S = 2.5, FRAMES = 5, LEARN_FRAMES = 5;
const SETTLE_MS = 400;

/** @typedef {"start" | "startAfterSeek" | "seek"} Kind how the video came to where it is */

/** Decides from the offset of every frame how the video is to go on. It touches no video and no clock. */
export class Follower {
  /** How long the video takes to start or to seek; learned, since it depends on the machine. */
  leads_s = { start: 0.06, startAfterSeek: 0.03, seek: 0.06 };
  /** @type {number[]} */
  #offsets_s = [];
  /** @type {Kind | null} what is to be learned next */
  #learned = null;
  #began_ms = -1e9;
  #rate = 1;

  /** Median offset of the last frames in seconds, positive where the picture is ahead; null before the first. */
  get offset_s() {
    return this.#offsets_s.length ? median(this.#offsets_s) : null;
  }

  /**
   * Start again, since the video has been started or sought.
   * @param {Kind} kind @param {number} now_ms
   */
  begin(kind, now_ms) {
    this.#learned = kind;
    this.#began_ms = now_ms;
    this.#offsets_s = [];
    this.#rate = 1;
  }

  /**
   * Take the offset of a frame. Return the rate of the video, or null if it has to seek.
   * @param {number} off_s @param {number} now_ms
   */
  follow(off_s, now_ms) {
    if (Math.abs(off_s) > FAR_S) {
      if (now_ms - this.#began_ms <= SETTLE_MS) return this.#rate;
      this.begin("seek", now_ms);
      return null;
    }
    this.#offsets_s = [...this.#offsets_s.slice(1 - FRAMES), off_s];
    const usual_s = median(this.#offsets_s); // single frames are shown early or late by a refresh of the screen
    if (this.#learned && this.#offsets_s.length === LEARN_FRAMES) {
      this.leads_s[this.#learned] = clamp(this.leads_s[this.#learned] - usual_s, 0, 0.4);
      this.#learned = null;
    }
    const wanted = Math.abs(usual_s) < NEAR_S ? 1 : 1 - clamp(PER_S * usual_s, -MOST_RATE, MOST_RATE);
    if (Math.abs(this.#rate - wanted) > LEAST_RATE) this.#rate = wanted;
    return this.#rate;
  }
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
