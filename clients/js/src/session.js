// SPDX-License-Identifier: Apache-2.0

import {ConnError, LONGEST, now} from './retry.js';
import {ASKED, HELD, REFUSED, UNASKED, bytes} from './topic.js';

// What the client asks of the edge stays below what an edge allows by default: 20 commands a second and 40 at once, where
// long ones count as several. As many names as one command may have fit into the 20 KiB that a message may have.
const RATE = 15, BURST = 30, NAMES = 256, PENDING = 16;
const ANSWER = 60_000; // ms; an edge that does not answer a command for that long is taken for broken.
const RESUME = 1 << 10; // Characters of the longest token of resumption that is kept.
const PROBE = 5000; // ms for a sign of life that was asked for.

const spread = (ms) => now() + ms * (1 + Math.random());
const LATER = 120_000; // ms
const list = (x) => Array.isArray(x) ? x : [];
const passing = ({code}) => code === 429 || code === 503;

/** Session is one connection. */
export class Session {
  pending = new Map(); // id → command, with the time at which it was sent.
  credit = BURST; credited = now();
  lastID = 0; pauseUntil = 0; greeted = 0; maxTopics = Infinity; heard = now(); due = Infinity;
  fresh = ''; probed = false;
  ready = false; // For commands.
  // Beside these, where there is one: pace, status, bye, over.

  constructor(core, WS, token) {
    this.core = core;
    this.ended = new Promise((r) => { this.finish = r; });
    this.patience = core.options.handshakeTimeout;
    this.renewAt = now() + core.token.lead();
    const ws = this.ws = token ? new WS(core.url, ['tickedge.v1', 'bearer.' + token]) : new WS(core.url);
    ws.onmessage = (e) => this.hear(e.data);
    ws.onerror = ({message}) => {
      this.status = +/response: (\d{3})/.exec(message)?.[1];
      if (ws.readyState === 3) this.end({}); // Where the page may open none, no close follows.
    };
    ws.onclose = (e) => this.end(e);
  }

  end({code, reason, status, after, fatal, silent}) {
    if (this.over) return;
    this.over = true;
    const {ws, bye} = this;
    ws.onmessage = ws.onclose = ws.onerror = () => {};
    // A close frame would not be answered by who is silent.
    if (silent && ws.terminate) ws.terminate(); else ws.close();
    status ||= this.status || 0;
    this.finish({
      code: bye?.code || code, status, fatal, after: bye?.retry_ms ?? after,
      reason: reason || bye?.reason || (status ? 'refused' : 'the connection ended'),
      lived: this.greeted && Math.max(now() - this.greeted, 1),
    });
  }

  hear(data) {
    this.heard = now();
    this.probed = false;
    try {
      const m = JSON.parse(data);
      if (!this.ready && m.t !== 'hello' && m.t !== 'bye') throw 0;
      this.handle(m);
    } catch {
      this.end({reason: 'malformed'});
    }
    this.core.poke();
  }

  handle(m) {
    const c = this.core;
    switch (m.t) {
      case 'hello': return this.hello(m);
      case 'snapshot': case 'update':
        for (const r of m.d) this.row(r, m.ts);
        break;
      case 'ack': case 'error': return this.answer(m);
      case 'feed': {
        const of = String(m.topics ?? '');
        if (c.feeds.size < 256 || c.feeds.has(of)) c.feeds.set(of, m.state === 'down');
        return c.reviewAll();
      }
      case 'stale': case 'unsubscribed':
        for (const name of list(m.topics)) {
          const t = c.topics.get(name);
          if (t?.phase !== HELD) continue;
          if (m.t === 'stale') Object.assign(t, {stale: true, code: m.code || 0, reason: m.reason || ''});
          else t.refuse(0, m.reason, spread(LATER));
          c.review(t);
        }
        break;
      case 'resume':
        // The last one is the one to show, and nothing if it can't be.
        c.resume = m.token?.length <= RESUME ? m.token : '';
        c.from = c.conn;
        for (const t of c.topics.values()) t.covered = t.conn > 0 && t.phase === HELD;
        break;
      case 'bye':
        this.bye = m;
        this.patience = Math.min(this.patience, PROBE);
        break;
      default: c.screens?.hear(m);
    }
  }

