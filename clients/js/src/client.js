// SPDX-License-Identifier: Apache-2.0

const MIN = 1000, MAX = 30000; // pauses in milliseconds
const fatal = (code) => [1002, 1003, 1007, 1008, 1009].includes(code) || (code >= 4500 && code <= 4999);

/** Client keeps one WebSocket to an edge, over which all its subscribers share one subscription of each topic. */
export class Client {
  #url; #WS; #ws = null; #topics = new Map(); #tries = 0; #timer = 0; #retry; #closed = false; #open = false;

  constructor(url, {WebSocket = globalThis.WebSocket} = {}) {
    if (!WebSocket) throw new TypeError('there is no WebSocket here: pass one');
    this.#url = url; this.#WS = WebSocket;
  }

  /** subscribe calls cb with each newer row of the topics, and at once with those that are held. */
  subscribe(topics, cb) {
    if (this.#closed) throw new Error('the client is closed');
    const mine = new Set(topics), sub = {cb}, fresh = [];
    for (const s of mine) {
      let t = this.#topics.get(s);
      if (!t) { this.#topics.set(s, t = {row: null, subs: new Set()}); fresh.push(s); }
      t.subs.add(sub);
      if (t.row) cb(t.row);
    }
    if (this.#open) this.#send('subscribe', fresh); else this.#connect();
    return {unsubscribe: () => {
      const gone = [];
      for (const s of mine) {
        const t = this.#topics.get(s);
        if (t?.subs.delete(sub) && !t.subs.size) { this.#topics.delete(s); gone.push(s); }
      }
      if (this.#open) this.#send('unsubscribe', gone);
    }};
  }

  close() {
    this.#closed = true; clearTimeout(this.#timer); this.#topics.clear(); this.#ws?.close(1000);
  }

  #send(op, topics) { if (topics.length) this.#ws.send(JSON.stringify({op, topics})); }

  #connect() {
    if (this.#ws || this.#timer || this.#closed || !this.#topics.size) return;
    const ws = this.#ws = new this.#WS(this.#url);
    ws.onopen = () => { this.#open = true; this.#send('subscribe', [...this.#topics.keys()]); };
    ws.onmessage = (e) => this.#hear(JSON.parse(e.data));
    ws.onerror = () => {};
    ws.onclose = (e) => {
      this.#ws = null; this.#open = false;
      if (fatal(e.code)) this.#closed = true;
      if (this.#closed) return;
      const pause = this.#retry ?? Math.random() * Math.min(MAX, MIN * 2 ** this.#tries++);
      this.#retry = undefined;
      this.#timer = setTimeout(() => { this.#timer = 0; this.#connect(); }, pause);
    };
    for (const t of this.#topics.values()) t.n = undefined; // n counts within one connection
  }

  #hear(m) {
    if (m.t === 'hello') this.#tries = 0;
    if (m.t === 'bye') this.#retry = m.retry_ms;
    if (m.t !== 'snapshot' && m.t !== 'update') return;
    for (const row of m.d) {
      const t = this.#topics.get(row.s);
      if (!t || t.n === row.n) continue; // a row may come twice with the same n
      t.n = row.n; t.row = row;
      for (const sub of t.subs) sub.cb(row);
    }
  }
}
