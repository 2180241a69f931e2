/**
 * The inputs a client keeps and the numbers they carry: the counting rules of the protocol, without I/O.
 *
 * A message is kept until its turn has ended, since an ack alone is no end: the store may lose a tail and ask for it
 * again. What is no turn is kept until its ack only. Times are milliseconds of a monotonic clock.
 */

/** Inputs kept at once. Not more than the acks a server remembers of a client, so that a lost one can be had again. */
export const MAX_KEPT = 64;
/** Their characters together: what is kept has to fit into the browser's storage for one tab. */
export const MAX_KEPT_LENGTH = 1_000_000;

const MAX_UNANSWERED = 32;
const MAX_ENDED = 1_000;
const MIN_RETRY = 50;
/** The server has room of its own for these, so they go ahead of messages that wait for room. */
const CONTROLS = new Set(['answer', 'cancel', 'end']);

/** This connection and the client disagree on a number; a new connection puts it right. */
export class OutOfStep extends Error {}

/** An input on its way. `n` changes if an input before it is refused, or if the server lost something. */
class Sent {
  ack = null;
  waits = false;

  /** `offered` is the number under which it was last refused for want of room or store. */
  constructor({ n = 0, kind, message = null, body, offered = null }) {
    Object.assign(this, { n, kind, message, body, offered });
  }

  get turn() {
    return this.ack?.turn ?? null;
  }

  /** The frame under its present number. */
  frame() {
    return `{"n":${this.n},${this.body.slice(1)}`;
  }

  overtakes() {
    return CONTROLS.has(this.kind) && !this.waits;
  }
}

export class Inputs {
  #kept = new Map();
  #next = 1;
  #taken = 0;
  #queue = [];
  #unanswered = new Set();
  // after a refusal nothing goes out until all on its way is answered: numbers are about to change, and an answer
  // names nothing but its number
  #held = false;
  #retryAt = 0;
  #ended = new Set();
  #past = { begun: new Set(), running: new Set() };

  /** `onRefused(sent, error)` is told of an input that will not be taken as it is. `dumped` is what `dump` gave. */
  constructor(onRefused, dumped = []) {
    this.onRefused = onRefused;
    for (const fields of dumped) {
      this.#kept.set(fields.n, new Sent(fields));
      this.#next = fields.n + 1;
    }
  }

  /** What has to be kept over a reload. Acks are not: they are asked for again. */
  dump() {
    return this.kept().map(({ n, kind, message, body, offered }) => ({ n, kind, message, body, offered }));
  }

