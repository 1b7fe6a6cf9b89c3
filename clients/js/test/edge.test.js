// SPDX-License-Identifier: Apache-2.0

import test from 'node:test';
import assert from 'node:assert/strict';
import {Edge, Log, SYMBOLS, WebSocket, proxy, quick, within} from './harness.js';
import {screen} from '../src/screens.js';
import {SSESocket, read} from '../src/sse.js';

const live = (u) => u.state === 'live';
const again = (u) => u.state === 'reconnecting';

/** watch subscribes topics and keeps their values and states. */
function watch(c, topics = 'S0') {
  const w = {values: new Log(), states: new Log()};
  w.sub = c.subscribe(topics, w.values.add, w.states.add);
  /** fresh waits for values that come from now on. */
  w.fresh = (count = 2) => {
    const from = w.values.all.length;
    return w.values.until('newer values', () => w.values.all.length >= from + count);
  };
  return w;
}

for (const [name, options] of [['WebSocket', {}], ['server-sent events', {WebSocket: null, fallback: SSESocket}]]) {
  test(`over ${name}: an edge that is killed, and started again on its port`, async (t) => {
    const e = await Edge.start(t), c = quick(t, e.url, options), w = watch(c, SYMBOLS);
    await w.fresh();
    for (let i = 0; i < 2; i++) {
      const from = w.states.all.length;
      await e.kill();
      await w.states.until('reconnecting', again, from);
      const next = await Edge.start(t, e.address);
      e.process = next.process;
      e.gone = next.gone;
      for (const s of SYMBOLS) await w.states.until(s + ' is live', (u) => live(u) && u.topic === s, from);
      await w.fresh();
    }
  });

  test(`over ${name}: an edge that is drained`, async (t) => {
    const e = await Edge.start(t), c = quick(t, e.url, options), w = watch(c);
    await w.states.until('live', live);
    e.signal('SIGTERM');
    assert.equal((await w.states.until('reconnecting', again)).code, 1012);
    await within(e.gone, 'the edge ends');
    const from = w.states.all.length;
    await Edge.start(t, e.address);
    await w.states.until('live', live, from);
  });

  test(`over ${name}: an edge that is stopped, and goes on`, async (t) => {
    const e = await Edge.start(t, undefined, '-heartbeat', '1s'), c = quick(t, e.url, {...options, handshakeTimeout: 500}), w = watch(c);
    await w.states.until('live', live);
    e.signal('SIGSTOP');
    assert.equal((await w.states.until('reconnecting', again)).reason, 'the edge is silent');
    const from = w.states.all.length;
    e.signal('SIGCONT');
    await w.states.until('live', live, from);
    await w.fresh();
  });

  test(`over ${name}: topics come and go`, async (t) => {
    const e = await Edge.start(t), c = quick(t, e.url, options), a = watch(c, ['S0', 'S1']);
    await a.fresh();
    const b = watch(c, ['S1', 'S2', 'bad name']);
    assert.equal((await b.states.until('rejected', (u) => u.state === 'rejected')).code, 422);
    await b.values.until('S2', (u) => u.topic === 'S2');
    a.sub.unsubscribe();
    const before = a.values.all.length;
    await b.fresh(4);
    assert.equal(a.values.all.length, before);
    assert.ok(!b.states.all.some(again));
    let last = {};
    for (const u of b.values.all) {
      assert.ok(u.isNew && u.n !== last[u.topic], 'a value comes once');
      last[u.topic] = u.n;
    }
    watch(c, 'S0');
    await b.fresh();
  });
}

test('a slowed connection gets the newest values', async (t) => {
  const e = await Edge.start(t), p = await proxy(t, e.address, 1e9), w = watch(quick(t, p.url), SYMBOLS), straight = watch(quick(t, e.url), SYMBOLS);
  await w.fresh();
  p.rate = 0;
  await straight.fresh(100);
  const newest = straight.values.all.findLast((u) => u.topic === 'S7');
  p.rate = 20_000;
  await w.values.until('what the fast one had', (u) => u.topic === 'S7' && u.n >= newest.n);
});

test('where no WebSocket opens, events are read', async (t) => {
  const e = await Edge.start(t);
  class Blocked extends WebSocket { constructor(url, p) { super(url.replace('/ws', '/nowhere'), p); } }
  Object.defineProperty(Blocked.prototype, 'onerror', {set() { this.on('error', () => {}); }}); // As a browser: no status.
  const c = quick(t, e.url, {WebSocket: Blocked, fallback: SSESocket}), w = watch(c);
  await w.states.until('live', live);
});

