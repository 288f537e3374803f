// @ts-check
// The panel of jobs: what is done, how far it is, and how long it will still take.

import { $, el } from "./dom.js";
import { cancel, isOpen } from "./session.js";
import { state, subscribe } from "./state.js";

function remainingText(seconds) {
  if (seconds === null) return "";
  return seconds < 90 ? `${Math.max(1, Math.round(seconds))} s left` : `${Math.round(seconds / 60)} min left`;
}

function stateText(job) {
  if (job.status === "failed") return job.error ?? "failed";
  if (job.status !== "running") return job.status === "queued" ? "waits" : job.status;
  const percent = job.fraction === null ? "" : `${Math.round(100 * job.fraction)} %`;
  return [job.stage, percent, remainingText(job.remaining_s)].filter(Boolean).join(", ") || "running";
}

/** @type {Map<string, any>} rows by job, which are kept, so that the focus stays */
const rows = new Map();

function addRow(job) {
  const row = { item: el("li"), title: el("span", { text: job.title }), status: el("span", { class: "quiet small" }),
    bar: el("progress", { max: 1, "aria-label": `Progress of: ${job.title}` }),
    cancel: el("button", { text: "Cancel", testid: "job-cancel", "aria-label": `Cancel: ${job.title}` }) };
  row.cancel.addEventListener("click", () => cancel(job));
  row.item.append(el("div", { class: "line" }, row.title, row.cancel), row.bar, row.status);
  rows.set(job.id, row);
  return row;
}

function showRow(job) {
  const row = rows.get(job.id) ?? addRow(job);
  row.item.className = job.status;
  row.status.textContent = stateText(job);
  row.status.title = stateText(job);
  row.cancel.hidden = !isOpen(job);
  row.bar.hidden = job.status !== "running";
  if (job.fraction === null) row.bar.removeAttribute("value");
  else row.bar.value = job.fraction;
  return row.item;
}

function show() {
  const rank = (job) => ["running", "queued"].indexOf(job.status) >>> 0;
  const jobs = state.jobs.map((job, index) => ({ job, index }));
  jobs.sort((a, b) => rank(a.job) - rank(b.job) || (isOpen(a.job) ? a.index - b.index : b.index - a.index));
  const known = new Set(state.jobs.map((job) => job.id));
  for (const id of rows.keys()) if (!known.has(id)) rows.delete(id);
  const items = jobs.map(({ job }) => showRow(job));
  const isSame = items.length === $("jobs").children.length && items.every((item, n) => item === $("jobs").children[n]);
  if (!items.length) $("jobs").replaceChildren(el("li", { class: "empty", text: "Nothing is being done." }));
  else if (!isSame) $("jobs").replaceChildren(...items);
}

export function initJobs() {
  subscribe(["jobs", "session"], show);
}
