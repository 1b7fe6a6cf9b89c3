// SPDX-License-Identifier: Apache-2.0

import {jitter} from './retry.js';

const LATE = 3_600_000; // How late a trade may be that changes a bar, see docs/MARKETDATA.md.
const REFRESH = 4000; // The most time before bars are fetched that were changed. All pages learn of it at once.
const AGAIN = [1000, 30_000]; // The pause before a fetch that failed is made again, and the longest one.
const MAX = 50_000; // Bars that are kept.

/** HistoryError is an answer of the history that would be the same again. */
export class HistoryError extends Error {
  constructor(reason, status) { super(reason); this.name = 'HistoryError'; this.reason = reason; this.status = status; }
}

/** candles returns the bars of a symbol, those of the past and the one that is open, and keeps them current. */
export function candles(client, symbol, tf, options) { return new Candles(client, symbol, tf, options); }

/**
 * Candles are the bars of one symbol and interval in the order of their starts. History and subscription overlap, and a bar
 * is known by its start, so none is there twice. Where what came by the subscription does not reach back to what is known,
 * and where closed bars were revised, history is asked for the rest.
 */
export class Candles {
  bars = []; // The last one is open if `open` holds.
  open = false;
  state = 'waiting'; // Of the subscription.
  error; // What the last fetch failed with, undefined once one came through.
  more = false; // There may be older bars: see older.
  #o; #sub; #url; #cursor; #ver = 0; #revs; #stop = new AbortController(); #timer; #due = Infinity; #from; #tries = 0; #busy; #ready = false; #held;
  #opened; // The start of the oldest bar that was open when it was last told: later ones were told in full, or are asked for.

  constructor(client, symbol, tf, options = {}) {
    const {history = '/history', limit = 500} = options;
    this.symbol = symbol;
    this.tf = tf;
    this.#o = {fetch: globalThis.fetch.bind(globalThis), ...options, limit};
    this.#url = new URL(`${history}/${encodeURIComponent(symbol)}`, globalThis.location?.href);
    this.#url.searchParams.set('tf', tf);
    this.#sub = client.subscribe([`kline:${tf}:${symbol}`], (u) => this.#value(u), (u) => this.#state(u));
    this.#sub.closed.then((e) => { if (e) this.#fail(e); });
    this.#ask(undefined, 0);
  }

