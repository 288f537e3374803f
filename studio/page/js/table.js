// @ts-check
// The table of hits of the selected track: values can be typed, and screen readers can read them.

import { axis, onView } from "./axis.js";
import { $, el, setValue, toDb, toLevel } from "./dom.js";
import { addHit, change, deleteSelected } from "./hits.js";
import { edit } from "./session.js";
import { hitsOf, set, state, subscribe, track } from "./state.js";

const MOST_ROWS = 100, WAIT_MS = 80;
const COLUMNS = [
  { key: "time_s", name: "Time, s", min: 0, max: 86400, shown: (hit) => hit.time_s.toFixed(3), value: Number },
  { key: "level", name: "Level, dB", min: -60, max: 0, shown: (hit) => Math.max(-60, toDb(hit.level)).toFixed(1),
    value: (text) => toLevel(Number(text)) },
  { key: "decay_s", name: "Decay, ms", min: 4, max: 2000, shown: (hit) => (1000 * hit.decay_s).toFixed(0),
    value: (text) => Number(text) / 1000 },
];
/** @type {any[]} */
const rows = [];
let first = 0;
let timer = 0;
const body = el("tbody");
const note = el("p", { class: "quiet small" });

function addRow() {
  const row = el("tr"), inputs = COLUMNS.map(({ min, max }) =>
    el("input", { type: "number", step: "any", min, max }));
  const place = rows.length;
  inputs.forEach((input, column) => input.addEventListener("change", () => {
    if (!input.reportValidity() || input.value === "") return show();
    change(first + place, { [COLUMNS[column].key]: COLUMNS[column].value(input.value) });
  }));
  row.addEventListener("focusin", () => {
    const hit = track()?.hits[first + place];
    if (hit && state.selected.join() !== String(hit.time_s)) set({ selected: [hit.time_s] });
  });
  row.append(el("th", { scope: "row" }), ...inputs.map((input) => el("td", {}, input)));
  rows.push({ row, inputs });
  body.append(row);
}

function show() {
  clearTimeout(timer);
  timer = 0;
  const shown = track(), hits = shown ? hitsOf(shown) : [], chosen = new Set(state.selected);
  if (!$("hits-table").contains(document.activeElement)) first = firstShown(hits);
  first = Math.min(first, Math.max(0, hits.length - 1));
  const count = Math.min(MOST_ROWS, hits.length - first);
  while (rows.length < count) addRow();
  rows.forEach(({ row, inputs }, index) => {
    row.hidden = index >= count;
    if (row.hidden) return;
    const hit = hits[first + index];
    row.classList.toggle("chosen", chosen.has(hit.time_s));
    row.firstChild.textContent = first + index + 1;
    COLUMNS.forEach((column, n) => {
      setValue(inputs[n], column.shown(hit));
      inputs[n].setAttribute("aria-label", `${column.name} of hit ${first + index + 1}`);
    });
  });
  const part = `Hits ${first + 1} to ${first + count}: scroll the timeline for others.`;
  note.textContent = hits.length > count ? part : "";
  $("hits-count").textContent = shown ? `${hits.length}${chosen.size ? `, ${chosen.size} selected` : ""}` : "";
  for (const id of ["delete-hits", "split"]) $(id).disabled = !chosen.size;
}

/** Return the first hit of the table: all of them if they fit, else those that are seen in the timeline. */
function firstShown(hits) {
  if (hits.length <= MOST_ROWS) return 0;
  const index = hits.findIndex((hit) => hit.time_s >= axis.start_s);
  return index < 0 ? hits.length - 1 : Math.min(index, hits.length - MOST_ROWS);
}

/** Show the table soon: dragging must not wait for it. */
function later() {
  if (!timer) timer = setTimeout(show, WAIT_MS);
}

function revealSelected() {
  const index = (track()?.hits ?? []).findIndex((hit) => hit.time_s === state.selected[0]) - first;
  if (index < 0 || $("hits-table").contains(document.activeElement)) return;
  rows[index]?.row.scrollIntoView({ block: "nearest" });
}

export function initTable() {
  const header = el("tr", {}, el("th", { text: "#", scope: "col" }),
    ...COLUMNS.map(({ name }) => el("th", { text: name, scope: "col" })));
  $("hits-table").append(el("table", { "aria-label": "Hits" }, el("thead", {}, header), body), note);
  subscribe(["session", "track", "pending"], show);
  subscribe(["selected", "preview"], later);
  subscribe(["selected"], () => setTimeout(revealSelected, WAIT_MS + 10));
  onView(later);
  $("add-hit").addEventListener("click", () => addHit());
  $("delete-hits").addEventListener("click", deleteSelected);
  $("quantise").addEventListener("click", () => {
    const shown = track();
    if (shown) edit(shown.name, [{ kind: "quantise", grid: $("grid").value.trim() }], shown.hits);
  });
}
