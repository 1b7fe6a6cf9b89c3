// SPDX-License-Identifier: Apache-2.0

import {STABLE, jitter, judge, now} from './retry.js';

const DEFAULTS = {minBackoff: 1000, maxBackoff: 30_000, handshakeTimeout: 10_000, maxEnqueuedMessages: 1000, startClosed: false};

const event = (type, of = {}) => Object.assign(new Event(type), of);

/** closing is a CloseEvent, where there is none too. */
const closing = (code, reason, wasClean) => event('close', {code, reason, wasClean});

/**
 * ReconnectingWebSocket is a WebSocket that opens itself again, by the edge's close codes and `retry_ms`. It is for pages that
 * speak the protocol themselves, and fits in where `reconnecting-websocket` does. Nothing is subscribed again by itself: that
 * is for the `open` listener.
 */
export class ReconnectingWebSocket extends EventTarget {
  static CONNECTING = 0; static OPEN = 1; static CLOSING = 2; static CLOSED = 3;
  CONNECTING = 0; OPEN = 1; CLOSING = 2; CLOSED = 3;
  onopen = null; onmessage = null; onclose = null; onerror = null;
  #url; #protocols; #o; #ws; #queue = []; #tries = -1; #timer;
  #over = false; #again = false; #opened = 0; #after; #binary = 'blob';

  constructor(url, protocols = [], options = {}) {
    super();
    this.#url = url; this.#protocols = protocols;
    this.#o = {...DEFAULTS, WebSocket: globalThis.WebSocket, ...options};
    if (!this.#o.WebSocket) throw new TypeError('tickedge: there is no WebSocket here: pass one as an option');
    if (this.#o.startClosed) this.#over = true; else this.#connect();
  }

  /** The state of the present WebSocket; CONNECTING between two of them, CLOSED when none follows. */
  get readyState() { return this.#over ? (this.#ws ? 2 : 3) : this.#ws?.readyState === 1 ? 1 : 0; }
  get url() { return this.#ws?.url ?? ''; }
  get protocol() { return this.#ws?.protocol ?? ''; }
  get extensions() { return this.#ws?.extensions ?? ''; }
  get bufferedAmount() { return this.#queue.reduce((n, m) => n + (m.byteLength ?? m.size ?? m.length), this.#ws?.bufferedAmount ?? 0); }
  get retryCount() { return Math.max(this.#tries, 0); }
  get binaryType() { return this.#binary; }
  set binaryType(type) { this.#binary = type; if (this.#ws) this.#ws.binaryType = type; }

  /** send sends, or keeps for the next connection as many messages as maxEnqueuedMessages says; those beyond are dropped. */
  send(data) {
    if (this.readyState === 1) this.#ws.send(data);
    else if (this.#queue.length < this.#o.maxEnqueuedMessages) this.#queue.push(data);
  }

  /** close closes for good, until reconnect. */
  close(code = 1000, reason = '') {
    this.#over = true;
    clearTimeout(this.#timer);
    if (this.#ws) this.#ws.close(code, reason);
  }

  /** reconnect opens a new connection at once. */
  reconnect(code = 1000, reason = '') {
    clearTimeout(this.#timer);
    this.#over = false;
    this.#tries = -1;
    const old = this.#ws;
    if (old) {
      this.#detach(old);
      old.close(code, reason);
      this.#emit(closing(code, reason, true));
    }
    this.#connect();
  }

  #emit(e) {
    try { this['on' + e.type]?.(e); } catch (error) { (globalThis.reportError ?? console.error)(error); }
    this.dispatchEvent(e);
  }

  #detach(ws) {
    clearTimeout(this.#timer);
    ws.onopen = ws.onmessage = ws.onclose = null;
    ws.onerror = () => {};
    this.#ws = undefined;
  }

  async #connect() {
    const get = async (x) => typeof x === 'function' ? x() : x;
    this.#tries++;
    this.#opened = 0;
    this.#after = undefined;
    const late = () => this.#end(undefined, closing(1006, 'the handshake takes too long', false));
    const attempt = this.#timer = setTimeout(late, this.#o.handshakeTimeout);
    let ws;
    try {
      const [url, protocols] = await Promise.all([get(this.#url), get(this.#protocols)]);
      if (this.#over || this.#timer !== attempt) return;
      ws = this.#ws = new this.#o.WebSocket(url, protocols);
    } catch (error) {
      if (this.#timer === attempt) this.#end(undefined, closing(1006, String(error?.message ?? error), false));
      return;
    }
    ws.binaryType = this.#binary;
    ws.onopen = () => {
      clearTimeout(attempt);
      this.#opened = now();
      this.#again = true;
      for (const m of this.#queue.splice(0)) ws.send(m);
      this.#emit(event('open'));
    };
    ws.onmessage = (e) => {
      if (typeof e.data === 'string' && e.data.startsWith('{"t":"bye"')) {
        try { this.#after = JSON.parse(e.data).retry_ms; } catch { /* Not ours. */ }
      }
      this.#emit(event('message', {data: e.data}));
    };
    ws.onerror = (e) => {
      this.#emit(event('error', {message: e.message}));
      // Where the page may open none, no close follows.
      setTimeout(() => { if (this.#ws === ws && ws.readyState === 3) this.#end(ws, closing(1006, '', false)); });
    };
    ws.onclose = (e) => this.#end(ws, closing(e.code, e.reason, e.wasClean));
  }

  #end(ws, e) {
    const old = this.#ws;
    if (old && (!ws || ws === old)) {
      this.#detach(old);
      if (!ws) old.close();
    }
    clearTimeout(this.#timer);
    if (!this.#over) {
      const lived = this.#opened && Math.max(now() - this.#opened, 1);
      if (lived >= STABLE) this.#tries = 0;
      const {code, reason} = e;
      const v = judge({code, reason, lived, again: this.#again, tries: this.#tries, after: this.#after}, this.#o, jitter);
      // Closed as idle, or in order by the other side: it is for the page to call reconnect.
      if (v.never || v.park || e.code === 1000) this.#over = true;
      else this.#timer = setTimeout(() => this.#connect(), v.pause);
    }
    this.#emit(e);
  }
}

export default ReconnectingWebSocket;
