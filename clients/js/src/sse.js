// SPDX-License-Identifier: Apache-2.0

// Edges take 8 KiB of a request's head by default, of which a token and cookies need their part.
const LONGEST = 5000;
const MESSAGE = 1 << 22; // Characters of an event; edges have less.

/**
 * SSESocket has the shape of a WebSocket, and speaks with the edge's /sse: for a client's option `fallback`, where WebSockets
 * can't connect. What is subscribed is the query of a stream; a change opens another one, and closes the old one then.
 */
export class SSESocket {
  static fetch = (...args) => globalThis.fetch(...args);
  static settle = 50; // ms in which further commands go into the same stream.

  readyState = 0;
  onopen = null; onmessage = null; onclose = null; onerror = null;
  #base; #token; #resumable;
  #topics = new Map(); // Name → whether a row of it is held.
  #waiting = []; // Commands that the next stream answers.
  #asked = []; // Those that the one that is being opened answers.
  #resume = ''; #stream; #next; #timer; #bye;

  constructor(url, protocols = []) {
    const u = new URL(url);
    u.protocol = u.protocol.replace('ws', 'http');
    u.pathname = u.pathname.replace(/\/(ws\/?)?$/, '/sse');
    this.#resumable = u.searchParams.has('resume');
    u.searchParams.delete('resume');
    u.searchParams.delete('topics');
    this.#base = u.href;
    this.#token = [].concat(protocols).find((p) => p.startsWith('bearer.'))?.slice(7);
    queueMicrotask(() => {
      if (this.readyState) return;
      this.readyState = 1;
      this.onopen?.({type: 'open'});
      // Streams begin with topics: what the edge says of itself comes with the first one.
      this.#say({t: 'hello', v: 1, early: true});
    });
  }

  send(text) {
    const cmd = JSON.parse(text), {op, id, topics = []} = cmd;
    switch (op) {
      case 'subscribe':
        for (const s of topics) this.#topics.set(s, !!cmd.since);
        if (cmd.since) this.#resume = cmd.since;
        return this.#change(cmd);
      case 'unsubscribe':
        for (const s of topics) this.#topics.delete(s);
        this.#say({t: 'ack', id, op, topics: this.#topics.size}, true);
        return this.#change();
      case 'auth':
        this.#token = cmd.token;
        return this.#change(cmd);
      case 'ping':
        return this.#say({t: 'pong', id}, true);
    }
    this.#say({t: 'error', id, code: 400, reason: 'not over server-sent events'}, true);
  }

  close() { this.#end(1000, ''); }

  #say(m, soon) {
    const say = () => { if (this.readyState < 2) this.onmessage?.({type: 'message', data: JSON.stringify(m)}); };
    if (soon) queueMicrotask(say); else say();
  }

  #end(code, reason, status, after) {
    if (this.readyState === 3) return;
    this.readyState = 3;
    clearTimeout(this.#timer);
    this.#stream?.abort();
    this.#next?.abort();
    // Who closes it itself is told later, as by a WebSocket.
    queueMicrotask(() => this.onclose?.({type: 'close', code, reason, status, after, wasClean: code !== 1006}));
  }

