// @ts-check
// The open session: reading it, watching its jobs, and sending changes.

import { getJson, Gone, postJson, remove, request, sessionPath } from "./api.js";
import { say, showMessage } from "./dom.js";
import { dropPending, ORIGINAL, putPending, reselect, set, state } from "./state.js";

const BUSY_MS = 300, IDLE_MS = 5000, GONE_MS = 1500;
let timer = 0;
let latest = 0;
/** @type {Set<string>} jobs whose end the person knows */
const told = new Set();
/** @type {Map<string, any>} changes of tracks that are to be sent */
const waiting = new Map();
/** @type {Map<string, string>} the change of a track that is on its way, or waits in the queue */
const sent = new Map();
let n_posts = 0;

export const isOpen = (job) => job.status === "queued" || job.status === "running";
const isOpenId = (id) => id.startsWith("post-") || state.jobs.some((job) => job.id === id && isOpen(job));

/** Show a session, given by its id or as the server sent it. */
export async function open(given) {
  const session = typeof given === "string" ? await getJson(`sessions/${given}`) : given;
  for (const name of state.pending.keys()) state.pending.delete(name);
  sent.clear();
  state.envelopes.clear();
  state.solo.clear();
  state.marked.clear();
  set({ session, jobs: [], track: session.tracks[0]?.name ?? null, selected: [], region: null, isB: false });
  location.hash = session.id;
  loadEnvelopes();
  poll();
}

export function close() {
  flushAll();
  clearTimeout(timer);
  latest++;
  set({ session: null, jobs: [], track: null });
  history.replaceState(null, "", location.pathname);
}

async function refresh() {
  const id = state.session.id;
  const session = await getJson(`sessions/${id}`);
  if (state.session?.id !== id) return;
  const isThere = session.tracks.some((track) => track.name === state.track);
  set({ session, track: isThere ? state.track : session.tracks[0]?.name ?? null });
  loadEnvelopes();
}

function loadEnvelopes() {
  for (const { name, envelope_version: version } of state.session.tracks) {
    if (state.envelopes.get(name)?.version === version) continue;
    const old = state.envelopes.get(name)?.values ?? new Float32Array();
    state.envelopes.set(name, { version, values: old });
    request(`${sessionPath(name)}/envelope?v=${version}`)
      .then((answer) => answer.arrayBuffer())
      .then((content) => {
        state.envelopes.set(name, { version, values: new Float32Array(content) });
        set({ envelopes: state.envelopes });
      })
      .catch((error) => {
        if (error instanceof Gone) state.envelopes.delete(name);
      });
  }
}

/** Ask for the jobs, and go on asking. */
export async function poll() {
  clearTimeout(timer);
  if (!state.session) return;
  const mine = ++latest, id = state.session.id;
  let wait_ms = GONE_MS;
  try {
    const answer = await getJson(`sessions/${id}/jobs`);
    if (mine !== latest) return;
    const hasEnded = state.jobs.some((job) => isOpen(job) && !answer.jobs.some((e) => e.id === job.id && isOpen(e)));
    if (answer.revision !== state.session.revision || hasEnded) await refresh();
    if (mine !== latest) return;
    tell(answer.jobs);
    set({ jobs: answer.jobs });
    settle();
    wait_ms = answer.jobs.some(isOpen) ? BUSY_MS : IDLE_MS;
  } catch (error) {
    if (mine !== latest) return;
    if (error.status === 404) {
      close();
      showMessage(error.message);
      return;
    }
    if (!(error instanceof Gone)) showMessage(error.message);
  }
  timer = setTimeout(poll, wait_ms);
}

/** Say how jobs ended. */
function tell(jobs) {
  for (const job of jobs) {
    if (isOpen(job) || told.has(job.id)) continue;
    told.add(job.id);
    if (job.status === "failed") showMessage(job.error ?? `${job.title} failed`);
    const wasOpen = state.jobs.some((each) => each.id === job.id && isOpen(each));
    if (wasOpen) say(`${job.title}: ${job.status}`);
  }
}

/** Forget changes that the server has made, or refused. */
function settle() {
  for (const [name, id] of sent) {
    if (isOpenId(id)) continue;
    sent.delete(name);
    flush(name);
  }
  for (const [name, entry] of state.pending) {
    if (entry.jobs.size && ![...entry.jobs].some(isOpenId)) dropPending(name);
  }
  if (!state.preview) reselect();
}

/**
 * Send a job; the person sees an error as a sentence.
 * @returns {Promise<any>} the job, or null if it was refused
 */
export async function send(body, name = null) {
  if (body.kind !== "change" && body.kind !== "original") flushAll();
  const mark = `post-${n_posts++}`, entry = name === null ? null : state.pending.get(name);
  entry?.jobs.add(mark);
  try {
    const job = await postJson(`${sessionPath()}/jobs`, body);
    entry?.jobs.add(job.id);
    latest++; // an answer about jobs that was asked for before does not know this one
    if (isOpen(job)) set({ jobs: [...state.jobs.filter((each) => each.id !== job.id), job] });
    else say(job.title);
    return job;
  } catch (error) {
    showMessage(error.message);
    if (name !== null) dropPending(name);
    return null;
  } finally {
    entry?.jobs.delete(mark);
    poll();
  }
}

/** Edit hits; the page shows them as they will be at once. */
export function edit(name, edits, hits) {
  if (!edits.length) return;
  putPending(name, { hits: [...hits].sort((a, b) => a.time_s - b.time_s) });
  send({ kind: "edit", track: name, edits }, name);
}

const bodyOf = (name, values) =>
  name === ORIGINAL ? { kind: "original", ...values } : { kind: "change", track: name, ...values };

/** Change words, gain, pan or mute of a track, or the gain of the original; one job a track waits at a time. */
export function change(name, values) {
  putPending(name, values);
  waiting.set(name, { ...waiting.get(name), ...values });
  if (!sent.has(name)) flush(name);
}

async function flush(name) {
  const values = waiting.get(name);
  if (!values || !state.session) return;
  waiting.delete(name);
  sent.set(name, `post-${n_posts}`);
  const job = await send(bodyOf(name, values), name);
  if (job && isOpen(job)) sent.set(name, job.id);
  else {
    sent.delete(name);
    if (waiting.has(name)) flush(name);
  }
}

/** Send the changes that wait. */
export function flushAll() {
  for (const name of waiting.keys()) flush(name);
}

export async function cancel(job) {
  try {
    await remove(`${sessionPath()}/jobs/${job.id}`);
  } catch (error) {
    showMessage(error.message);
  }
  poll();
}
