/** Where one writes: the box grows with its text, Enter sends, Shift and Enter begin a new line. */

import { recall, remember } from './tab.js';

const byId = (id) => document.getElementById(id);

export class Composer {
  #form = byId('composer');
  #box = byId('text');
  #send = byId('send');
  #stop = byId('stop');

  /** `say(text)` returns whether the text was taken; `stop()` stops the turn. */
  constructor({ say, stop }) {
    this.#box.value = recall('draft') ?? '';
    this.#box.addEventListener('input', () => this.#changed());
    this.#box.addEventListener('keydown', (event) => {
      // the Enter that ends a word in an input method is not ours
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#form.requestSubmit();
    });
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      const text = this.#box.value.trim();
      if (text && !this.#box.disabled && say(text)) this.#write('');
      this.focus();
    });
    this.#stop.addEventListener('click', () => {
      stop();
      this.focus();
    });
    this.#changed();
  }

  /** Whether something may be said, and whether there is a turn to stop. */
  show({ isOver, isBusy }) {
    this.#box.disabled = isOver;
    this.#stop.hidden = !isBusy || isOver;
    this.#send.disabled = isOver || this.#box.value.trim() === '';
  }

  /** Put back what was not taken, before what is being written. */
  giveBack(text) {
    this.#write([text, this.#box.value].filter(Boolean).join('\n\n'));
  }

  focus() {
    this.#box.focus();
  }

  #write(text) {
    this.#box.value = text;
    this.#changed();
  }

  #changed() {
    const text = this.#box.value;
    try {
      remember('draft', text);
    } catch {
      // a draft too long for the browser's storage is still there until the page is reloaded
    }
    this.#send.disabled = this.#box.disabled || text.trim() === '';
    this.#box.style.height = 'auto';
    this.#box.style.height = `${this.#box.scrollHeight}px`;
  }
}
