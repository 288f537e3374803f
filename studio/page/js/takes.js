// @ts-check
// The takes of the selected track, and listening to one in place of the kept one.

import { $, el, say } from "./dom.js";
import { send } from "./session.js";
import { heardTake, set, state, subscribe, track } from "./state.js";

const COLUMNS = [["Take", "Number of the take"], ["Seed", "Seed of its noise"],
  ["F1", "Agreement of its onsets with the hits: 1 is all of them"], ["dB", "Mean error of its level in dB"],
  ["Like", "Likeness to the words: higher is nearer"], ["From", "What it was made from"], ["", ""]];

/** @type {number?} the kept take that was shown last */
let kept = null;

/** Compare takes, the better first, as the server does. */
function better(a, b) {
  return (b.onset_f1 ?? 0) - (a.onset_f1 ?? 0) || (b.likeness ?? 0) - (a.likeness ?? 0)
    || a.level_error_db - b.level_error_db || a.number - b.number;
}

function originText({ from_take, regions_s }) {
  if (from_take === null) return "new";
  const regions = regions_s.map(([from_s, to_s]) => `${from_s.toFixed(2)}\u2013${to_s.toFixed(2)} s`).join(", ");
  return `${from_take}${regions ? `: ${regions}` : ""}`;
}

/** Mark a take as the one that is heard as B. */
function mark(name, number) {
  state.marked.set(name, number);
  set({ marked: state.marked, isB: true });
  say(`B is take ${number}`);
}

/** Hear the kept take (A), or the marked one (B). */
export function toggleAb() {
  const shown = track();
  if (!shown) return;
  const marked = state.marked.get(shown.name), others = shown.takes.filter((take) => take.number !== shown.kept);
  if (!others.length) return say("There is no other take");
  if (!others.some((take) => take.number === marked)) state.marked.set(shown.name, others.sort(better)[0].number);
  set({ marked: state.marked, isB: !state.isB });
  say(`${state.isB ? "B" : "A"}: take ${heardTake(track())}`);
}

function button(text, label, testid, call, options = {}) {
  return el("button", { text, "aria-label": label, title: label, testid, onclick: call, ...options });
}

function row(shown, take) {
  const { name, kept } = shown, { number } = take, isKept = number === kept;
  const isMarked = state.marked.get(name) === number && !isKept;
  const cells = [el("b", { text: number }), take.seed, take.onset_f1?.toFixed(2) ?? "\u2013",
    take.level_error_db.toFixed(1), take.likeness?.toFixed(2) ?? "\u2013", originText(take)];
  const buttons = el("td", { class: "buttons" },
    button(isKept ? "A" : "B", isKept ? "Hear the kept take" : `Hear take ${number} as B`, "take-mark",
      () => (isKept ? set({ isB: false }) : mark(name, number)),
      { class: "toggle", "aria-pressed": String(heardTake(shown) === number) }),
    button(isKept ? "Kept" : "Keep", `Keep take ${number}`, "take-keep",
      () => {
        set({ isB: false });
        send({ kind: "keep", track: name, take: number });
      }, { disabled: isKept, "data-take": number }),
    button("\u00d7", `Discard take ${number}`, "take-discard",
      () => send({ kind: "discard", track: name, takes: [number] }), { class: "plain away", "data-take": number }));
  const classes = [isKept && "kept", isMarked && "marked"].filter(Boolean).join(" ");
  const options = (index) => (index === 5 ? { class: "origin", title: String(cells[5]) } : {});
  return el("tr", { class: classes, "data-take": number },
    ...cells.map((cell, index) => el("td", options(index), cell)), buttons);
}

function show() {
  const shown = track(), takes = [...(shown?.takes ?? [])].sort(better);
  const focused = document.activeElement?.closest("#takes button");
  const which = focused && [...$("takes").querySelectorAll("button")].indexOf(focused);
  $("ab").disabled = takes.length < 2;
  $("ab").setAttribute("aria-pressed", String(state.isB));
  $("takes-title").textContent = shown ? `Takes of ${shown.name}` : "Takes";
  if (!takes.length) {
    $("takes").replaceChildren(el("p", { class: "empty", text: shown ? "No take yet. Generate makes one." : "" }));
    return;
  }
  const header = el("tr", {}, ...COLUMNS.map(([text, title]) => el("th", { text, title, scope: "col" })));
  $("takes").replaceChildren(el("table", {}, el("thead", {}, header),
    el("tbody", {}, ...takes.map((take) => row(shown, take)))));
  const revealKept = () => $("takes").querySelector(".kept")?.scrollIntoView({ block: "nearest" });
  if (kept !== shown.kept) requestAnimationFrame(revealKept);
  kept = shown.kept;
  if (focused) /** @type {any} */ ($("takes").querySelectorAll("button")[which])?.focus();
}

export function initTakes() {
  subscribe(["session", "track", "marked", "isB", "pending"], show);
  $("ab").addEventListener("click", toggleAb);
}
