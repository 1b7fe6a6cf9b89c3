// SPDX-License-Identifier: Apache-2.0

import {ConnError, LONGEST, now} from './retry.js';
import {ASKED, HELD, REFUSED, UNASKED, bytes} from './topic.js';

// What the client asks of the edge stays below what an edge allows by default: 20 commands a second and 40 at once, where
// long ones count as several, and 20 KiB a message.
const RATE = 15, BURST = 30, NAMES = 256, PENDING = 16, BYTES = 16 << 10;
const ANSWER = 60_000; // ms; an edge that does not answer a command for that long is taken for broken.
const RESUME = 1 << 10; // Bytes of the longest token of resumption that is kept.
const PROBE = 5000; // ms for a sign of life that was asked for.
const MOST = 1 << 16;

const later = () => now() + 120_000 * (1 + Math.random());
const list = (x) => Array.isArray(x) ? x : [];

/** Session is one connection. */
export class Session {
  pending = new Map(); // id → {cmd, at}
  credit = BURST; credited = now();
  lastID = 0; pauseUntil = 0; greeted = 0; status = 0; maxTopics = MOST; patience = 0; heard = now(); due = Infinity;
  renewAt = Infinity; fresh = ''; renewing = false; probed = false;
  ready = false; // For commands.
  bye; over;

  constructor(core, WS, token) {
    this.core = core;
    this.ended = new Promise((r) => { this.finish = r; });
    this.patience = core.options.handshakeTimeout;
    this.ws = token ? new WS(core.url, ['tickedge.v1', 'bearer.' + token]) : new WS(core.url);
    this.ws.onmessage = (e) => this.hear(e.data);
    this.ws.onerror = (e) => { this.status = +/response: (\d{3})/.exec(e?.message)?.[1] || this.status; };
    this.ws.onclose = (e) => this.end({code: e.code, reason: e.reason, status: e.status, after: e.after});
  }

  end(e) {
    if (this.over) return;
    this.over = true;
    const {ws, bye} = this;
    ws.onmessage = ws.onclose = null;
    ws.onerror = () => {};
    if (ws.readyState !== 3) try { e.silent && ws.terminate ? ws.terminate() : ws.close(); } catch { /* It is gone. */ }
    const code = bye && !(e.code >= 1000 && e.code !== 1005 && e.code !== 1006) ? bye.code : e.code;
    this.finish({
      ...e, code, status: e.status || this.status, lived: this.greeted && Math.max(now() - this.greeted, 1),
      reason: e.reason || bye?.reason || (this.status ? 'refused by the edge' : code && code !== 1006 ? 'closed by the edge' : 'the connection failed'),
      after: Number.isFinite(bye?.retry_ms) ? bye.retry_ms : e.after,
    });
  }

  hear(data) {
    this.heard = now();
    this.probed = false;
    let m;
    try {
      if (typeof data !== 'string') throw 0;
      m = JSON.parse(data);
      if (!this.ready && m.t !== 'hello' && m.t !== 'bye') throw 0;
      this.handle(m);
    } catch {
      this.end({reason: 'a message of the edge is not what the protocol says'});
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
      case 'feed':
        if (c.feeds.size < 256) c.feeds.set(String(m.topics ?? ''), m.state === 'down');
        return c.reviewAll();
      case 'stale': case 'unsubscribed':
        for (const name of list(m.topics)) {
          const t = c.topics.get(name);
          if (t?.phase !== HELD) continue;
          if (m.t === 'stale') Object.assign(t, {stale: true, code: m.code ?? 0, reason: m.reason ?? ''});
          else t.refuse(0, m.reason, later());
          c.review(t);
        }
        break;
      case 'resume':
        if (typeof m.token !== 'string' || !m.token || m.token.length > RESUME) break;
        c.resume = m.token;
        c.from = c.conn;
        for (const t of c.topics.values()) t.covered = t.has && t.phase === HELD;
        break;
      case 'bye':
        this.bye = m;
        this.patience = Math.min(this.patience, PROBE);
    }
  }

