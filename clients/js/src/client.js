// SPDX-License-Identifier: Apache-2.0

import {ConnError, STABLE, jitter, judge, now} from './retry.js';
import {Session} from './session.js';
import {Subscription, call} from './subscription.js';
import {Token} from './token.js';
import {ASKED, HELD, REFUSED, Topic, UNASKED, isDown} from './topic.js';

export {ConnError};

/** Client is one connection to an edge, kept open, and what was asked for on it. It connects with the first subscription. */
export class Client {
  constructor(url, options) { this._core = new Core(url, options); }

  /**
   * subscribe asks for topics. onValue is called with each newer value, onState with each change of a topic's state; without
   * both the subscription is an async iterator. Names that an edge does not take come with the state 'rejected'.
   */
  subscribe(topics, onValue, onState) { return this._core.subscribe(topics, onValue, onState); }

  /** What ended the client (a ConnError), or undefined. */
  get error() { return this._core.error; }

  /** Whether there is a connection. */
  get connected() { return !!this._core.session?.greeted; }

  /** The least time between two updates of a topic, in ms. Another one is asked of the edge at once. */
  get interval() { return this._core.options.interval; }
  set interval(ms) { this._core.every(ms); }

  /** close ends all subscriptions and the connection. Twice is no error. */
  close() { this._core.fail(); }
}

function endpoint(url, o) {
  const u = new URL(url, globalThis.location?.href);
  u.protocol = u.protocol.replace('http', 'ws');
  if (!u.protocol.startsWith('ws')) throw new TypeError('tickedge: want wss://host/ws');
  const {interval = 100} = o;
  if (!(interval >= 100 && interval <= 60_000)) throw new RangeError('tickedge: want 100 to 60000 ms');
  if (u.pathname === '/') u.pathname = '/ws';
  u.hash = '';
  if (o.interval) u.searchParams.append('interval', interval);
  if (o.resume) u.searchParams.append('resume', '');
  return u.href;
}

class Core {
  topics = new Map(); leaving = new Set(); feeds = new Map();
  conn = 0; // Number of the connection, from 1.
  // lost: why there is no connection, from the first attempt on.
  resume = ''; from = 0; // The newest token of resumption, and the connection that has brought it.
  parked = false; // No connection is opened before there are other topics.
  tries = 0; again = false; blocked = 0;
  ended = false; busy = false; poked = false;
  // Beside these, where there is one: error, session, timer, waiting, pausing, and screens, which ./screens puts here.

  constructor(url, options = {}) {
    const {WebSocket = globalThis.WebSocket, token, handshakeTimeout = 10_000, resume = true} = options;
    const {minBackoff = 1000, maxBackoff = 30_000} = options;
    this.options = {...options, WebSocket, handshakeTimeout, minBackoff, maxBackoff, resume};
    if (!WebSocket && !options.fallback) throw new TypeError('tickedge: no WebSocket here');
    this.at = url;
    this.every(options.interval);
    this.renewable = typeof token === 'function';
    this.token = new Token(token && !this.renewable ? () => token : token);
  }

  every(interval) {
    interval &&= Math.round(interval);
    this.url = endpoint(this.at, {...this.options, interval});
    this.options.interval = interval;
    if (this.session) this.session.pace = interval;
    this.poke();
  }

  /** tell tells of the connection, and why the one before was lost. */
  tell(state, pause) { call(this.options.onConnection, {...this.lost, state, pause}); }

  subscribe(topics, onValue, onState) {
    if (this.ended) throw this.error ?? new Error('tickedge: the client is closed');
    const names = new Set(typeof topics === 'string' ? [topics] : topics);
    if (!names.size) throw new TypeError('tickedge: no topics');
    for (const name of names) if (typeof name !== 'string') throw new TypeError('tickedge: a topic is a string');
    const sub = new Subscription(this, onValue, onState);
    for (const name of names) {
      let t = this.topics.get(name);
      if (!t) {
        this.topics.set(name, t = new Topic(name));
        t.told = this.state(t);
        this.parked &&= t.phase !== UNASKED;
      }
      sub._add(t);
    }
    this.poke();
    return sub;
  }

  left(sub, slots) {
    for (const {topic: t} of slots.values()) {
      t.subs.delete(sub);
      if (t.subs.size || this.ended) continue;
      this.topics.delete(t.name);
      if (t.phase === ASKED || t.phase === HELD) this.leaving.add(t.name);
    }
    this.poke();
  }

