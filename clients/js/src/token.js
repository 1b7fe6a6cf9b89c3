// SPDX-License-Identifier: Apache-2.0

import {ConnError} from './retry.js';

/** expiry reads exp of a JWT, which the edge verifies: Unix milliseconds, or 0 if there is none. */
export function expiry(jwt) {
  try {
    const {exp} = JSON.parse(atob(jwt.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')));
    return exp > 0 && exp < 2 ** 40 ? Math.floor(exp) * 1000 : 0;
  } catch {
    return 0;
  }
}

/** Token is the one that was shown last, and how to get another. */
export class Token {
  text = '';
  exp = 0;
  bad = false;
  // stop: of the call that is under way.
  #asked;

  constructor(get) { this.get = get; }

  /** ask calls the callback, for 30 seconds at most, and not twice at a time. */
  ask() { return this.#asked ??= this.#ask().finally(() => { this.#asked = undefined; }); }

  async #ask() {
    const stop = this.stop = new AbortController(), timer = setTimeout(() => stop.abort(), 30_000);
    try {
      const late = new Promise((_, no) => { stop.signal.onabort = () => no(new Error('late')); });
      const text = String(await Promise.race([this.get(stop.signal), late]) ?? '').trim();
      // Other characters may not stand in a handshake, and browsers would show the whole of it in their error.
      if (!/^[\w.~+-]+$/.test(text)) throw new Error('malformed');
      return text;
    } catch (e) {
      throw new Error('no token: ' + (e?.message ?? e));
    } finally {
      clearTimeout(timer);
      stop.abort();
    }
  }

  set(text) { this.text = text; this.exp = expiry(text); this.bad = false; }

  /** current returns the token to connect with. again says that there was a connection before. */
  async current(again) {
    if (!this.get) return '';
    if (this.text && !this.bad && (!this.exp || this.exp - Date.now() > 1000)) return this.text;
    const text = await this.ask();
    if (text === this.text && this.bad === 'refused') {
      const reason = 'the token was refused';
      throw again ? new Error(reason) : new ConnError(reason, 0, 401);
    }
    this.set(text);
    return text;
  }

  /** lead is in how many ms to renew: when a third of what is left remains, a minute at most. Infinity is never. */
  lead() {
    if (!this.exp) return Infinity;
    const left = this.exp - Date.now();
    return Math.max(left - Math.min(left / 3, 60_000), 1000);
  }

  /** after is in how many ms to ask again if that failed. The old token stays in force until it ends. */
  after() { return Math.min(Math.max((this.exp - Date.now()) / 4, 1000), 5000); }
}
