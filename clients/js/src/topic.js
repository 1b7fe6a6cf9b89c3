// SPDX-License-Identifier: Apache-2.0

// Where a topic is on the present connection.
export const UNASKED = 0, ASKED = 1, HELD = 2, REFUSED = 3;

export const bytes = (text) => new TextEncoder().encode(text).length;

const plausible = (name) => name !== '' && bytes(name) <= 64 && !/[\ud800-\udfff]/u.test(name);

/** Topic is what all subscriptions of a name share. */
export class Topic {
  subs = new Map(); // Subscription → what it has not taken yet.
  phase = UNASKED;
  id = 0; // The command that asked for it.
  has = false;
  value = undefined;
  n = 0;
  at = 0;
  conn = 0; // The connection that the value is from.
  fresh = false; // The value is the newest: it is of this connection, or the edge has resumed it.
  covered = false; // The value, and what the token of resumption stands for, leave out nothing between them.
  lost = false; // Held before, and not again yet.
  stale = false;
  code = 0;
  reason = '';
  retryAt = 0; // Of refused ones; 0 is never.
  temporary = false;
  full = false; // The connection has as many topics as it may have.

  constructor(name) {
    this.name = name;
    if (!plausible(name)) this.refuse(422, 'not a topic name: 1 to 64 bytes of UTF-8');
  }

  refuse(code, reason, retryAt = 0, temporary = false) {
    Object.assign(this, {phase: REFUSED, code, reason, retryAt, temporary, full: false, stale: false, lost: false});
  }

  again() { Object.assign(this, {phase: UNASKED, code: 0, reason: '', retryAt: 0, temporary: false, full: false}); }

  /** lose begins anew for the next connection. */
  lose() {
    this.lost ||= this.phase === HELD;
    this.fresh = this.stale = false;
    if (this.phase !== REFUSED || this.code !== 422) this.again();
  }
}

/** isDown says whether feeds, a Map of patterns to whether they are down, have the topic down. '' is all other topics. */
export function isDown(feeds, name) {
  let matched = false;
  for (const [patterns, down] of feeds) {
    for (const p of patterns ? patterns.split(',') : []) {
      if (!glob(p.trim(), name)) continue;
      matched = true;
      if (down) return true;
    }
  }
  return !matched && !!feeds.get('');
}

/** glob says whether a name matches a pattern, in which * is any run of characters and all else itself. */
export function glob(pattern, name) {
  const [first, ...parts] = pattern.split('*');
  if (!parts.length) return pattern === name;
  if (!name.startsWith(first)) return false;
  const last = parts.pop();
  let at = first.length;
  for (const p of parts) {
    const found = name.indexOf(p, at);
    if (found < 0) return false;
    at = found + p.length;
  }
  return name.length - at >= last.length && name.endsWith(last);
}
