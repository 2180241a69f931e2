/** A log folded into what the page shows: messages, how turns ended, and which turns run. No I/O, no page. */

/** Items that are kept; past it the oldest go. */
export const MAX_ITEMS = 500;

const TERMINAL = new Set(['RUN_FINISHED', 'RUN_ERROR']);

/** Whether an event ends its turn. */
export const isTerminal = (event) => TERMINAL.has(event.type);

export class Fold {
  /** What is shown, by id and in order: messages `{id, kind, role, name, text, open, error}`, and how turns ended. */
  items = new Map();
  /** The turns that run: id to attempt. */
  turns = new Map();
  /** Whether anything older is missing. */
  truncated = false;
  /** The ids of items that came, changed or went, and of those that were completed, since `takeChanges`. */
  #changed = new Set();
  #completed = new Set();
  #replaced = false;

  /** Fold one event of a frame with this `turn` and `attempt`. */
  apply(event, turn, attempt) {
    if (event.type === 'CUSTOM') CUSTOMS[event.name]?.call(this, event.value);
    else EVENTS[event.type]?.call(this, event, turn, attempt);
  }

  /** A `reset`: the snapshot replaces everything. */
  replace(snapshot) {
    const open = new Set(snapshot.open.filter((thing) => thing.kind === 'text').map((thing) => thing.id));
    const running = snapshot.open.filter((thing) => thing.kind === 'turn');
    this.items.clear();
    this.turns = new Map(running.map((thing) => [thing.id, thing.attempt]));
    this.truncated = snapshot.truncated;
    this.#changed.clear();
    this.#completed.clear();
    this.#replaced = true;
    for (const message of snapshot.messages) {
      if (message.role === 'user' || (message.role === 'assistant' && typeof message.content === 'string')) {
        this.#put(messageOf(message, message.content, open.has(message.id)));
      }
    }
  }

  /** What has happened since the last call: `replaced` means that nothing shown before counts. */
  takeChanges() {
    const changes = { replaced: this.#replaced, changed: this.#changed, completed: this.#completed };
    this.#replaced = false;
    this.#changed = new Set();
    this.#completed = new Set();
    return changes;
  }

  /** What was completed so far is no news: it had been there before the page. */
  hush() {
    this.#completed.clear();
  }

  started(_event, turn, attempt) {
    this.turns.set(turn, attempt);
  }

  finished(event, turn) {
    this.turns.delete(turn);
    if (event.type === 'RUN_ERROR') {
      const id = `end ${turn}`;
      this.#put({ id, kind: 'end', code: event.code ?? '', text: event.message });
      this.#completed.add(id);
    }
  }

  textStarted(event) {
    this.#put(messageOf({ ...event, id: event.messageId }, '', true));
  }

  textAdded(event) {
    const item = this.items.get(event.messageId);
    if (!item?.open) return;
    item.text += event.delta;
    this.#changed.add(item.id);
  }

  textEnded(event) {
    const item = this.items.get(event.messageId);
    if (!item?.open) return;
    item.open = false;
    this.#changed.add(item.id);
    this.#completed.add(item.id);
  }

  updated(value) {
    const item = this.items.get(value.messageId);
    if (!item) return;
    if (typeof value.content === 'string') item.text = value.content;
    if (typeof value.name === 'string') item.name = value.name;
    this.#changed.add(item.id);
  }

  removed(ids) {
    for (const id of ids) if (this.items.delete(id)) this.#changed.add(id);
  }

  #put(item) {
    this.items.set(item.id, item);
    this.#changed.add(item.id);
    if (this.items.size > MAX_ITEMS) {
      this.removed([this.items.keys().next().value]);
      this.truncated = true;
    }
  }
}

const EVENTS = {
  RUN_STARTED: Fold.prototype.started,
  RUN_FINISHED: Fold.prototype.finished,
  RUN_ERROR: Fold.prototype.finished,
  TEXT_MESSAGE_START: Fold.prototype.textStarted,
  TEXT_MESSAGE_CONTENT: Fold.prototype.textAdded,
  TEXT_MESSAGE_END: Fold.prototype.textEnded,
};

const CUSTOMS = {
  'parley.superseded'(value) {
    this.removed(value.messages);
  },
  'parley.message_removed'(value) {
    this.removed([value.messageId]);
  },
  'parley.message_updated': Fold.prototype.updated,
};

function messageOf(message, text, open) {
  const error = message.metadata?.parley?.error === true;
  return { id: message.id, kind: 'message', role: message.role ?? 'assistant', name: message.name, text, open, error };
}