  hello(m) {
    const c = this.core;
    if (m.v !== 1) {
      const reason = `the edge speaks version ${m.v} of the protocol, and this client version 1`;
      return this.end({reason, fatal: new ConnError(reason)});
    }
    this.ready = true;
    if (m.early) return; // Of a transport that hears of the edge later.
    const beat = m.heartbeat > 0 ? Math.min(m.heartbeat, LONGEST) : LONGEST;
    this.patience = beat * 2.25 + 1000;
    this.maxTopics = m.max_topics > 0 ? Math.min(m.max_topics, MOST) : MOST;
    if (!this.greeted) this.renewAt = now() + c.token.lead();
    this.greeted ||= now();
    c.conn++; // n counts from here.
    c.up = true;
    c.lost = undefined;
    c.reviewAll();
  }

  row(r, at) {
    const c = this.core, t = c.topics.get(r.s);
    if (!t || t.phase !== ASKED && t.phase !== HELD || r.v === undefined) return;
    const here = t.has && t.conn === c.conn;
    // Over a reconnect n says nothing, and the same value is none that anybody waits for.
    const same = here ? t.n === r.n : t.has && JSON.stringify(t.value) === JSON.stringify(r.v);
    const missed = here && r.n > t.n ? r.n - t.n - 1 : 0;
    // What the token stands for was seen by the edge that gave it. Another one's value may be older than that.
    t.covered &&= c.from === c.conn;
    Object.assign(t, {value: r.v, has: true, n: r.n, at, conn: c.conn, fresh: true, stale: false, lost: false});
    if (!same) {
      for (const [sub, slot] of t.subs) {
        slot.conflated += missed + (slot.fresh ? 1 : 0); // The value before this one may not have been taken.
        slot.fresh = true;
        sub._put(slot);
      }
    }
    c.review(t);
  }

  answer(m) {
    const cmd = this.pending.get(m.id)?.cmd, c = this.core;
    if (!this.pending.delete(m.id)) return;
    if (m.t === 'error') return this.failed(cmd, m);
    if (cmd.op === 'auth') this.authorized(cmd);
    else if (cmd.op !== 'subscribe') return;
    for (const t of this.of(cmd)) {
      t.phase = HELD;
      t.lost = false;
      t.fresh ||= !!cmd.since && m.resumed === true;
    }
    for (const r of list(m.rejected)) this.reject(cmd, r);
    for (const name of cmd.topics ?? []) c.review(c.topics.get(name));
  }

  /** of returns the topics that still wait for the answer to a command. */
  of(cmd) {
    return (cmd.topics ?? []).map((s) => this.core.topics.get(s)).filter((t) => t?.phase === ASKED && t.id === cmd.id);
  }

  reject(cmd, r) {
    const t = this.core.topics.get(r.topic ?? cmd.topics?.[r.index]);
    if (!t || t.id !== cmd.id && cmd.op === 'subscribe') return;
    const passing = r.code === 429 || r.code === 503;
    t.refuse(r.code, r.reason, passing ? this.soon() : r.code === 413 ? later() : 0, passing);
    this.core.review(t);
  }

  failed(cmd, m) {
    const c = this.core, passing = m.code === 429 || m.code === 503;
    if (passing) this.pauseUntil = this.soon();
    if (cmd.op === 'auth') this.renewAt = now() + c.token.after();
    else if (cmd.op === 'subscribe') {
      for (const t of this.of(cmd)) {
        if (passing) t.phase = UNASKED;
        else t.refuse(m.code, m.reason);
        c.review(t);
      }
    } else if (cmd.op === 'unsubscribe' && passing) {
      for (const name of cmd.topics) {
        c.leaving.add(name);
        const t = c.topics.get(name);
        if (t && t.phase !== REFUSED) t.phase = UNASKED; // Wanted again. While it is held the edge would send no snapshot.
      }
    }
  }

  authorized(cmd) {
    const c = this.core;
    c.token.set(cmd.token);
    this.renewAt = now() + c.token.lead();
    for (const t of c.topics.values()) { // What the old one did not allow may be allowed by this one.
      if (t.phase === REFUSED && t.code === 403) t.again();
      c.review(t);
    }
  }

  soon() { return now() + 3 * this.core.options.minBackoff * (1 + Math.random()); }

  /** probe has the edge give a sign of life. late says that this side was stopped, and what has come is still to be read. */
  probe(late) {
    const t = now();
    if (this.probed || this.over || !this.ready && !late) return;
    this.probed = true;
    this.heard = late ? t - this.patience + PROBE : Math.min(this.heard, t - this.patience + PROBE);
    if (this.ready && this.pay(1, t)) this.write({op: 'ping'});
    this.core.poke();
  }

