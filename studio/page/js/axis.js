// @ts-check
// The time axis that all lanes share: what part of the video is seen, and how large.

import { clamp } from "./dom.js";

const MOST_PX_PER_S = 4000;
const listeners = [];

export const axis = {
  start_s: 0,
  px_per_s: 100,
  width_px: 0,
  duration_s: 0,

  /** Return the CSS pixel of a time, relative to a lane. */
  xOf: (time_s) => (time_s - axis.start_s) * axis.px_per_s,

  /** Return the time at a CSS pixel of a lane. */
  timeAt: (x) => axis.start_s + x / axis.px_per_s,

  get end_s() {
    return axis.timeAt(axis.width_px);
  },
};

const least = () => (axis.duration_s ? axis.width_px / axis.duration_s : 1);

function changed(start_s, px_per_s) {
  axis.px_per_s = clamp(px_per_s, least(), Math.max(MOST_PX_PER_S, least()));
  axis.start_s = clamp(start_s, 0, Math.max(0, axis.duration_s - axis.width_px / axis.px_per_s));
  for (const call of listeners) call();
}

export const onView = (call) => listeners.push(call);
export const showWhole = () => changed(0, 0);
export const scrollTo = (start_s) => changed(start_s, axis.px_per_s);

/** Zoom, so that the time at a pixel stays there. */
export function zoom(factor, at_px = axis.width_px / 2) {
  const time_s = axis.timeAt(at_px);
  const px_per_s = clamp(axis.px_per_s * factor, least(), MOST_PX_PER_S);
  changed(time_s - at_px / px_per_s, px_per_s);
}

export const isSeen = (time_s) => time_s >= axis.start_s && time_s <= axis.end_s;

/** Scroll so that a time is seen; `part` is where it then is. */
export function reveal(time_s, part = 0.1) {
  if (isSeen(time_s)) return;
  changed(time_s - (part * axis.width_px) / axis.px_per_s, axis.px_per_s);
}

/** Take a new width or a new video; a video that was seen as a whole still is. */
export function resize(width_px, duration_s) {
  const wasWhole = axis.px_per_s <= least() * 1.001 || duration_s !== axis.duration_s;
  Object.assign(axis, { width_px, duration_s });
  changed(wasWhole ? 0 : axis.start_s, wasWhole ? 0 : axis.px_per_s);
}
