// @ts-check
// What the pointer does in the timeline: marking regions, scrubbing, zooming, scrolling; hits are left to hits.js.

import { axis, onView, resize, scrollTo, showWhole, zoom } from "./axis.js";
import { $, clamp, clock, say } from "./dom.js";
import { request } from "./draw.js";
import * as hits from "./hits.js";
import { ENVELOPE, initLanes, select } from "./lanes.js";
import { send } from "./session.js";
import { heardTake, set, state, subscribe, track } from "./state.js";
import { endScrub, scrub, seek, setLooping, startScrub, transport } from "./transport.js";

const SLOP_PX = 3, EDGE_PX = 5, LEAST_S = 0.02;
/** @type {any} */
let marking = null;

const inside = (time_s) => clamp(time_s, 0, axis.duration_s);

/** Begin to mark a region, or to move the end of the present one that is next to the pointer. */
function startMarking(x) {
  const near = (time_s) => Math.abs(axis.xOf(time_s) - x) <= EDGE_PX;
  const { region } = state;
  const anchor_s = region && near(region.start_s) ? region.end_s : region && near(region.end_s) ? region.start_s : null;
  marking = { x, anchor_s: anchor_s ?? inside(axis.timeAt(x)), hasMoved: false };
}

function moveMarking(x) {
  marking.hasMoved ||= Math.abs(x - marking.x) > SLOP_PX;
  if (!marking.hasMoved) return;
  const ends = [marking.anchor_s, inside(axis.timeAt(x))].sort((a, b) => a - b);
  set({ region: { start_s: ends[0], end_s: ends[1] } });
}

function endMarking(x) {
  const { hasMoved } = marking;
  marking = null;
  if (!hasMoved) seek(inside(axis.timeAt(x)), false);
  else if (state.region.end_s - state.region.start_s < LEAST_S) clearRegion();
  else regionChanged();
}

function regionChanged() {
  if (state.region) say(`Region ${$("region-text").textContent}`);
  if (state.isLooping) setLooping(true);
}

/** Set an end of the region at the cursor. @param {"start_s" | "end_s"} end */
export function setEnd(end) {
  const at_s = inside(transport.position_s), first_s = state.session.start_s;
  const region = { start_s: first_s, end_s: first_s + state.session.duration_s, ...state.region, [end]: at_s };
  if (region.end_s - region.start_s < LEAST_S) {
    region[end === "start_s" ? "end_s" : "start_s"] = end === "start_s" ? axis.duration_s : 0;
  }
  set({ region });
  regionChanged();
}

export function clearRegion() {
  if (!state.region) return;
  set({ region: null });
  regionChanged();
}

/** Make the region of the selected track anew, with the seed of the panel, which then is the next one. */
export function redoRegion() {
  const shown = track();
  if (!state.region || !shown) return say("Mark a region first");
  const seed = Number($("seed").value) || 0;
  send({ kind: "redo", track: shown.name, ...state.region, seed });
  $("seed").value = seed + 1;
  $("seed").dispatchEvent(new Event("input", { bubbles: true }));
}

/** Use the region of what is heard of the selected track as a sound prompt of a track. */
export function regionAsPrompt(name = state.track) {
  const shown = track(), take = shown && heardTake(shown);
  if (!state.region || !shown || take === null) return;
  send({ kind: "add_sound_prompt", track: name, source: { kind: "take", track: shown.name, take, ...state.region } });
}

function showRegion() {
  const { region } = state, shown = track(), hasTake = !!shown && heardTake(shown) !== null;
  $("region-tools").hidden = !region;
  $("region-text").textContent = region ? `${clock(region.start_s)} \u2013 ${clock(region.end_s)}` : "";
  for (const id of ["redo", "region-prompt"]) $(id).disabled = !hasTake;
  $("redo").textContent = `Redo with seed ${$("seed").value || 0}`;
  request();
}

/** Call functions with the pixel of the pointer within an element, while it is dragged there. */
function onDrag(element, down, move, up, hover = (x, y) => {}) {
  const place = (event) => {
    const box = (element.closest(".row")?.querySelector("canvas") ?? $("ruler")).getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  let isDown = false;
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    element.setPointerCapture(event.pointerId);
    isDown = true;
    down(event, ...place(event));
  });
  element.addEventListener("pointermove", (event) => (isDown ? move : hover)(...place(event)));
  for (const kind of ["pointerup", "pointercancel"]) {
    element.addEventListener(kind, (event) => {
      if (isDown) up(...place(event));
      isDown = false;
    });
  }
}

function addLaneHandlers(lane) {
  const { canvas } = lane;
  const down = (event, x, y) => {
    const isHits = y < ENVELOPE.height && !lane.isOriginal;
    if (isHits) return hits.pointerDown(lane, event, x, y);
    select(lane.name);
    startMarking(x);
  };
  const move = (x, y) => (marking ? moveMarking(x) : hits.pointerMove(lane, x, y));
  const hover = (x, y) => !lane.isOriginal && hits.pointerMove(lane, x, y);
  onDrag(canvas, down, move, (x) => (marking ? endMarking(x) : hits.pointerUp()), hover);
  if (lane.isOriginal) return;
  canvas.addEventListener("dblclick", (event) => hits.doubleClick(lane, event.offsetX, event.offsetY));
}

function onWheel(event) {
  const x = event.clientX - $("overlay").getBoundingClientRect().left;
  if (event.ctrlKey || event.metaKey) {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 250), Math.max(0, x));
  } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
    event.preventDefault();
    scrollTo(axis.start_s + (event.deltaX || event.deltaY) / axis.px_per_s);
  }
}

function initScroll() {
  const bar = $("scroll-x");
  let isOurs = false;
  onView(() => {
    $("scroll-size").style.width = `${axis.duration_s * axis.px_per_s}px`;
    const left = Math.round(axis.start_s * axis.px_per_s);
    isOurs = Math.abs(bar.scrollLeft - left) > 1;
    if (isOurs) bar.scrollLeft = left;
    request();
  });
  bar.addEventListener("scroll", () => {
    const isElsewhere = Math.abs(bar.scrollLeft - axis.start_s * axis.px_per_s) > 1;
    if (!isOurs && isElsewhere) scrollTo(bar.scrollLeft / axis.px_per_s);
    isOurs = false;
  });
}

function fit() {
  if (state.session) resize($("overlay").clientWidth, state.session.video.duration_s);
}

export function initTimeline() {
  initLanes(addLaneHandlers);
  initScroll();
  new ResizeObserver(fit).observe($("overlay"));
  subscribe(["session"], () => state.session?.video.duration_s !== axis.duration_s && fit());
  onDrag($("ruler"), (_, x) => startMarking(x), moveMarking, endMarking);
  for (const id of ["thumbs", "cursor-grip"]) {
    onDrag($(id), (_, x) => startScrub(axis.timeAt(x)), (x) => scrub(axis.timeAt(x)), endScrub);
  }
  $("lanes-scroll").addEventListener("wheel", onWheel, { passive: false });
  subscribe(["region", "session", "track", "isB", "marked"], showRegion);
  $("seed").addEventListener("input", showRegion);
  const clicks = { "zoom-in": () => zoom(1.5), "zoom-out": () => zoom(1 / 1.5), "zoom-whole": showWhole,
    redo: redoRegion, "region-clear": clearRegion, "region-prompt": () => regionAsPrompt() };
  for (const [id, call] of Object.entries(clicks)) $(id).addEventListener("click", call);
}
