// SPDX-License-Identifier: Apache-2.0

/** ConnError ends a client: the edge has refused it, and would do so again. */
export class ConnError extends Error {
  constructor(reason, code = 0, status = 0) {
    super('tickedge: ' + reason);
    // The code is that of the close, the status that of the HTTP answer that refused the handshake, or 0.
    Object.assign(this, {name: 'ConnError', code, status, reason});
  }
}

export const STABLE = 10_000; // A connection that lived this long begins the pauses anew.
export const LONGEST = 600_000; // Whatever an edge says.

export const now = () => performance.now();
export const jitter = (ms) => Math.random() * ms;

/**
 * judge says what follows from the end of a connection, or of an attempt: e has code, status, reason, after (what the edge
 * asks for, in ms), lived (ms since the hello), again (there was one before), tries (short ones in a row), token (another
 * one can be had), fatal.
 */
export function judge(e, o, random = jitter) {
  const {code = 0, status = 0, reason, lived = 0, tries} = e, asked = e.after >= 0;
  const backoff = (n) => random(Math.min(o.maxBackoff, o.minBackoff * 2 ** n));
  const v = {code: code === 1006 ? status : code || status, reason, asked, pause: backoff(tries), never: e.fatal};
  const end = () => { v.never ??= new ConnError(reason, status ? 0 : code, status); };
  if (status === 401 || code === 4501) { if (e.token) v.badToken = 'refused'; else end(); }
  // What was connected before has met a proxy whose edge is just restarted.
  else if (status) { if ([400, 403, 404, 405, 426, 431, 505].includes(status) && !e.again) end(); }
  else if ([1002, 1003, 1007, 1008, 1009].includes(code) || code >= 4500 && code < 5000) end();
  else if (code === 4001) v.pause += 1500;
  else if (code === 4003) v.park = true;
  else if (code === 4004 && lived >= STABLE) v.pause = 0;
  // A browser does not say why a handshake failed: it may be the token.
  else if (!lived && tries % 4 === 1) v.badToken = e.token && 'suspect';
  if (asked) {
    v.pause = Math.min(e.after, LONGEST);
    if (lived < STABLE && tries > 2) v.pause = Math.max(v.pause, backoff(tries - 2));
  }
  return v;
}
