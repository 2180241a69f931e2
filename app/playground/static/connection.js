/** One socket after the other to the same server: opened, watched, and opened again after a loss. */

import { comesBack, endInWords, lossInWords } from './words.js';

const SUBPROTOCOL = 'parley.v1';
/** Milliseconds before the first reconnect; each connection that brought nothing doubles them … */
const FIRST_DELAY = 100;
/** … up to these. A connection that holds as long counts as a good one. */
const MAX_DELAY = 5_000;
/** Milliseconds for a connection and its welcome. */
const PATIENCE = 10_000;
/** Milliseconds of silence after which the server is asked whether it is there, and how long it may take to say so. */
const QUIET = 25_000;
const ANSWER_WITHIN = 10_000;
/** How long a connection stays away that was dropped on purpose, so that one sees it. */
const DROPPED_FOR = 2_000;
/** The code of a connection that nobody closed (RFC 6455, section 7.1.5). */
const LOST = 1006;

export class Connection {
  #socket = null;
  #timer = 0;
  #watchdog = 0;
  #fruitless = 0;
  #parting = null;
  #openedAt = 0;
  #stopped = false;

  /**
   * `greet()` gives the hello frame of a new connection. `onFrame(frame)` gets each frame from the welcome on;
   * `onState({name, text, code})` is told of `connecting`, `open`, `waiting` and `over`; `onTraffic(direction, text)`
   * sees every frame as it goes over the wire.
   */
  constructor({ greet, onFrame, onState, onTraffic }) {
    Object.assign(this, { greet, onFrame, onState, onTraffic });
  }

  /** Connect, now; also when waiting to, or after all was over. */
  open() {
    if (this.#socket) return;
    clearTimeout(this.#timer);
    this.#stopped = false;
    this.#parting = null;
    this.onState({ name: 'connecting', text: 'Connecting' });
    const url = new URL('ws', document.baseURI);
    url.protocol = url.protocol.replace('http', 'ws');
    url.hash = '';
    const socket = (this.#socket = new WebSocket(url, SUBPROTOCOL));
    this.#watch(PATIENCE);
    socket.onopen = () => this.send(this.greet());
    socket.onmessage = ({ data }) => this.#read(data);
    socket.onclose = ({ code }) => this.#closed(code);
  }

  /** Connect at once if that is only a matter of time. */
  hurry() {
    if (!this.#stopped) this.open();
  }

  /** Write a frame: an object, or its text. */
  send(frame) {
    const text = typeof frame === 'string' ? frame : JSON.stringify(frame);
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.onTraffic('out', text);
    this.#socket.send(text);
  }

  /** Give this connection up, as a lost network would, and connect again later. */
  lose(why = 'dropped by you', after = DROPPED_FOR) {
    if (this.#letGo()) this.#wait(why, after);
  }

  /** Leave for good. */
  close() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#letGo();
  }

  #letGo() {
    const socket = this.#socket;
    clearTimeout(this.#watchdog);
    this.#socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    return socket !== null;
  }

  #read(text) {
    this.onTraffic('in', text);
    this.#watch(QUIET);
    const frame = JSON.parse(text);
    if (frame.type === 'bye' || (frame.type === 'error' && frame.fatal)) {
      this.#parting = frame;
      return;
    }
    if (frame.type === 'welcome') {
      this.#openedAt = performance.now();
      this.onState({ name: 'open', text: 'Connected' });
    } else if (['events', 'ack', 'reset'].includes(frame.type)) {
      this.#fruitless = 0;
    }
    this.onFrame(frame);
  }

  #closed(code) {
    this.#letGo();
    const parting = this.#parting;
    if (comesBack(code, parting?.type === 'bye' ? parting : null)) {
      this.#wait(lossInWords(code, parting), parting?.after_ms ?? parting?.retry_after_ms ?? 0);
    } else {
      this.#stopped = true;
      this.onState({ name: 'over', text: endInWords(code, parting), code });
    }
  }

  #wait(why, least) {
    if (this.#openedAt && performance.now() - this.#openedAt > MAX_DELAY) this.#fruitless = 0;
    this.#openedAt = 0;
    const delay = Math.min(FIRST_DELAY * 2 ** this.#fruitless++, MAX_DELAY) * (0.5 + Math.random() / 2);
    this.onState({ name: 'waiting', text: `Reconnecting: ${why}` });
    this.#timer = setTimeout(() => this.open(), least + delay);
  }

  /** Nobody tells a page that its network is gone: after a silence ask, and without an answer give up. */
  #watch(patience) {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      if (patience !== QUIET) {
        this.#letGo();
        this.#wait(lossInWords(LOST), 0);
        return;
      }
      this.send({ type: 'ping' });
      this.#watch(ANSWER_WITHIN);
    }, patience);
  }
}
