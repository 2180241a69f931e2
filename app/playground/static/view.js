/** The conversation on the page: messages, what waits to be sent, and what a screen reader is told. */

import { MarkdownView, copyCode } from './markdown.js';
import { turnEndInWords } from './words.js';

/** Pixels from the end within which new text is followed. */
const NEAR = 80;
/** Characters of a message that are read out; the rest is there to be read. */
const READ_OUT = 2_000;

const byId = (id) => document.getElementById(id);

export class View {
  #scroller = byId('thread');
  #messages = byId('messages');
  #pending = byId('pending');
  #working = byId('working');
  #latest = byId('latest');
  #live = byId('live');
  #shown = new Map();
  #waiting = '';
  #follows = true;

  constructor() {
    this.#scroller.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#follow()).observe(this.#scroller);
    this.#latest.addEventListener('click', () => this.toEnd());
    this.#messages.addEventListener('click', (event) => copyCode(event.target));
  }

  /** Forget everything: another conversation comes. */
  clear() {
    this.#shown.clear();
    this.#messages.replaceChildren();
    this.#live.replaceChildren();
    this.toEnd();
  }

  /** Show what has changed in a conversation. To be called once for each frame of the screen. */
  show(conversation) {
    const { fold } = conversation;
    const { replaced, changed, completed } = fold.takeChanges();
    if (replaced) this.clear();
    for (const id of changed) this.#showItem(fold.items.get(id), id, conversation);
    for (const id of completed) this.#readOut(fold.items.get(id), conversation);
    this.#showPending(conversation);
    this.#showWork(fold);
    byId('older').hidden = !fold.truncated;
    byId('empty').hidden = !conversation.caughtUp || fold.items.size > 0 || this.#waiting !== '';
    this.#follow();
  }

  /** Go to the end and stay there. */
  toEnd() {
    this.#follows = true;
    this.#follow();
  }

  #showItem(item, id, conversation) {
    let shown = this.#shown.get(id);
    if (!item) {
      shown?.element.remove();
      this.#shown.delete(id);
      return;
    }
    if (!shown) {
      shown = item.kind === 'end' ? endOf(item) : messageOf(item, authorOf(item, conversation));
      this.#shown.set(id, shown);
      this.#messages.append(shown.element);
    }
    shown.update?.(item);
  }

  #readOut(item, conversation) {
    if (!item || item.role === 'user') return;
    if (item.kind === 'end') {
      this.#say(this.#shown.get(item.id).element.textContent);
      return;
    }
    const body = this.#shown.get(item.id).element.querySelector('.body').cloneNode(true);
    for (const bar of body.querySelectorAll('.bar')) bar.remove();
    this.#say(`${authorOf(item, conversation)}: ${body.textContent.slice(0, READ_OUT)}`);
  }

  #say(text) {
    this.#live.append(made('p', '', text));
    while (this.#live.childElementCount > 3) this.#live.firstElementChild.remove();
  }

  #showPending(conversation) {
    const state = conversation.state.name;
    const pending = conversation.pending().map(({ id, text, sent }) => [id, text, hintOf(sent, state)]);
    const waiting = pending.length ? JSON.stringify(pending) : '';
    if (waiting === this.#waiting) return;
    this.#waiting = waiting;
    this.#pending.replaceChildren(...pending.map(([, text, hint]) => pendingOf(text, hint)));
  }

  #showWork({ turns, items }) {
    const attempt = Math.max(0, ...turns.values());
    const speaks = [...items.values()].at(-1)?.open ?? false;
    this.#working.hidden = attempt === 0 || speaks;
    byId('work').textContent = attempt > 1 ? `Starting over, attempt ${attempt}` : 'Working';
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    this.#follows = scrollHeight - scrollTop - clientHeight < NEAR;
    this.#latest.hidden = this.#follows;
  }

  #follow() {
    if (this.#follows) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#scrolled();
  }
}

function authorOf(item, conversation) {
  return item.name ?? (item.role === 'user' ? 'You' : (conversation.welcome?.agent ?? 'Agent'));
}

function messageOf(item, author) {
  const element = made('article', `message ${item.role === 'user' ? 'user' : 'agent'}`);
  element.dataset.id = item.id;
  element.classList.toggle('error', item.error);
  const who = made('h2', 'who', author);
  const body = made('div', 'body');
  element.append(who, body);
  if (item.role === 'user') return { element, update: ({ text }) => (body.textContent = text) };
  body.classList.add('markdown');
  const markdown = new MarkdownView(body);
  const update = ({ text, open, name }) => {
    if (name) who.textContent = name;
    element.classList.toggle('open', open);
    markdown.update(text, !open);
  };
  return { element, update };
}

function endOf({ code, text }) {
  const element = made('p', `end ${code === 'cancelled' ? '' : 'error'}`, turnEndInWords(code, text));
  return { element };
}

function pendingOf(text, hint) {
  const element = made('article', 'message user pending');
  element.append(made('h2', 'who', 'You'), made('div', 'body', text), made('p', 'hint', hint));
  return element;
}

function hintOf(sent, state) {
  if (sent.ack) return 'Waiting for its turn';
  if (sent.waits) return 'The server is busy; this is tried again';
  return state === 'open' ? 'Sending' : 'Will be sent when the connection is back';
}

function made(tag, className, text = '') {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}
