// SPDX-License-Identifier: Apache-2.0

// Where a topic is on the present connection.
export const UNASKED = 0, ASKED = 1, HELD = 2, REFUSED = 3;

/** bytes is the length of a text in UTF-8. */
export const bytes = (text) => new TextEncoder().encode(text).length;

/** plausible says whether a name may be sent. No name of a topic needs an escape in JSON, so that those of a command fit into it. */
const plausible = (name) => /^[^*]+$/.test(name) && bytes(name) <= 64 && JSON.stringify(name).length === name.length + 2;

/** Topic is what all subscriptions of a name share. */
export class Topic {
  subs = new Map(); // Subscription → what it has not taken yet.
  id = 0; // The command that asked for it.
  // value: null if it is delisted.
  n = 0;
  at = 0;
  conn = 0; // The connection that the value is from, from 1; 0 is none.
  fresh = false; // The value is the newest: it is of this connection, or the edge has resumed it.
  covered = false; // The value, and what the token of resumption stands for, leave out nothing between them.

  constructor(name) {
    this.name = name;
    this.again();
    if (!plausible(name)) this.refuse(422, 'not a topic name');
  }

  /** refuse is for a topic that the edge does not give. It is asked for again at retryAt; 0 is not on this connection. */
  refuse(code = 0, reason = '', retryAt = 0) {
    Object.assign(this, {phase: REFUSED, code, reason, retryAt, stale: false});
  }

  again() {
    this.refuse();
    this.phase = UNASKED;
  }

  /** lose begins anew for the next connection. */
  lose() {
    this.fresh = false;
    if (this.code !== 422 || this.phase !== REFUSED) this.again();
  }
}

/** isDown says whether feeds, a Map of patterns to whether they are down, have the topic down. '' is all other topics. */
export function isDown(feeds, name) {
  const of = [...feeds].filter(([patterns]) => patterns.split(',').some((p) => glob(p.trim(), name)));
  return of.length ? of.some(([, down]) => down) : !!feeds.get('');
}

/** glob says whether a name matches a pattern, in which * is any run of characters and all else itself. */
export function glob(pattern, name) {
  const parts = pattern.split('*'), last = parts.pop();
  if (!parts.length) return last === name;
  let at = 0;
  for (const [i, p] of parts.entries()) {
    const found = name.indexOf(p, at);
    if (i ? found < 0 : found) return false;
    at = found + p.length;
  }
  return name.length - at >= last.length && name.endsWith(last);
}
