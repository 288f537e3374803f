// @ts-check
// Helpers for elements and for numbers as people read them.

/** @type {EventTarget?} the input that is being changed */
let touched = null;

/** @param {string} id */
export const $ = (id) => /** @type {any} */ (document.getElementById(id));

/** Return whether the person types in an element. */
export function isTextField(element) {
  if (element?.matches?.("textarea, [contenteditable]")) return true;
  return element instanceof HTMLInputElement && !["range", "file"].includes(element.type);
}

/**
 * Make an element.
 * @param {string} tag
 * @param {Record<string, any>} [options] attributes; `text`, `on…` and `testid` are special, undefined is left out
 * @param {...(Node|string)} children
 * @returns {any}
 */
export function el(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined || value === false) continue;
    if (key === "text") made.textContent = value;
    else if (key === "testid") made.dataset.testid = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children);
  return made;
}

/** Give an input a value, unless the person is changing it. */
export function setValue(input, value) {
  const text = value === null || value === undefined ? "" : String(value);
  if (input !== touched && input.value !== text) input.value = text;
}

/** Remember which input is being changed, so that new data from the server does not overwrite it. */
export function trackTouches() {
  document.addEventListener("input", ({ target }) => (touched = target));
  for (const kind of ["change", "blur"]) document.addEventListener(kind, () => (touched = null), true);
}

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
export const toDb = (level) => 20 * Math.log10(Math.max(level, 1e-9));
export const toLevel = (level_db) => 10 ** (level_db / 20);

/** Return a time as 1:02.345, with as many decimals as are asked for. */
export function clock(time_s, decimals = 3) {
  const scale = 10 ** decimals;
  const units = Math.round(Math.max(0, time_s) * scale);
  const minutes = Math.floor(units / (60 * scale));
  const rest = ((units - minutes * 60 * scale) / scale).toFixed(decimals);
  return `${minutes}:${rest.padStart(decimals ? decimals + 3 : 2, "0")}`;
}

export function bytesText(n) {
  const power = n < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(n) / 3));
  return `${(n / 1000 ** power).toFixed(power ? 1 : 0)} ${["B", "kB", "MB", "GB"][power]}`;
}

export const dbText = (value_db, decimals = 1) => `${value_db > 0 ? "+" : ""}${value_db.toFixed(decimals)} dB`;

export function panText(pan) {
  const share = Math.round(Math.abs(pan) * 100);
  return share === 0 ? "C" : `${pan < 0 ? "L" : "R"}${share}`;
}

/** Say something to screen readers. */
export function say(text) {
  $("live").textContent = text;
}

/** Show a sentence until it is dismissed. */
export function showMessage(text) {
  if (!text) return;
  const sentence = text.replace(/^[a-z]+(?=[ ,])/, (word) => word[0].toUpperCase() + word.slice(1)); // no file name
  $("message-text").textContent = /[.?!]$/.test(sentence) ? sentence : `${sentence}.`;
  $("message").hidden = false;
}

export function hideMessage() {
  $("message").hidden = true;
}