  /** close ends the subscription and what is being fetched. Nothing is called any more. Twice is no error. */
  close() {
    this.#stop.abort();
    clearTimeout(this.#timer);
    this.#sub.unsubscribe();
  }

  /** older fetches the page before the first bar. It resolves to how many bars came, and rejects as fetch does. */
  async older() {
    if (!this.more || this.#cursor === undefined || this.bars.length >= MAX) return 0;
    const cursor = this.#cursor, a = await this.#get({before: cursor});
    if (cursor !== this.#cursor) return 0; // Another call was faster, or all was fetched anew.
    const before = this.bars.length;
    for (const b of a.bars) this.#put(b);
    this.#page(a);
    this.#changed();
    return this.bars.length - before;
  }

  #page(a) {
    this.#cursor = a.next ?? undefined;
    this.more = this.#cursor !== undefined;
  }

  #state(u) {
    this.state = u.state;
    if (u.code && u.state === 'rejected') this.#fail(new HistoryError(u.reason, u.code));
    this.#changed();
  }

  #value(u) {
    const v = u.value;
    this.state = u.state;
    if (!v || v.tf !== this.tf) return this.#changed();
    if (!this.#ready) { this.#held = v; return; }
    this.#live(v);
    this.#changed();
  }

  /** live takes what came by the subscription: the bars that were closed last, and those that are open. */
  #live(v) {
    if (v.ver <= this.#ver) return;
    const {bars} = this, last = bars.at(-1), known = last && (this.open ? bars.at(-2) : last);
    const closed = v.closed ?? [], open = [...v.closing ?? [], ...v.bar ? [v.bar] : []], all = [...closed, ...open];
    if (!all.length) return;
    const from = last && Math.min(last.t, this.#opened ?? Infinity); // Bars from there on may have changed since.
    if (last ? from < all[0].t : closed.length > 1) this.#ask(last && Math.min(from, known?.t ?? from), 0); // It does not reach back: bars between are missing.
    if (v.revs !== this.#revs) this.#ask(Math.min(all.at(-1).t - LATE, known?.t ?? Infinity) - span(this.tf), jitter(REFRESH));
    this.#revs = v.revs;
    this.#ver = v.ver;
    for (const b of all) this.#put(b, true);
    this.#opened = open[0]?.t;
    this.open = open.length > 0 && this.bars.at(-1).t === open.at(-1).t;
  }

  /** put sets the bar of a start. Of two of the history the one with more trades counts, and then the one that was revised more often. */
  #put(b, newest) {
    const {bars} = this;
    let i = bars.length;
    while (i > 0 && bars[i - 1].t > b.t) i--;
    const old = bars[i - 1];
    if (old?.t !== b.t) {
      bars.splice(i, 0, b);
      if (bars.length > MAX) bars.shift();
    } else if (newest || b.n > old.n || b.n === old.n && (b.rev ?? 0) >= (old.rev ?? 0)) {
      bars[i - 1] = b;
    }
  }

  /** ask has history fetched from a start, or its newest page, in so many ms at most. */
  #ask(from, ms) {
    if (this.#stop.signal.aborted) return;
    this.#from = this.#due === Infinity ? from : this.#from === undefined || from === undefined ? undefined : Math.min(this.#from, from);
    const due = Date.now() + ms;
    if (due >= this.#due) return;
    this.#due = due;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fetch(), ms);
  }

  async #fetch() {
    if (this.#busy) { this.#timer = setTimeout(() => this.#fetch(), 100); return; }
    const from = this.#from;
    this.#due = Infinity;
    this.#busy = true;
    try {
      const a = await this.#get(from === undefined ? {} : {from});
      this.#take(a, from);
      this.#tries = 0;
      this.error = undefined;
    } catch (e) {
      if (this.#stop.signal.aborted) return;
      this.error = e;
      if (e instanceof HistoryError && e.status !== 429 && e.status < 500) this.#fail(e);
      else this.#ask(from, Math.max(e.after ?? 0, jitter(Math.min(AGAIN[0] * 2 ** this.#tries++, AGAIN[1]))));
    } finally {
      this.#busy = false;
    }
    this.#changed();
  }

  #take(a, from) {
    const first = a.bars[0]?.t;
    // The newest page of all, or one that does not reach back to what is known: what was known before it is fetched again by who wants it.
    if (from === undefined || a.next && first > from && this.bars.some((b) => b.t < first)) {
      this.bars = this.bars.filter((b) => b.t > (a.bars.at(-1)?.t ?? -Infinity)); // What was told meanwhile.
      this.#page(a);
    }
    for (const b of a.bars) this.#put(b);
    if (a.open && (a.ver ?? 0) >= this.#ver) {
      this.#put(a.open);
      this.#opened = a.open.t;
      this.open = this.bars.at(-1).t === a.open.t;
      this.#ver = a.ver ?? 0;
      this.#revs = a.revs;
    }
    this.#ready = true;
    const held = this.#held;
    this.#held = undefined;
    if (held) { this.#revs ??= held.revs; this.#live(held); }
  }

  async #get(params) {
    const {fetch, token, limit} = this.#o, u = new URL(this.#url), headers = {accept: 'application/json'};
    // Bars that were revised are never cut off: there are so many in the time in which trades may come late.
    u.searchParams.set('limit', params.from === undefined ? limit : 5000);
    for (const [k, v] of Object.entries(params)) u.searchParams.set(k, v);
    const text = typeof token === 'function' ? await token(this.#stop.signal) : token;
    if (text) headers.authorization = `Bearer ${text}`;
    const r = await fetch(u, {headers, signal: AbortSignal.any([this.#stop.signal, AbortSignal.timeout(20_000)])});
    if (r.ok) return r.json();
    const said = await r.json().catch(() => ({}));
    const e = new HistoryError(said.detail ?? said.reason ?? `the history answers ${r.status}`, r.status);
    e.after = 1000 * (Number(r.headers.get('retry-after')) || 0);
    throw e;
  }

  #fail(e) {
    this.error = e;
    if (!this.#stop.signal.aborted) this.#o.onError?.(e);
  }

  #changed() { if (!this.#stop.signal.aborted) this.#o.onChange?.(this); }
}

/** span is how long a bar is, in ms. */
export function span(tf) { return parseInt(tf, 10) * {s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000}[tf.at(-1)]; }
