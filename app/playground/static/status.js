/** The state of the connection, in the header and in its panel, and what is said in words over the composer. */

const byId = (id) => document.getElementById(id);
const SHORT = { connecting: 'Connecting', open: 'Connected', waiting: 'Reconnecting', over: 'Not connected' };
/** Notices at once; past it the oldest goes. */
const MAX_NOTICES = 3;

export class Status {
  #chip = byId('status');
  #words = byId('status-words');

  /** `drop()` drops the connection, `retry()` connects at once, `renew()` begins a new conversation. */
  constructor({ drop, retry, renew }) {
    byId('drop').addEventListener('click', drop);
    byId('retry').addEventListener('click', retry);
    byId('copy-link').addEventListener('click', () => navigator.clipboard.writeText(location.href));
    byId('copy-link').hidden = !navigator.clipboard;
    byId('over-new').addEventListener('click', renew);
    byId('over-retry').addEventListener('click', retry);
  }

  /** Show how a conversation is connected. */
  show(conversation) {
    const { state, welcome, position } = conversation;
    const short = SHORT[state.name];
    if (this.#chip.dataset.state !== state.name) {
      this.#chip.dataset.state = state.name;
      this.#words.textContent = short;
      byId('status-live').textContent = short;
    }
    byId('status-detail').textContent = state.text;
    byId('fact-session').textContent = conversation.session ?? '–';
    byId('fact-user').textContent = welcome?.user ?? '–';
    byId('fact-worker').textContent = welcome?.worker ?? '–';
    byId('fact-client').textContent = conversation.client;
    byId('fact-position').textContent = String(position?.seq ?? 0);
    byId('drop').disabled = state.name !== 'open';
    byId('retry').disabled = state.name !== 'waiting';
    byId('share').hidden = byId('copy-link').disabled = !conversation.session;
    byId('share').href = `#session=${conversation.session}`;
    this.#showEnd(state);
  }

  /** Say something that went wrong, until it is dismissed. */
  notice(text) {
    const notice = document.createElement('p');
    notice.append(text);
    const dismiss = Object.assign(document.createElement('button'), { type: 'button', textContent: 'Dismiss' });
    dismiss.addEventListener('click', () => notice.remove());
    notice.append(dismiss);
    byId('notices').append(notice);
    while (byId('notices').childElementCount > MAX_NOTICES) byId('notices').firstElementChild.remove();
  }

  clearNotices() {
    byId('notices').replaceChildren();
  }

  #showEnd({ name, text, code }) {
    const isOver = name === 'over' && code !== 4401;
    if (byId('over').hidden === !isOver) return;
    byId('over').hidden = !isOver;
    byId('over-words').textContent = isOver ? text : '';
    byId('over-retry').hidden = [4404, 4410].includes(code);
  }
}
