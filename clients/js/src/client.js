// SPDX-License-Identifier: Apache-2.0

import {ConnError, STABLE, jitter, judge, now} from './retry.js';
import {Session} from './session.js';
import {Subscription, call} from './subscription.js';
import {Token} from './token.js';
import {ASKED, HELD, REFUSED, Topic, UNASKED, isDown} from './topic.js';

export {ConnError};

const DEFAULTS = {handshakeTimeout: 10_000, minBackoff: 1000, maxBackoff: 30_000, resume: true};

/** Client is one connection to an edge, kept open, and what was asked for on it. It connects with the first subscription. */
export class Client {
  #core;
  constructor(url, options) { this.#core = new Core(url, options); }

  /**
   * subscribe asks for topics. onValue is called with each newer value, onState with each change of a topic's state; without
   * both the subscription is an async iterator. Names that an edge does not take come with the state 'rejected'.
   */
  subscribe(topics, onValue, onState) { return this.#core.subscribe(topics, onValue, onState); }

  /** What ended the client (a ConnError), or undefined. */
  get error() { return this.#core.error; }

  /** Whether there is a connection. */
  get connected() { return this.#core.up; }

  /** close ends all subscriptions and the connection. Twice is no error. */
  close() { this.#core.close(); }
}

function endpoint(url, o) {
  const u = new URL(url, globalThis.location?.href);
  u.protocol = u.protocol.replace('http', 'ws');
  if (!/^wss?:$/.test(u.protocol)) throw new TypeError('tickedge: want a URL such as wss://example.com/ws');
  if (o.interval !== undefined && !(o.interval >= 100 && o.interval <= 60_000)) {
    throw new RangeError('tickedge: want an interval of 100 to 60000 ms');
  }
  if (u.pathname === '/') u.pathname = '/ws';
  u.hash = '';
  const more = [u.search.slice(1), o.interval && 'interval=' + Math.round(o.interval), o.resume && 'resume='];
  u.search = more.filter(Boolean).join('&');
  return u.href;
}

class Core {
  topics = new Map(); leaving = new Set(); feeds = new Map();
  up = false; // A hello was heard, and the connection has not ended.
  conn = 0; // Number of the connection, from 1.
  lost; // Why there is no connection, if up is false and there was an attempt.
  resume = ''; from = 0; // The newest token of resumption, and the connection that has brought it.
  changed = 0; // Rises whenever a topic comes.
  seen = -1; // Connections are opened for what came after this.
  tries = 0; again = false; blocked = 0;
  ended = false; error; busy = false; session; timer; poked = false; pausing; listening = false;

  constructor(url, options = {}) {
    const o = this.options = {...DEFAULTS, WebSocket: globalThis.WebSocket, ...options};
    if (!o.WebSocket && !o.fallback) throw new TypeError('tickedge: there is no WebSocket here: pass one as an option');
    o.maxBackoff = Math.max(o.maxBackoff, o.minBackoff);
    this.url = endpoint(url, o);
    this.token = new Token(typeof o.token === 'string' ? () => o.token : o.token);
  }

  subscribe(topics, onValue, onState) {
    if (this.ended) throw this.error ?? new Error('tickedge: the client is closed');
    const names = new Set(typeof topics === 'string' ? [topics] : topics);
    if (!names.size) throw new TypeError('tickedge: no topics to subscribe');
    for (const name of names) if (typeof name !== 'string') throw new TypeError('tickedge: a topic is a string');
    const sub = new Subscription(this, onValue, onState);
    for (const name of names) {
      let t = this.topics.get(name);
      if (!t) {
        this.topics.set(name, t = new Topic(name));
        t.told = this.state(t);
        this.changed++;
      }
      sub._add(t);
      sub._put(t.subs.get(sub));
    }
    this.listen(true);
    this.poke();
    return sub;
  }

  left(sub, slots) {
    for (const t of this.topics.size ? [...slots.values()].map((s) => s.topic) : []) {
      t.subs.delete(sub);
      if (t.subs.size || this.topics.get(t.name) !== t) continue;
      this.topics.delete(t.name);
      if (t.phase === ASKED || t.phase === HELD) this.leaving.add(t.name);
    }
    this.poke();
  }

  close() { this.fail(); }

  /** fail ends all subscriptions, and everything that comes later. */
  fail(error) {
    if (this.ended) return;
    this.ended = true;
    this.error = error;
    this.listen(false);
    clearTimeout(this.timer);
    this.pausing?.();
    this.session?.end({code: 1000, reason: 'closed'});
    const subs = new Set([...this.topics.values()].flatMap((t) => [...t.subs.keys()]));
    this.topics.clear();
    for (const s of subs) s._finish(error);
    if (error && this.options.onError) call(this.options.onError, error);
    else if (error) console.error(error);
  }

  /** poke has the client look soon at what is to be done. */
  poke() {
    if (this.poked) return;
    this.poked = true;
    queueMicrotask(() => { this.poked = false; this.work(); });
  }

  work() {
    if (this.ended) return;
    clearTimeout(this.timer);
    if (this.session) {
      const wake = this.session.work();
      if (!this.ended) this.timer = setTimeout(() => this.work(), Math.min(Math.max(wake - now(), 1), 2 ** 30));
    } else if (!this.busy && this.topics.size && this.changed > this.seen) {
      this.busy = true;
      this.connect();
    }
  }

  /** connect opens a connection, serves it to its end, and waits as long as is to be waited then. */
  async connect() {
    const o = this.options;
    // Where WebSockets have never been open the other transport has its turns.
    const other = o.fallback && (!o.WebSocket || this.blocked >= 2);
    let e;
    try {
      const text = await this.token.current(this.again);
      if (this.ended) return;
      this.session = new Session(this, other ? o.fallback : o.WebSocket, text);
      this.poke();
      e = await this.session.ended;
    } catch (error) {
      e = {reason: error.message, lived: 0, fatal: error instanceof ConnError ? error : undefined};
    }
    clearTimeout(this.timer);
    const tried = this.session;
    this.session = undefined;
    if (this.ended) return;
    if (tried && !e.status && !e.lived) this.blocked = other ? 1 : this.blocked + 1;
    if (tried && e.lived && !other) this.blocked = -Infinity;
    if (e.lived >= STABLE) this.tries = 0;
    const v = judge({...e, tries: this.tries++, again: this.again, token: !!o.token && typeof o.token !== 'string'}, o);
    this.again ||= e.lived > 0;
    const unasked = this.drop(v);
    if (v.never) return this.fail(v.never);
    this.seen = v.park && !unasked ? this.changed : -1;
    if (this.seen < 0) await this.pause(v);
    this.busy = false;
    this.poke();
  }

  /** drop forgets the connection. It returns whether there were topics that it had not come to. */
  drop(v) {
    let waiting = false;
    this.up = false;
    this.lost = v;
    if (v.badToken) this.token.bad = v.badToken;
    this.feeds.clear();
    this.leaving.clear();
    for (const t of this.topics.values()) {
      waiting ||= t.phase === UNASKED || t.phase === ASKED;
      t.lose();
      this.review(t);
    }
    return waiting;
  }

  /** pause waits. What the edge has asked for is not cut short by the page. */
  pause({pause, asked}) {
    const offline = globalThis.navigator?.onLine === false, ms = offline ? Math.max(pause, this.options.maxBackoff) : pause;
    return new Promise((done) => {
      let timer = setTimeout(done, ms);
      this.pausing = (hasten) => {
        if (hasten && asked && !offline) return;
        clearTimeout(timer);
        if (hasten) timer = setTimeout(done, Math.min(pause, jitter(this.options.minBackoff)));
        else done();
      };
    }).then(() => { this.pausing = undefined; });
  }

  /** hasten follows from a page that is seen again, or a network that is back, or gone. */
  hasten = (event) => {
    if (event.type === 'visibilitychange' && globalThis.document?.visibilityState !== 'visible') return;
    if (event.type !== 'offline') this.pausing?.(true);
    this.session?.probe();
  };

  listen(on) {
    if (this.listening === on) return;
    this.listening = on;
    const how = on ? 'addEventListener' : 'removeEventListener';
    for (const type of ['online', 'offline']) globalThis[how]?.(type, this.hasten);
    globalThis.document?.[how]?.('visibilitychange', this.hasten);
  }

  resumes(t) { return t.covered && this.resume !== ''; }

  /** state is what subscribers are to be told of a topic now. */
  state(t) {
    const is = (state, reason = '', code = 0) => ({state, reason, code});
    if (t.phase === REFUSED) return is('rejected', t.reason, t.code);
    if (!this.up && this.lost) return is('reconnecting', this.lost.reason, this.lost.code);
    if (t.lost) return is('reconnecting', 'subscribing again');
    if (isDown(this.feeds, t.name)) return is('down', 'the edge has lost the source of the ticks');
    if (t.stale) return is('stale', t.reason, t.code);
    return is(t.fresh ? 'live' : 'waiting');
  }

  /** review tells the subscribers of a topic if its state has changed. */
  review(t) {
    if (!t) return;
    const is = this.state(t), {told} = t;
    if (is.state === told.state && is.code === told.code && is.reason === told.reason) return;
    t.told = is;
    for (const [sub, slot] of t.subs) sub._put(slot);
  }

  reviewAll() { for (const t of this.topics.values()) this.review(t); }
}