  hello(m) {
    const c = this.core;
    if (m.v !== 1) return this.end({fatal: new ConnError('the edge speaks another version')});
    this.ready = true;
    if (m.early) return; // Of a transport that hears of the edge later.
    this.patience = Math.min(+m.heartbeat || LONGEST, LONGEST) * 2.25 + 1000;
    this.maxTopics = +m.max_topics || Infinity;
    this.greeted ||= now();
    c.conn++; // n counts from here.
    c.lost = undefined;
    c.tell('connected');
    c.reviewAll();
  }

  row(r, at) {
    const c = this.core, t = c.topics.get(r.s);
    if (!t || t.phase !== ASKED && t.phase !== HELD) return;
    const here = t.conn === c.conn;
    // Over a reconnect n says nothing, and the same value is none that anybody waits for.
    const same = here ? t.n === r.n : t.conn && JSON.stringify(t.value) === JSON.stringify(r.v);
    const missed = Math.max(here && r.n - t.n - 1, 0);
    // What the token stands for was seen by the edge that gave it. Another one's value may be older than that.
    t.covered &&= c.from === c.conn;
    Object.assign(t, {value: r.v, n: r.n, at, conn: c.conn, fresh: true, stale: false});
    if (!same) {
      for (const [sub, slot] of t.subs) {
        slot.conflated += missed + slot.fresh; // The value before this one may not have been taken.
        slot.fresh = r.v !== null; // Else it is delisted, which is told by the state.
        slot.conflated *= slot.fresh;
        sub._put(slot);
      }
    }
    c.review(t);
  }

  answer(m) {
    const c = this.core, cmd = this.pending.get(m.id);
    if (!cmd) return;
    this.pending.delete(m.id);
    const {op} = cmd, bad = m.t === 'error', passes = bad && passing(m), asked = list(cmd.topics).map((s) => c.topics.get(s));
    if (passes) {
      this.pauseUntil = this.soon();
      if (op === 'interval') this.pace ||= cmd.ms;
    }
    cmd.told?.(m);
    if (op === 'auth') {
      if (!bad) c.token.set(cmd.token);
      this.renewAt = now() + (bad ? c.token.after() : c.token.lead());
      // What the old one did not allow may be allowed by this one.
      if (!bad) for (const t of c.topics.values()) if (t.phase === REFUSED && t.code === 403) t.again();
    }
    // Those that are wanted again are asked for behind it: while they are held the edge would send no snapshot.
    for (const name of op === 'unsubscribe' && passes ? cmd.topics : []) {
      c.leaving.add(name);
      c.topics.get(name)?.again();
    }
    for (const t of op === 'subscribe' ? asked : []) {
      if (t?.phase !== ASKED || t.id !== cmd.id) continue;
      if (!bad) {
        t.phase = HELD;
        t.fresh ||= cmd.since && m.resumed;
      } else if (passes) t.phase = UNASKED;
      else t.refuse(m.code, m.reason);
    }
    for (const r of list(m.rejected)) {
      const t = r.topic === undefined ? asked[r.index] : c.topics.get(r.topic);
      if (!t || op === 'subscribe' && t.id !== cmd.id) continue;
      t.refuse(r.code, r.reason, passing(r) ? this.soon() : r.code === 413 && spread(LATER));
    }
    c.reviewAll();
  }

  soon() { return spread(3 * this.core.options.minBackoff); }

  /** probe has the edge give a sign of life. late says that this side was stopped, and what has come is still to be read. */
  probe(late) {
    if (this.probed || this.over || !this.ready && !late) return;
    const t = now(), heard = t - this.patience + PROBE;
    this.probed = true;
    this.heard = late ? heard : Math.min(this.heard, heard);
    if (this.ready && this.pay(1, t)) this.ws.send('{"op":"ping"}');
    this.core.poke();
  }