  /** fail ends all subscriptions, and everything that comes later. */
  fail(error) {
    if (this.ended) return;
    this.ended = true;
    this.error = error;
    this.listen(false);
    clearTimeout(this.timer);
    this.token.stop?.abort();
    clearTimeout(this.waiting);
    this.session?.end({});
    for (const t of this.topics.values()) for (const sub of t.subs.keys()) sub._finish(error);
    if (error) call(this.options.onError ?? console.error, error);
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
    this.listen(this.session || this.topics.size);
    if (this.session) {
      const wake = this.session.work();
      if (!this.ended) this.timer = setTimeout(() => this.work(), Math.min(wake - now(), 2 ** 30));
    } else if (!this.busy && this.topics.size && !this.parked) {
      this.busy = true;
      this.connect();
    }
  }

  /** connect opens a connection, serves it to its end, and waits as long as is to be waited then. */
  async connect() {
    const o = this.options;
    // Where WebSockets have never been open the other transport has its turns.
    const other = o.fallback && (!o.WebSocket || this.blocked >= 2);
    let e, tried;
    this.tell('connecting');
    try {
      const text = await this.token.current(this.again);
      if (this.ended) return;
      tried = true;
      this.session = new Session(this, other ? o.fallback : o.WebSocket, text);
      this.poke();
      e = await this.session.ended;
    } catch (error) {
      e = {reason: error.message, fatal: error instanceof ConnError ? error : undefined};
    }
    clearTimeout(this.timer);
    this.session = undefined;
    if (this.ended) return;
    if (e.lived) this.blocked = other ? 2 : -Infinity;
    else if (tried && !e.status) this.blocked = other ? 1 : this.blocked + 1;
    if (e.lived >= STABLE) this.tries = 0;
    const v = judge({...e, tries: this.tries++, again: this.again, token: this.renewable}, o);
    this.again ||= e.lived > 0;
    const unasked = this.drop(v);
    if (v.never) return this.fail(v.never);
    this.parked = v.park && !unasked;
    if (!this.parked) await this.pause(v);
    this.busy = false;
    if (this.parked || !this.topics.size) this.tell('idle');
    this.poke();
  }

  /** drop forgets the connection. It returns whether there were topics that it had not come to. */
  drop(v) {
    let waiting = false;
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
    const {minBackoff, maxBackoff} = this.options, offline = globalThis.navigator?.onLine === false;
    return new Promise((done) => {
      const wait = (ms) => {
        clearTimeout(this.waiting);
        this.waiting = setTimeout(() => { this.pausing = undefined; done(); }, ms);
        this.tell('waiting', ms);
      };
      this.pausing = () => asked && !offline || wait(Math.min(pause, jitter(minBackoff)));
      wait(offline ? Math.max(pause, maxBackoff) : pause);
    });
  }

  /** hasten follows from a page that is seen again, or a network that is back, or gone. */
  hasten = ({type}) => {
    if (type === 'visibilitychange' && document.hidden) return;
    if (type !== 'offline') this.pausing?.();
    this.session?.probe();
  };

  /** listen is while there is something to be told of. Adding or removing twice is no error. */
  listen(on) {
    const how = on ? 'addEventListener' : 'removeEventListener';
    for (const type of ['online', 'offline', 'visibilitychange']) globalThis[how]?.(type, this.hasten);
  }

  resumes(t) { return t.covered && this.resume !== ''; }

  /** state is what subscribers are to be told of a topic now: state, reason and code. */
  state(t) {
    const {lost} = this;
    if (t.phase === REFUSED) return ['rejected', t.reason, t.code];
    if (lost) return ['reconnecting', lost.reason, lost.code];
    if (isDown(this.feeds, t.name)) return ['down', 'the source is lost', 0];
    return t.stale ? ['stale', t.reason, t.code] : [t.fresh ? t.value === null ? 'delisted' : 'live' : 'waiting', '', 0];
  }

  /** review tells the subscribers of a topic if its state has changed. */
  review(t) {
    const is = this.state(t);
    if ('' + is === '' + t.told) return;
    t.told = is;
    for (const [sub, slot] of t.subs) sub._put(slot);
  }

  reviewAll() { for (const t of this.topics.values()) this.review(t); }
}