test('an edge resumes: the topics whose rows are held are asked for with its token', async (t) => {
  const e = await Edge.start(t), wire = new Log();
  class Watched extends WebSocket {
    constructor(...a) {
      super(...a);
      this.on('message', (m) => wire.add({ws: this, ...JSON.parse(m)}));
    }
    send(text) { wire.add({ws: this, sent: JSON.parse(text)}); super.send(text); }
  }
  const w = watch(quick(t, e.url, {WebSocket: Watched}), [...SYMBOLS, 'NOSUCH']);
  for (const s of SYMBOLS) await w.states.until(s + ' is live', (u) => live(u) && u.topic === s);
  for (let i = 0; i < 3; i++) {
    const from = wire.all.length, states = w.states.all.length;
    const {ws, token} = await wire.until('a token', (m) => m.t === 'resume', from);
    ws.terminate();
    const {sent} = await wire.until('a subscribe with it', (m) => m.sent?.since, from);
    assert.equal(sent.since, token);
    assert.ok(!sent.topics.includes('NOSUCH'));
    const {resumed} = await wire.until('its ack', (m) => m.t === 'ack' && m.ws !== ws && m.id === sent.id, from);
    assert.equal(resumed, true);
    for (const s of SYMBOLS) await w.states.until(s + ' is live', (u) => live(u) && u.topic === s, states);
    await w.fresh(100);
  }
  const seen = new Map();
  for (const u of w.values.all) {
    const value = JSON.stringify(u.value);
    assert.notEqual(value, seen.get(u.topic), 'a value comes once');
    seen.set(u.topic, value);
  }
});

test('an edge resumes streams of events: a lost one, and with other topics', async (t) => {
  const e = await Edge.start(t), p = await proxy(t, e.address, 1e9), wire = new Log(), {fetch} = SSESocket;
  t.after(() => { SSESocket.fetch = fetch; });
  SSESocket.fetch = async (url, options) => {
    const r = await fetch(url, options), [a, b] = r.body.tee(), {searchParams} = new URL(url);
    read(b, (data, id) => wire.add({id, query: searchParams, ...JSON.parse(data)})).catch(() => {});
    return new Response(a, r);
  };
  const c = quick(t, p.url, {WebSocket: null, fallback: SSESocket}), w = watch(c, SYMBOLS.slice(0, 10));
  const resumed = async (from, fresh) => {
    const ack = await wire.until('an ack of a stream that goes on', (m) => m.t === 'ack' && m.query.get('resume'), from);
    assert.deepEqual([ack.resumed, ack.query.get('fresh')], [true, fresh]);
  };
  // The client reads a copy of what the wire has, and has read a token when something came behind it.
  const token = async (from) => {
    await wire.until('a token', (m) => m.id && m.id !== '-', from);
    await wire.until('something behind it', () => true, wire.all.length);
  };
  await token(0);
  let from = wire.all.length, states = w.states.all.length;
  for (const s of p.sockets) s.destroy();
  await resumed(from, '');
  for (const s of SYMBOLS.slice(0, 10)) await w.states.until(s + ' is live', (u) => live(u) && u.topic === s, states);
  from = wire.all.length;
  await token(from);
  from = wire.all.length;
  states = w.states.all.length;
  const more = watch(c, 'S10');
  await resumed(from, 'S10');
  await more.fresh(1);
  assert.equal(w.states.all.length, states, 'those that stay do not notice');
});

test('a closed client leaves nothing behind', async (t) => {
  const e = await Edge.start(t), c = quick(t, e.url), w = watch(c);
  await w.fresh();
  c.close();
  assert.equal(await within(w.sub.closed, 'the subscription ends'), undefined);
  const count = w.values.all.length;
  await watch(quick(t, e.url)).fresh();
  assert.equal(w.values.all.length, count);
});

test('an edge shows screens: all of a pattern, ranked, and again after it was killed', async (t) => {
  const e = await Edge.start(t), changes = new Log(), errors = new Log(), c = quick(t, e.url);
  const add = (what) => screen(c, what, {onChange: (s, change) => changes.add({...change, s, complete: s.complete, order: s.order}), onError: errors.add});
  const all = add('S*'), top = add({topics: 'S*', where: 'p > 0 && topic != "S1"', top: 3, by: '-p'});
  const sorted = (s) => s.order.every((name, i) => !i || s.rows.get(s.order[i - 1]).value.p >= s.rows.get(name).value.p);
  const whole = async (from) => {
    await changes.until('all symbols', ({s, complete}) => s === all && complete && s.rows.size === SYMBOLS.length, from);
    await changes.until('three of them', ({s, complete, order}) => s === top && complete && order.length === 3 && !order.includes('S1') && sorted(s), from);
  };
  await whole(0);
  add({topics: 'S*', where: 'p = 5'});
  const error = await errors.until('what is wrong', () => true);
  assert.deepEqual([error.code, error.at, error.index, error.unknown], [400, 2, 2, false]);
  await e.kill();
  await changes.until('the loss', ({s}) => s === all && s.state === 'reconnecting');
  assert.equal(all.rows.size, SYMBOLS.length, 'what was there stays');
  const from = changes.all.length;
  await Edge.start(t, e.address);
  await changes.until('all of it again', ({s, full}) => s === all && full, from);
  await whole(from);
  const count = errors.all.length;
  top.close();
  await c.subscribe('S1')[Symbol.asyncIterator]().next();
  assert.equal(errors.all.length, count);
});
