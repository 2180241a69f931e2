/** Signing in: the server wants a token, and the tab keeps it. */

import { recall, remember } from './tab.js';

const byId = (id) => document.getElementById(id);

export class SignIn {
  #dialog = byId('signin');
  #field = byId('token');

  /** `onToken()` is told of each token that is given or forgotten. */
  constructor(onToken) {
    byId('signin-form').addEventListener('submit', (event) => {
      event.preventDefault();
      remember('token', this.#field.value.trim());
      this.#field.value = '';
      this.#dialog.close();
      onToken();
    });
    this.#dialog.addEventListener('cancel', (event) => event.preventDefault());
    byId('signout').addEventListener('click', () => {
      remember('token', '');
      onToken();
    });
  }

  /** The token of this tab; empty if there is none. */
  get token() {
    return recall('token') ?? '';
  }

  /** Ask for a token; `why` is what the server said of the last one. */
  ask(why) {
    byId('signin-why').textContent = this.token ? why : '';
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  show() {
    byId('signout').hidden = this.token === '';
  }
}
