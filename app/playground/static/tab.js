/** What a tab keeps over a reload, and the client name that is its own. */

const CLIENT = 'parley.client';
const LEFT = 'parley.left';
const INPUTS = 'parley.inputs.';
/** Milliseconds for the page that was here before to let go of the tab's name. */
const HANDOVER = 2_000;

const storage = open();

/** The tab's storage; without one (cookies are blocked, say) the page works until it is reloaded. */
function open() {
  try {
    return window.sessionStorage;
  } catch {
    const map = new Map();
    return {
      getItem: (key) => map.get(key) ?? null,
      setItem: (key, value) => map.set(key, value),
      removeItem: (key) => map.delete(key),
    };
  }
}

/** A text that is kept under a name, or null. */
export function recall(name) {
  return storage.getItem(`parley.${name}`);
}

/** Keep a text, or forget it if it is empty. */
export function remember(name, text) {
  if (text) storage.setItem(`parley.${name}`, text);
  else storage.removeItem(`parley.${name}`);
}

/** The inputs kept for a session, as `Inputs.dump` gave them; null stands for a session that has no id yet. */
export function recallInputs(session) {
  return JSON.parse(storage.getItem(INPUTS + (session ?? '')) ?? '[]');
}

/** Keep the inputs of a session. Throws if there is no room. */
export function rememberInputs(session, inputs) {
  if (inputs.length) storage.setItem(INPUTS + (session ?? ''), JSON.stringify(inputs));
  else storage.removeItem(INPUTS + (session ?? ''));
}

/** A random name that nobody else has. */
export function randomName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * This tab's client name: the one from before a reload, or a new one.
 *
 * A duplicated tab begins with a copy of the other's storage. Two tabs that count under one name would take each
 * other's numbers, so a copy takes a name of its own and leaves the inputs to the tab that sent them.
 */
export async function takeClientName() {
  const before = storage.getItem(CLIENT);
  if (before && (await isFree(before))) return before;
  forgetInputs();
  const name = randomName();
  storage.setItem(CLIENT, name);
  await isFree(name);
  return name;
}

/** Whether no other tab has this name; from then on this one has it, until it is gone. */
function isFree(name) {
  // only a page that came over HTTPS or from this machine may use locks
  if (!navigator.locks) return Promise.resolve(wasLeft());
  return new Promise((resolve) => {
    const options = { signal: AbortSignal.timeout(HANDOVER) };
    const hold = () => {
      resolve(true);
      return new Promise(() => {});
    };
    navigator.locks.request(CLIENT + name, options, hold).catch(() => resolve(false));
  });
}

/** Whether the page before this one was left: the copy of a tab that is still there does not say so. */
function wasLeft() {
  const left = storage.getItem(LEFT) !== null;
  storage.removeItem(LEFT);
  addEventListener('pagehide', () => storage.setItem(LEFT, 'yes'));
  addEventListener('pageshow', () => storage.removeItem(LEFT));
  return left;
}

function forgetInputs() {
  for (const key of Object.keys(storage)) if (key.startsWith(INPUTS)) storage.removeItem(key);
}
