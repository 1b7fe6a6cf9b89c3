// SPDX-License-Identifier: Apache-2.0

import {jitter, now} from './retry.js';
import {call} from './subscription.js';

const MAX = 100_000; // Rows that a screen keeps, whatever an edge sends.
const LATER = 120_000; // ms; pauses double up to that before what was refused for now is asked for again.
const list = (x) => Array.isArray(x) ? x : [];

/** ScreenError is a screen that an edge does not give. */
export class ScreenError extends Error {
  constructor({code = 0, reason = 'refused', at}, where = '') {
    super(reason);
    // temporary says that it is asked for again, at is the byte of where or by that is wrong, and index the place of that in `where`.
    Object.assign(this, {name: 'ScreenError', code, reason, temporary: [429, 503].includes(code)});
    if (at >= 0) this.at = at;
    if (at >= 0 && /^where\b/.test(reason)) {
      this.index = new TextDecoder().decode(new TextEncoder().encode(where).subarray(0, at)).length;
    }
    this.unknown = code === 400 && /^unknown op/.test(reason); // The edge is an older one, which has no screens.
  }
}

/**
 * screen asks for the topics whose values fulfil a condition: what has topics (a name, a pattern or several), and may have
 * where, top and by; a pattern alone may stand for it. Of what changes onChange is told, of what the edge refuses onError.
 */
export function screen(client, what, handlers) { return new Screen(client, what, handlers); }

/** Screen is what is inside of a screen, kept current. */
export class Screen {
  rows = new Map(); // Name → {topic, value, n, at}.
  complete = false; // Rows are all that is inside, or was when the connection was lost.
  state = 'waiting';
  reason = '';
  error; // What the edge has refused it with.
  #all; #what; #handlers; #cmd; #ranks; #sorted; #retryAt = 0; #tries = 0;
  #begun = false; // A full state has begun on this connection.
  #next; // That state, while further pieces of it are to come.

  constructor(client, what, handlers = {}) {
    const core = client._core, {topics, where, top, by} = typeof what === 'string' || Array.isArray(what) ? {topics: what} : what;
    if (core.ended) throw core.error ?? new Error('tickedge: the client is closed');
    if (![].concat(topics).every((t) => typeof t === 'string' && t)) throw new TypeError('tickedge: a screen is of topics, such as "crypto:*"');
    this.#all = core.screens ??= new Screens(core);
    this.#what = {topics, where: where || undefined, top, by};
    this.#handlers = handlers;
    this.name = this.#all.add(this);
    this._ask();
    if (core.lost) Object.assign(this, {state: 'reconnecting', reason: core.lost.reason});
  }

  /** The names of the rows: as they are ranked, or of a screen that is not ranked in the order of their letters. */
  get order() {
    return this.#sorted ??= this.#ranks ? this.#ranks.filter((s) => this.rows.has(s)) : [...this.rows.keys()].sort();
  }

  /** close gives the screen up. Nothing is called any more. Twice is no error. */
  close() { this._finish(); }

