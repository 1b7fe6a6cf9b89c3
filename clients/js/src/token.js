// SPDX-License-Identifier: Apache-2.0

import {ConnError} from './retry.js';

/** expiry reads exp of a JWT, which the edge verifies: Unix milliseconds, or 0 if there is none. */
export function expiry(jwt) {
  try {
    const exp = JSON.parse(atob(jwt.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'))).exp;
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

  constructor(get) { this.get = get; }

  /** ask calls the callback, for 30 seconds at most. */
  async ask() {
    const stop = new AbortController();
    let timer;
    try {
      const late = new Promise((_, no) => { timer = setTimeout(() => no(new Error('the callback takes too long')), 30_000); });
      const text = String(await Promise.race([this.get(stop.signal), late]) ?? '').trim();
      if (!/^[!-~]+$/.test(text)) throw new Error('it is empty, or has characters that no token has');
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
    const text = await this.ask(), same = text === this.text && this.bad === 'refused';
    if (same) {
      const reason = 'the token was refused, and there is no other';
      throw again ? new Error(reason) : new ConnError(reason, 0, 401);
    }
    this.set(text);
    return text;
  }

  /** lead is in how many ms to renew: when a third of what is left remains, a minute at most. Infinity is never. */
  lead() {
    if (!this.get || !this.exp) return Infinity;
    const left = this.exp - Date.now();
    return Math.max(left - Math.min(left / 3, 60_000), 1000);
  }

  /** after is in how many ms to ask again if that failed. The old token stays in force until it ends. */
  after() { return Math.min(Math.max((this.exp - Date.now()) / 4, 1000), 5000); }
}
