/** One session as a client sees it: what goes out is counted and kept, what comes in is folded, each event once. */

import { Connection } from './connection.js';
import { Fold, isTerminal } from './fold.js';
import { Inputs, OutOfStep } from './inputs.js';
import { randomName, recallInputs, rememberInputs } from './tab.js';
import { refusalInWords, sizeInWords } from './words.js';

/** Bytes of a frame that its number may take. */
const N_BYTES = 24;
const encoder = new TextEncoder();

export class Conversation {
  fold = new Fold();
  welcome = null;
  state = { name: 'connecting', text: 'Connecting' };
  position = null;
  /** Whether all has been here once that was there when the page came: what is new from then on is news. */
  caughtUp = false;
  #retry = 0;

  /**
   * `session` is null for a new one with `agent` (or the server's default). `onChange()` is told that there is
   * something to show, `onState(state)` of the connection, `onWelcome()` of each welcome, `onNotice(text)` of
   * what is to be said in words, `onTraffic(direction, text)` of each frame.
   */
  constructor({ client, session, agent, token, ...handlers }) {
    Object.assign(this, { client, session, agent, token }, handlers);
    this.inputs = new Inputs((sent, error) => this.#refused(sent, error), recallInputs(session));
    this.connection = new Connection({
      greet: () => this.#hello(),
      onFrame: (frame) => this.#take(frame),
      onState: (state) => this.#moved(state),
      onTraffic: this.onTraffic,
    });
  }

  /** The messages that were said here and are not in the log yet: `{id, text, sent}`. */
  pending() {
    return this.inputs
      .kept()
      .filter((sent) => sent.kind === 'message' && !this.fold.items.has(sent.message))
      .map((sent) => ({ id: sent.message, text: JSON.parse(sent.body).content, sent }));
  }

  /** Whether there is a turn to stop. */
  get isBusy() {
    return this.fold.turns.size > 0 || this.pending().some(({ sent }) => sent.ack);
  }

  /** Say something. Returns why not, in words, or an empty string. */
  say(text) {
    return this.#keep({ type: 'message', id: randomName(), content: text });
  }

  /** Stop the running turn, or the first that waits. */
  stop() {
    const turn = this.fold.turns.keys().next().value;
    return this.#keep(turn ? { type: 'cancel', turn } : { type: 'cancel' });
  }

  close() {
    clearTimeout(this.#retry);
    this.connection.close();
  }

  #keep(members) {
    const body = JSON.stringify(members);
    const excess = this.#excess(body);
    if (excess) return `Not sent: ${excess}.`;
    if (!this.inputs.fits(body.length)) return 'Not sent: too much is waiting already. Try again in a moment.';
    const sent = this.inputs.keep(members);
    try {
      // before it is sent: what the server may have must not be forgotten here
      this.#save();
    } catch {
      this.inputs.forget(sent);
      return 'Not sent: the browser has no room left to keep it until the server has it.';
    }
    this.#pump();
    return '';
  }

  #hello() {
    const whose = this.session ? { session: this.session } : { agent: this.agent ?? undefined };
    const since = this.position ?? undefined;
    return { type: 'hello', client: this.client, ...whose, since, token: this.token || undefined };
  }

  #moved(state) {
    this.state = state;
    this.onState(state);
    this.onChange();
  }

  #take(frame) {
    try {
      TAKERS[frame.type]?.call(this, frame);
    } catch (error) {
      if (!(error instanceof OutOfStep)) throw error;
      this.connection.lose('inputs or events were counted differently', 0);
    }
  }

  welcomed(frame) {
    this.welcome = frame;
    this.inputs.welcomed(frame.acked, frame.known);
    if (this.session !== frame.session) {
      rememberInputs(this.session, []);
      this.session = frame.session;
      this.#save();
    }
    this.onWelcome();
    this.#arrived();
    this.#answered();
  }

  happened({ seq, mark, turn, attempt, events }) {
    const had = this.position?.seq ?? 0;
    if (seq > had + 1) throw new OutOfStep(`event ${had + 1} is missing`);
    const news = events.slice(had + 1 - seq);
    if (!news.length) return;
    for (const event of news) {
      this.fold.apply(event, turn, attempt);
      if (turn && isTerminal(event)) this.inputs.ended(turn);
    }
    this.position = { seq: had + news.length, mark };
    if (!this.caughtUp) this.fold.hush();
    this.#arrived();
    if (news.some(isTerminal)) this.#save();
    this.onChange();
  }

  replaced({ head, snapshot }) {
    this.fold.replace(snapshot);
    this.position = head;
    this.#arrived();
    this.inputs.replaced(snapshot);
    this.#answered();
  }

  acked(frame) {
    this.inputs.acked(frame);
    this.#answered();
  }

  failed(frame) {
    if (frame.n == null) this.onNotice(`The server says: ${frame.message}.`);
    else this.inputs.refused(frame, performance.now());
    this.#answered();
  }

  #arrived() {
    this.caughtUp ||= (this.position?.seq ?? 0) >= this.welcome.head.seq;
  }

  #refused(sent, error) {
    const text = sent.kind === 'message' ? JSON.parse(sent.body).content : '';
    this.onNotice(refusalInWords(error), text);
  }

  #answered() {
    this.#save();
    this.#pump();
    this.onChange();
  }

  #save() {
    rememberInputs(this.session, this.inputs.dump());
  }

  /** Why an input is too long for this server, in words; empty if it is not, or if that is not known yet. */
  #excess(body) {
    const most = (this.welcome?.limits.frame_bytes ?? Infinity) - N_BYTES;
    const size = encoder.encode(body).length;
    return size > most ? `it has ${sizeInWords(size)}, and at most ${sizeInWords(most)} can be sent at once` : '';
  }

  #write(sent) {
    const message = this.#excess(sent.body);
    if (message) this.inputs.refused({ n: sent.n, code: 'too_large', message }, performance.now());
    else this.connection.send(sent.frame());
  }

  /** Write what may go out now, and come back when time lets more. */
  #pump() {
    clearTimeout(this.#retry);
    if (this.state.name === 'open') {
      for (let sent; (sent = this.inputs.take(performance.now())); ) this.#write(sent);
      const at = this.inputs.retryAt();
      if (at !== null) this.#retry = setTimeout(() => this.#pump(), Math.max(0, at - performance.now()));
    }
    this.onChange();
  }
}

const TAKERS = {
  welcome: Conversation.prototype.welcomed,
  events: Conversation.prototype.happened,
  reset: Conversation.prototype.replaced,
  ack: Conversation.prototype.acked,
  error: Conversation.prototype.failed,
};