  #change(cmd) {
    if (cmd) this.#waiting.push(cmd);
    this.#timer ??= setTimeout(() => { this.#timer = undefined; this.#open(); }, SSESocket.settle);
  }

  /** cut gives up the topics that a URL has no room for, and returns them. */
  #cut() {
    let room = LONGEST;
    const over = [...this.#topics.keys()].filter((s) => (room -= encodeURIComponent(s).length + 1) < 0);
    for (const s of over) this.#topics.delete(s);
    return over.map((topic) => ({topic, code: 431, reason: 'no room for it in the URL of a stream'}));
  }

  #query() {
    const u = new URL(this.#base), list = (names) => names.map(encodeURIComponent).join(',');
    const names = [...this.#topics.keys()], fresh = list(names.filter((s) => !this.#topics.get(s)));
    let q = u.search + (u.search ? '&' : '?') + 'topics=' + list(names);
    // Without the token all rows come again, which harms nobody.
    if (this.#resumable && this.#resume && q.length + fresh.length < LONGEST + 1000) {
      q += `&resume=${encodeURIComponent(this.#resume)}&fresh=${fresh}`;
    }
    u.search = '';
    return u.href + q;
  }

  async #open() {
    this.#next?.abort();
    const cmds = this.#asked = [...this.#asked, ...this.#waiting.splice(0)];
    if (!this.#topics.size) { // There is no stream without topics.
      this.#stream?.abort();
      this.#stream = undefined;
      this.#next = undefined;
      return this.#answer(cmds.splice(0), {});
    }
    const stream = this.#next = new AbortController(), cut = this.#cut();
    const mine = () => this.readyState < 2 && (this.#next === stream || this.#stream === stream);
    const headers = {Accept: 'text/event-stream'};
    if (this.#token) headers.Authorization = 'Bearer ' + this.#token;
    const held = [];
    try {
      const r = await SSESocket.fetch(this.#query(), {headers, cache: 'no-store', signal: stream.signal});
      if (!mine()) return;
      if (!r.ok) {
        const after = Number.parseInt(r.headers.get('Retry-After') ?? '', 10);
        const {value} = await r.body?.getReader().read() ?? {}; // What is behind it is not waited for.
        const reason = new TextDecoder().decode(value).split('\n')[0].slice(0, 1000) || 'HTTP ' + r.status;
        return mine() && this.#end(1006, reason, r.status, Number.isFinite(after) ? after * 1000 : undefined);
      }
      await read(r.body, (data, id) => {
        if (!mine()) return;
        const m = JSON.parse(data);
        if (this.#next === stream) {
          if (m.t !== 'ack') {
            if (m.t === 'bye') this.#bye = m;
            if (held.push(m) > 16) throw new Error('no ack');
            return;
          }
          this.#stream?.abort();
          this.#stream = stream;
          this.#next = undefined;
          for (const h of held.splice(0)) this.#hear(h);
          this.#answer(cmds.splice(0), {...m, cut});
        } else this.#hear(m);
        if (id && id !== this.#resume && mine()) this.#say({t: 'resume', token: this.#resume = id});
      });
      if (mine()) this.#end(this.#bye?.code ?? 1006, this.#bye?.reason ?? 'the stream has ended', undefined, this.#bye?.retry_ms);
    } catch {
      if (mine()) this.#end(1006, 'the stream failed');
    }
  }

  #hear(m) {
    if (m.t === 'bye') this.#bye = m;
    if (m.t === 'unsubscribed') for (const s of m.topics) this.#topics.delete(s);
    if (m.t === 'snapshot' || m.t === 'update') for (const r of m.d) if (this.#topics.has(r.s)) this.#topics.set(r.s, true);
    this.#say(m);
  }

  #answer(cmds, ack) {
    const rejected = ack.rejected ?? [], names = [...this.#topics.keys()];
    const of = [...rejected.map((r) => ({...r, topic: r.topic ?? names[r.index]})), ...ack.cut ?? []];
    const asked = new Set(cmds.flatMap(({op, topics}) => op === 'auth' ? names : topics));
    for (const {op, id, topics} of cmds) {
      const m = {t: 'ack', id, op, topics: ack.topics ?? 0};
      m.rejected = op === 'auth' ? of : of.filter((r) => topics.includes(r.topic));
      if (ack.resumed !== undefined) m.resumed = ack.resumed;
      this.#say(m);
    }
    for (const {topic, reason} of of) {
      this.#topics.delete(topic);
      // One that the stream before had.
      if (!asked.has(topic)) this.#say({t: 'unsubscribed', topics: [topic], reason});
    }
  }
}

/** read parses a stream as the HTML standard says, and calls on with each event's data and the last id. */
export async function read(body, on) {
  const reader = body.getReader(), decoder = new TextDecoder();
  let rest = '', data = [], size = 0, id = '', cr = false;
  const line = (text) => {
    if (text === '') {
      if (data.length) on(data.join('\n'), id);
      data = [];
      size = 0;
      return;
    }
    const colon = text.indexOf(':'), field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? '' : text.slice(colon + 1).replace(/^ /, '');
    if (field === 'data') {
      data.push(value);
      size += value.length + 1;
    }
    if (field === 'id' && !value.includes('\0')) id = value;
  };
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return;
    let text = decoder.decode(value, {stream: true});
    if (!text) continue;
    if (cr && text[0] === '\n') text = text.slice(1);
    cr = text.endsWith('\r');
    const lines = (rest + text).split(/\r\n|\r|\n/);
    rest = lines.pop();
    for (const l of lines) line(l);
    if (rest.length + size > MESSAGE) throw new Error('an event without end');
  }
}