  _ask() {
    const {name} = this, what = this.#what;
    this.#cmd = {
      op: 'screen',
      told: (m) => { if (this.#all.has(this)) this.#told(m); },
      toJSON() { return {op: 'screen', id: this.id, screen: name, ...what}; },
    };
    this.#retryAt = 0;
    this.#all.look();
  }

  /** due returns the command that is to be sent, or when it is; Infinity is not before something happens. */
  _due(t) { return this.#cmd.at ? Infinity : t < this.#retryAt ? this.#retryAt : this.#cmd; }
  get _asked() { return this.#cmd.at > 0; }
  get _waits() { return !this._asked && this.#retryAt < Infinity; }

  #told(m) {
    if (m.t !== 'error') {
      this.#tries = 0;
      return;
    }
    const error = this.error = new ScreenError(m, this.#what.where);
    this._ask();
    const soon = 3 * this.#all.core.options.minBackoff;
    this.#retryAt = error.temporary ? now() + Math.min(soon * 2 ** this.#tries++, LATER) + jitter(soon) : Infinity;
    this.#all.look();
    this.#is('rejected', error.reason);
    if (this.#all.has(this)) call(this.#handlers.onError, error);
  }

  /** lose begins anew for the next connection. What is there stays until that has brought all of it. */
  _lose() {
    this.#begun = false;
    this.#next = undefined;
    this._ask();
    this.#is('reconnecting', this.#all.core.lost?.reason);
  }

  /** again is for another token. */
  _again() { if (this.error?.code === 403) this._ask(); }

  _open() { if (this.state === 'reconnecting') this.#is('waiting'); }

  _finish(error) {
    if (!this.#all.delete(this)) return;
    this.state = 'closed';
    if (!error) return;
    this.error = error;
    call(this.#handlers.onError, error);
    this.#tell({});
  }

  #is(state, reason = '') {
    this.state = state;
    this.reason = reason;
    this.#tell({});
  }

  #tell({full = false, rows = [], out = [], ordered = false}) {
    const {onChange} = this.#handlers;
    call((c) => onChange?.(this, c), {full, rows, out, ordered});
  }

  /** take takes a message in. Pieces of a full state are held back until they are all there, where there is one to be seen. */
  _take(m) {
    if (m.full) {
      this.#begun = true;
      this.#next = {rows: new Map()};
    } else if (!this.#begun) return;
    const next = this.#next, ranks = m.order && list(m.order).slice(0, MAX), change = this.#merge(next ?? this, m);
    if (!next) {
      if (ranks) this.#ranks = ranks;
      if (ranks || change.ordered) this.#sorted = undefined;
      return this.#live({...change, ordered: change.ordered || !!ranks});
    }
    if (ranks) next.ranks = ranks;
    if (m.more && this.complete) return;
    const {rows} = next, was = this.rows;
    Object.assign(this, {rows, complete: !m.more});
    if (!m.more) this.#next = undefined;
    this.#ranks = next.ranks;
    this.#sorted = undefined;
    if (rows === was) return this.#live({...change, ordered: true});
    this.#live({full: true, rows: [...rows.values()], out: [...was.keys()].filter((s) => !rows.has(s)), ordered: true});
  }

  /** merge takes the rows of a message into those that are there, and returns what has changed. */
  #merge({rows}, m) {
    const change = {rows: [], out: [], ordered: false};
    for (const r of list(m.d)) {
      const known = rows.has(r?.s);
      if (typeof r?.s !== 'string' || rows.size >= MAX && !known) continue;
      const row = {topic: r.s, value: r.v, n: r.n, at: m.ts};
      rows.set(r.s, row);
      change.rows.push(row);
      change.ordered ||= !known;
    }
    for (const s of list(m.out)) if (rows.delete(s)) change.out.push(s);
    change.ordered ||= change.out.length > 0;
    return change;
  }

  #live(change) {
    if (this.complete) this.state = 'live';
    this.reason = '';
    this.error = undefined;
    this.#tell(change);
  }
}

/**
 * Screens are those of a client. For its core they stand among the topics, as one that is never subscribed: so there is a
 * connection while there are screens, and they are told of its end as topics and subscriptions are.
 */
class Screens {
  #all = new Map(); #leaving = []; #count = 0; #token;
  name = ''; value = null; retryAt = Infinity; told = '';
  subs = new Map([[this, undefined]]);

  constructor(core) { this.core = core; }

  /** What the core takes for where a topic is: 0 is not asked for yet. */
  get phase() { return [...this.#all.values()].some((s) => s._waits) ? 0 : -1; }

  has(s) { return this.#all.get(s.name) === s; }

  add(s) {
    // A name is not used twice: what still comes of a screen that was given up is not taken for another's.
    const name = 's' + ++this.#count;
    this.#all.set(name, s);
    this.core.topics.set(this, this);
    this.core.parked = false;
    return name;
  }

  delete(s) {
    if (!this.has(s)) return false;
    this.#all.delete(s.name);
    if (s._asked) this.#leave(s.name);
    if (!this.#all.size && !this.core.ended) this.core.topics.delete(this);
    this.look();
    return true;
  }

  #leave(name) {
    const cmd = {op: 'unscreen', screen: name, told: (m) => { if (m.t === 'error' && m.code !== 400) this.#leave(name); }};
    this.#leaving.push(cmd);
    this.look();
  }

  look() { this.core.poke(); }

  /** next returns the command that is to be sent, and when to look again. */
  next(t, wake) {
    const {text} = this.core.token;
    if (text !== this.#token) for (const s of this.#all.values()) s._again();
    this.#token = text;
    this.#leaving = this.#leaving.filter((cmd) => !cmd.at);
    if (this.#leaving.length) return [this.#leaving[0]];
    for (const s of this.#all.values()) {
      const due = s._due(t);
      if (typeof due !== 'number') return [due];
      wake = Math.min(wake, due);
    }
    return [undefined, wake];
  }

  hear(m) { if (m.t === 'screen') this.#all.get(m.screen)?._take(m); }

  /** lose is called as that of each topic. */
  lose() {
    this.#leaving = [];
    for (const s of this.#all.values()) s._lose();
  }

  /** put and finish are called as those of a subscription: the state of the connection has changed, or the client has ended. */
  _put() { if (!this.core.lost) for (const s of this.#all.values()) s._open(); }
  _finish(error) { for (const s of [...this.#all.values()]) s._finish(error); }
}