  write(cmd) { try { this.ws.send(JSON.stringify(cmd)); } catch { this.end({reason: 'the connection failed'}); } }

  /** work writes what is to be written, and returns when to look again. */
  work() {
    const t = now(), dies = this.heard + this.patience;
    if (t >= dies && !this.over) {
      if (t > this.due + 2000 && !this.probed) this.probe(true);
      else this.end({reason: 'the edge is silent', silent: true});
    }
    this.renew(t);
    let wake = 0;
    while (!this.over && !(wake = this.plan(t)));
    return this.due = Math.min(wake || Infinity, this.heard + this.patience);
  }

  /** plan writes the next command and returns 0, or returns when to look again. */
  plan(t) {
    let wake = this.renewing ? Infinity : this.renewAt;
    for (const {at} of this.pending.values()) {
      if (t - at > ANSWER) this.end({reason: 'the edge does not answer commands', silent: true});
      wake = Math.min(wake, at + ANSWER + 1);
    }
    if (this.over || !this.ready || this.pending.size >= PENDING || this.bye) return wake;
    if (t < this.pauseUntil) return Math.min(wake, this.pauseUntil);
    const [cmd, at] = this.next(t);
    if (!cmd) return Math.min(wake, at);
    cmd.id = this.lastID + 1;
    const cost = 1 + ((cmd.topics?.length ?? 0) >> 5) + (bytes(JSON.stringify(cmd)) >> 11);
    const charge = cmd.op === 'auth' ? BURST : Math.min(cost, BURST);
    if (!this.pay(charge, t)) return Math.min(wake, t + (charge - this.credit) / RATE * 1000 + 1);
    this.written(cmd, t);
    return 0;
  }

  /** next chooses a command: what is left behind first, so that it comes back with a snapshot. */
  next(t) {
    const c = this.core, due = [];
    if (this.fresh) return [{op: 'auth', token: this.fresh}];
    if (c.leaving.size) return [{op: 'unsubscribe', topics: fitting([...c.leaving], NAMES)}];
    let wake = Infinity, room = this.maxTopics;
    for (const x of c.topics.values()) {
      if (x.phase === ASKED || x.phase === HELD) room--;
      else if (x.phase === REFUSED && !x.retryAt) continue;
      else if (x.retryAt > t) wake = Math.min(wake, x.retryAt);
      else due.push(x);
    }
    room = Math.max(room, 0);
    for (const x of due.splice(room)) {
      if (x.phase === REFUSED) continue;
      x.refuse(413, 'more topics than the edge allows on a connection');
      x.full = true;
      c.review(x);
    }
    if (!due.length) return [undefined, wake];
    // Those whose row the client has go together, and the others apart.
    const since = c.resumes(due[0]), names = due.filter((x) => c.resumes(x) === since).map((x) => x.name);
    const cmd = {op: 'subscribe', topics: fitting(names, Math.min(NAMES, this.maxTopics))};
    if (since) cmd.since = c.resume;
    return [cmd];
  }

  written(cmd, t) {
    const c = this.core;
    this.lastID = cmd.id;
    this.pending.set(cmd.id, {cmd, at: t});
    if (cmd.op === 'auth') this.fresh = '';
    else if (cmd.op === 'unsubscribe') {
      for (const name of cmd.topics) c.leaving.delete(name);
      for (const x of c.topics.values()) if (x.full) x.again(); // There is room now.
    } else {
      for (const name of cmd.topics) {
        const x = c.topics.get(name);
        Object.assign(x, {phase: ASKED, id: cmd.id, retryAt: 0});
        c.review(x);
      }
    }
    this.write(cmd);
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
    if (this.over || this.renewing || t < this.renewAt) return;
    const {token} = this.core;
    this.renewing = true;
    this.renewAt = Infinity;
    try {
      const text = await token.ask();
      if (text === token.text) throw 0;
      this.fresh = text;
    } catch {
      this.renewAt = now() + token.after();
    }
    this.renewing = false;
    this.core.poke();
  }
}

/** fitting returns as many names as one command may have. */
function fitting(names, most) {
  let size = 0, i = 0;
  for (; i < names.length && i < most; i++) {
    size += bytes(JSON.stringify(names[i])) + 1;
    if (size > BYTES - RESUME - 128) break;
  }
  return names.slice(0, i);
}
