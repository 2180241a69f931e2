/** The drawer with the raw frames: the last of them, as they went over the wire. */

/** Frames that are kept, and characters of one that are shown. */
const MAX_FRAMES = 300;
const MAX_LENGTH = 20_000;

const byId = (id) => document.getElementById(id);
const narrow = matchMedia('(max-width: 60rem)');

export class Frames {
  #drawer = byId('frames');
  #list = byId('frame-list');
  #count = byId('frame-count');
  #button = byId('frames-button');
  #new = [];
  #total = 0;

  constructor() {
    this.#button.addEventListener('click', () => this.#toggle(this.#drawer.hidden));
    byId('frames-close').addEventListener('click', () => this.#toggle(false));
    byId('frames-clear').addEventListener('click', () => this.#clear());
    this.#drawer.addEventListener('keydown', ({ key }) => key === 'Escape' && this.#toggle(false));
    narrow.addEventListener('change', () => this.#fence());
  }

  /** Take note of a frame; `direction` is `in` or `out`. */
  add(direction, text) {
    this.#total += 1;
    this.#new.push(entryOf(direction, text));
    if (this.#new.length > MAX_FRAMES) this.#new.shift();
  }

  /** Show what is new. To be called once for each frame of the screen. */
  show() {
    if (this.#drawer.hidden || !this.#new.length) return;
    const follows = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 40;
    this.#list.append(...this.#new.splice(0).map(rowOf));
    while (this.#list.childElementCount > MAX_FRAMES) this.#list.firstElementChild.remove();
    this.#count.textContent = this.#total > MAX_FRAMES ? `last ${MAX_FRAMES} of ${this.#total}` : `${this.#total}`;
    if (follows) this.#list.scrollTop = this.#list.scrollHeight;
  }

  #toggle(open) {
    this.#drawer.hidden = !open;
    this.#button.ariaExpanded = String(open);
    this.#fence();
    this.show();
    if (open) byId('frames-close').focus();
    else this.#button.focus();
  }

  /** Where the drawer covers the page, the page behind it cannot be reached. */
  #fence() {
    byId('main').inert = narrow.matches && !this.#drawer.hidden;
  }

  #clear() {
    this.#new = [];
    this.#total = 0;
    this.#count.textContent = '0';
    this.#list.replaceChildren();
  }
}

/** What is kept of a frame: its beginning, if it is long. */
function entryOf(direction, text) {
  const frame = JSON.parse(text);
  // a token is not to be seen over a shoulder
  const shown = (frame.token ? JSON.stringify({ ...frame, token: '…' }) : text).slice(0, MAX_LENGTH);
  return { direction, type: frame.type, gist: gistOf(frame), text: shown, length: text.length, time: new Date() };
}

function rowOf(entry) {
  const { direction, type, gist, time } = entry;
  const row = document.createElement('li');
  const details = document.createElement('details');
  const summary = made('summary', direction);
  summary.append(
    made('span', 'arrow', direction === 'in' ? '↓' : '↑'),
    made('span', 'visually-hidden', direction === 'in' ? 'received' : 'sent'),
    made('span', 'type', type),
    made('span', 'gist', gist),
    made('time', '', time.toTimeString().slice(0, 8)),
  );
  details.append(summary);
  // what nobody opens need not be laid out
  details.addEventListener('toggle', () => details.append(bodyOf(entry)), { once: true });
  row.append(details);
  return row;
}

function bodyOf({ text, length }) {
  const isWhole = length <= MAX_LENGTH;
  const pre = made('pre', '', isWhole ? JSON.stringify(JSON.parse(text), null, 2) : `${text}\n… of ${length}`);
  pre.tabIndex = 0;
  return pre;
}

function gistOf(frame) {
  if (frame.type === 'events') return `${frame.seq} · ${[...new Set(frame.events.map(nameOf))].join(', ')}`;
  if (frame.type === 'error') return `${frame.n ? `n ${frame.n} · ` : ''}${frame.code}`;
  if (frame.type === 'welcome') return `acked ${frame.acked} · head ${frame.head.seq}`;
  if (frame.type === 'hello' && !frame.session) return 'a new session';
  if (frame.type === 'hello') return frame.since ? `since ${frame.since.seq}` : 'from the start';
  return frame.reason ?? (frame.n ? `n ${frame.n}` : '');
}

function nameOf(event) {
  return event.type === 'CUSTOM' ? event.name : event.type.toLowerCase();
}

function made(tag, className, text = '') {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}
