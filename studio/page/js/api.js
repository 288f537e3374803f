// @ts-check
// Requests to the server. Every failure is an Error whose message is a sentence.

import { set, state } from "./state.js";

export class Gone extends Error {}

/** @returns {Promise<Response>} an answer with status 2xx */
export async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(`/api/${path}`, options);
  } catch {
    set({ isOffline: true });
    throw new Gone("the studio does not answer: is it still running?");
  }
  if (state.isOffline) set({ isOffline: false });
  if (answer.ok) return answer;
  const content = await answer.json().catch(() => ({}));
  const error = new Error(content.error || `the studio answered with an error (${answer.status})`);
  throw Object.assign(error, { status: answer.status });
}

export const getJson = async (path) => (await request(path)).json();
export const remove = (path) => request(path, { method: "DELETE" });

export async function upload(path, field, file) {
  const form = new FormData();
  form.append(field, file, file.name);
  return (await request(path, { method: "POST", body: form })).json();
}

const KEEPALIVE_BYTES = 30_000; // small requests outlive the page; browsers allow no more
let lastPost = Promise.resolve();

/** Post JSON; requests reach the server in the order of the calls. */
export function postJson(path, content) {
  const body = JSON.stringify(content), headers = { "Content-Type": "application/json" };
  const options = { method: "POST", body, headers, keepalive: body.length < KEEPALIVE_BYTES };
  const answer = lastPost.then(() => request(path, options)).then((each) => each.json());
  lastPost = answer.catch(() => {});
  return answer;
}

/** Return the start of the addresses of a session, or of one of its tracks. */
export function sessionPath(track = null) {
  const path = `sessions/${state.session.id}`;
  return track === null ? path : `${path}/tracks/${encodeURIComponent(track)}`;
}