  /** Everything that is kept, in order. */
  kept() {
    return [...this.#kept.values()];
  }

  /** Whether there is room for an input of `length` characters. */
  fits(length) {
    const kept = this.kept().reduce((sum, sent) => sum + sent.body.length, 0);
    return this.#kept.size < MAX_KEPT && kept + length <= MAX_KEPT_LENGTH;
  }

  /** Take an input in and number it. `members` are those of its frame, without `n`. */
  keep(members) {
    const sent = new Sent({ kind: members.type, message: members.id, body: JSON.stringify(members) });
    this.#number(sent);
    this.#queue.push(sent);
    return sent;
  }

  /** Let go of the input that was kept last, as if it never had been. */
  forget(sent) {
    this.#drop(sent);
    this.#queue.pop();
    this.#next -= 1;
  }

  /** Start on a new connection: what was not taken goes out again, what was taken without our seeing the ack too. */
  welcomed(acked, known) {
    this.#taken = known ? acked : 0;
    this.#unanswered.clear();
    this.#retryAt = 0;
    for (const sent of this.#kept.values()) {
      if (sent.n > this.#taken) sent.ack = null;
      if (sent.offered > this.#taken) sent.offered = null;
    }
    this.#held = this.kept().some((sent) => sent.offered);
    this.#renumber();
  }

  /** The next input to write, or null if there is none or all must wait. */
  take(now) {
    if (this.#unanswered.size >= MAX_UNANSWERED || (this.#held && this.#unanswered.size)) return null;
    if (this.#held && !this.#goOn(now)) return null;
    const sent = this.#queue.shift() ?? null;
    if (sent) this.#unanswered.add(sent.n);
    return sent;
  }

  /** When `take` has something again that now must wait; null if no time decides it. */
  retryAt() {
    return this.#held && !this.#unanswered.size ? this.#retryAt : null;
  }

  /** The server has taken an input. */
  acked(ack) {
    this.#unanswered.delete(ack.n);
    this.#taken = Math.max(this.#taken, ack.n);
    const sent = this.#kept.get(ack.n);
    if (!sent) return;
    sent.ack = ack;
    sent.offered = null;
    if (!ack.turn || CONTROLS.has(sent.kind) || this.#ended.has(ack.turn) || this.#isPast(sent)) this.#drop(sent);
  }

  /** The server has not taken an input. Throws OutOfStep. */
  refused(error, now) {
    this.#unanswered.delete(error.n);
    const sent = this.#kept.get(error.n);
    if (!sent || sent.ack) return;
    if (error.code === 'out_of_order') {
      if (sent.n === this.#taken + 1 && !this.#held) throw new OutOfStep(`input ${sent.n} is next and was refused`);
    } else if (error.code === 'busy' || error.retry_after_ms != null) {
      sent.offered = error.n;
      sent.waits = true;
      this.#retryAt = Math.max(this.#retryAt, now + Math.max(error.retry_after_ms ?? 0, MIN_RETRY));
    } else if (error.code === 'conflict') {
      this.#taken = Math.max(this.#taken, error.n);
      this.#settle(sent, error);
    } else {
      this.#reject(sent, error);
    }
    this.#held = true;
  }

  /** A turn's terminal event was seen. */
  ended(turn) {
    this.#ended.add(turn);
    if (this.#ended.size > MAX_ENDED) this.#ended.delete(this.#ended.values().next().value);
    const sent = this.kept().find((other) => other.turn === turn);
    if (sent) this.#drop(sent);
  }

  /** A snapshot took the log's place: what began and is not open in it has ended unseen. */
  replaced(snapshot) {
    const begun = snapshot.messages.filter((message) => message.role === 'user').map((message) => message.id);
    const running = snapshot.open.filter((thing) => thing.kind === 'turn').map((thing) => thing.id);
    this.#past = { begun: new Set(begun), running: new Set(running) };
    for (const sent of this.kept()) if (sent.ack && this.#isPast(sent)) this.#drop(sent);
  }

  /** The acks of what a snapshot tells about may come after it, so this is asked again then. */
  #isPast(sent) {
    return this.#past.begun.has(sent.message) && !this.#past.running.has(sent.turn);
  }

  /**
   * Another input has the number of this one. A server that got no word from its store says busy, and may find out
   * later that the input was taken. If this one was put before it in the meantime, both go back to where they were.
   */
  #settle(sent, error) {
    sent.offered = null;
    const other = this.kept().find((candidate) => candidate.offered === sent.n);
    if (!other) {
      this.#reject(sent, error);
      return;
    }
    [sent.n, other.n] = [other.n, sent.n];
    this.#kept.set(sent.n, sent).set(other.n, other);
  }

  /** Whether the next in the queue may go, after a refusal: one that overtakes, alone, or all if it is time. */
  #goOn(now) {
    const isTime = now >= this.#retryAt;
    if (isTime) for (const sent of this.#kept.values()) sent.waits = false;
    this.#renumber();
    const overtakes = this.#queue[0]?.overtakes() ?? false;
    this.#held = overtakes || !isTime;
    return overtakes || isTime;
  }

  /** Number what was not taken anew, and queue what has no ack. Nothing may be on its way. */
  #renumber() {
    const untaken = this.kept().filter((sent) => sent.n > this.#taken);
    if (this.#held) untaken.sort((one, other) => other.overtakes() - one.overtakes());
    for (const sent of untaken) this.#kept.delete(sent.n);
    this.#next = this.#taken + 1;
    for (const sent of untaken) this.#number(sent);
    this.#queue = this.kept().filter((sent) => !sent.ack);
  }

  #number(sent) {
    sent.n = this.#next++;
    this.#kept.set(sent.n, sent);
  }

  #reject(sent, error) {
    this.#drop(sent);
    this.onRefused(sent, error);
  }

  #drop(sent) {
    this.#kept.delete(sent.n);
  }
}