  /** work writes what is to be written, and returns when to look again. */
  work() {
    const t = now();
    if (t >= this.heard + this.patience) {
      if (t > this.due + 2000 && !this.probed) this.probe(true);
      else this.end({reason: 'the edge is silent', silent: true});
    }
    this.renew(t);
    let wake = 0;
    while (!this.over && !(wake = this.plan(t)));
    return this.due = Math.min(wake, this.heard + this.patience);
  }

  /** plan writes the next command and returns 0, or returns when to look again. */
  plan(t) {
    let wake = this.renewAt;
    const [first] = this.pending.values();
    if (first) {
      wake = Math.min(wake, first.at + ANSWER);
      if (t >= first.at + ANSWER) this.end({reason: 'the edge does not answer', silent: true});
    }
    if (this.over || !this.ready || this.pending.size >= PENDING || this.bye) return wake;
    if (t < this.pauseUntil) return Math.min(wake, this.pauseUntil);
    const [cmd, at] = this.next(t);
    if (!cmd) return Math.min(wake, at);
    cmd.id = this.lastID + 1;
    const text = JSON.stringify(cmd), cost = 1 + (list(cmd.topics).length >> 5) + (bytes(text) >> 11);
    const charge = cmd.op === 'auth' ? BURST : Math.min(cost, BURST);
    if (!this.pay(charge, t)) return Math.min(wake, t + (charge - this.credit) / RATE * 1000 + 1);
    this.written(cmd, t);
    this.ws.send(text);
    return 0;
  }

  /** next chooses a command: what is left behind first, so that it comes back with a snapshot. */
  next(t) {
    const c = this.core, due = [];
    if (this.fresh) return [{op: 'auth', token: this.fresh}];
    if (this.pace) return [{op: 'interval', ms: this.pace}];
    if (c.leaving.size) return [{op: 'unsubscribe', topics: [...c.leaving].slice(0, NAMES)}];
    let wake = Infinity, room = this.maxTopics;
    for (const x of c.topics.values()) {
      if (x.phase === ASKED || x.phase === HELD) room--;
      else if (x.phase === REFUSED && !x.retryAt) continue;
      else if (x.retryAt > t) wake = Math.min(wake, x.retryAt);
      else due.push(x);
    }
    for (const x of due.splice(Math.max(room, 0))) {
      x.refuse(413, 'too many topics', x.retryAt && spread(LATER));
      c.review(x);
    }
    if (!due.length) return c.screens?.next(t, wake) ?? [undefined, wake];
    // Those whose row the client has go together, and the others apart.
    const since = c.resumes(due[0]), names = due.filter((x) => c.resumes(x) === since).map((x) => x.name);
    const cmd = {op: 'subscribe', topics: names.slice(0, Math.min(NAMES, this.maxTopics))};
    if (since) cmd.since = c.resume;
    return [cmd];
  }

  written(cmd, t) {
    const c = this.core, {op} = cmd;
    this.lastID = cmd.id;
    this.pending.set(cmd.id, cmd);
    cmd.at = t;
    if (op === 'auth') this.fresh = '';
    if (op === 'interval') this.pace = 0;
    for (const name of list(cmd.topics)) {
      if (op === 'unsubscribe') c.leaving.delete(name);
      else Object.assign(c.topics.get(name), {phase: ASKED, id: cmd.id, retryAt: 0});
    }
    // There is room now.
    if (op === 'unsubscribe') for (const x of c.topics.values()) if (x.phase === REFUSED && x.code === 413) x.again();
    c.reviewAll();
  }

  /** pay takes a charge from the credit, or nothing if there is too little. */
  pay(charge, t) {
    this.credit = Math.min(BURST, this.credit + (t - this.credited) / 1000 * RATE);
    this.credited = t;
    if (this.credit < charge) return false;
    this.credit -= charge;
    return true;
  }

  /** renew asks for a newer token beside the connection, when it is time for it. */
  async renew(t) {
    if (this.over || t < this.renewAt) return;
    const {token} = this.core;
    this.renewAt = Infinity;
    try {
      const text = await token.ask();
      if (text === token.text) throw 0;
      this.fresh = text;
    } catch {
      this.renewAt = now() + token.after();
    }
    this.core.poke();
  }
}
