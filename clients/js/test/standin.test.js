// SPDX-License-Identifier: Apache-2.0

import test from 'node:test';
import assert from 'node:assert/strict';
import {Log, Standin, WebSocket, quick} from './harness.js';

const state = (s, topic) => (u) => u.state === s && (!topic || u.topic === topic);

test('subscribers share a subscription; rows come once, with the ticks between them', async (t) => {
  const s = await Standin.start(t), c = quick(t, s.url), one = new Log(), two = new Log();
  const a = c.subscribe(['A', 'A'], one.add), b = c.subscribe('A', two.add), p = await s.accept(0);
  assert.equal(p.request.url, '/ws?resume=');
  const sub = await p.hear();
  assert.deepEqual(sub, {op: 'subscribe', topics: ['A'], id: 1});
  p.ack(sub);
  p.rows('snapshot', ['A', 1, 'one']);
  await one.until('one', (u) => u.value === 'one');
  p.rows('update', ['A', 1, 'one']);
  p.rows('update', ['A', 5, 'five']);
  const five = await one.until('five', (u) => u.value === 'five');
  assert.deepEqual([one.all.length, five.conflated, five.isNew, five.state, five.n], [2, 3, true, 'live', 5]);
  const third = new Log(), last = c.subscribe('A', third.add);
  assert.equal(third.all.length, 0, 'not before subscribe returns');
  assert.equal((await third.until('the row that is there', () => true)).value, 'five');
  a.unsubscribe();
  a.unsubscribe();
  b.unsubscribe();
  p.rows('update', ['A', 6, 'six']);
  await third.until('six', (u) => u.value === 'six');
  assert.equal(one.all.length, 2);
  assert.equal(p.heard.all.length, 1);
  last.unsubscribe();
  assert.deepEqual(await p.hear(), {op: 'unsubscribe', topics: ['A'], id: 2});
  assert.equal(await last.closed, undefined);
});

test('nothing is called behind an unsubscribe, also from within a callback', async (t) => {
  const s = await Standin.start(t), c = quick(t, s.url), calls = [], other = new Log();
  const sub = c.subscribe(['A', 'B'], (u) => { calls.push(u.topic); sub.unsubscribe(); }, (u) => calls.push(u.state));
  c.subscribe(['A', 'B'], other.add);
  const p = await s.accept(0);
  p.ack(await p.hear());
  p.rows('snapshot', ['A', 1, 1], ['B', 1, 1]);
  await other.until('B', (u) => u.topic === 'B');
  p.rows('update', ['A', 2, 2]);
  await other.until('A', (u) => u.n === 2);
  assert.deepEqual(calls, ['A']);
  assert.equal(p.heard.all.length, 1, 'the other one has both');
});

test('a topic that is given up and wanted again in one breath comes with a snapshot', async (t) => {
  const s = await Standin.start(t), c = quick(t, s.url), got = new Log(), one = c.subscribe('A', () => {}), p = await s.accept(0);
  p.ack(await p.hear());
  one.unsubscribe();
  c.subscribe('A', got.add);
  const un = await p.hear(), sub = await p.hear();
  assert.deepEqual([un.op, sub.op, un.topics, sub.topics], ['unsubscribe', 'subscribe', ['A'], ['A']]);
  p.say({t: 'error', id: un.id, code: 429, reason: 'too fast'}); // So the edge still has it, and no snapshot comes.
  p.ack(sub);
  const un2 = await p.hear(), sub2 = await p.hear();
  assert.deepEqual([un2.op, sub2.op], ['unsubscribe', 'subscribe']);
  p.ack(un2);
  p.ack(sub2);
  p.rows('snapshot', ['A', 7, 7]);
  assert.equal((await got.until('A', () => true)).value, 7);
});

test('a callback that throws stops nobody', async (t) => {
  const s = await Standin.start(t), c = quick(t, s.url), got = new Log(), reported = new Log(), {error} = console;
  console.error = reported.add;
  t.after(() => { console.error = error; });
  c.subscribe(['A', 'B'], () => { throw new Error('mine'); });
  c.subscribe('A', async () => { throw new Error('later'); });
  c.subscribe(['A', 'B'], got.add);
  const p = await s.accept(0);
  p.ack(await p.hear());
  p.rows('snapshot', ['A', 1, 1], ['B', 1, 1]);
  await got.until('B', (u) => u.topic === 'B');
  await reported.until('the error', (e) => e.message === 'mine');
  await reported.until('the rejection', (e) => e.message === 'later');
  p.rows('update', ['A', 2, 2]);
  await got.until('A again', (u) => u.n === 2);
});

test('a topic that is delisted has a state of its own and no value', async (t) => {
  const s = await Standin.start(t), c = quick(t, s.url), values = new Log(), states = new Log(), late = new Log();
  c.subscribe(['A', 'B'], values.add, states.add);
  const p = await s.accept(0);
  p.ack(await p.hear());
  p.rows('snapshot', ['A', 1, 1], ['B', 0, null]);
  await states.until('B is delisted', state('delisted', 'B'));
  await values.until('A', (u) => u.topic === 'A');
  p.rows('update', ['A', 2, null]);
  const u = await states.until('A is delisted', state('delisted', 'A'));
  assert.deepEqual([u.value, u.isNew, u.n, u.code, u.reason], [undefined, false, 2, 0, '']);
  c.subscribe('A', late.add, late.add);
  assert.equal((await late.until('who comes later', state('delisted', 'A'))).value, undefined);
  p.rows('update', ['A', 3, {p: 3}]);
  const v = await values.until('the next value', (u) => u.topic === 'A' && u.n === 3);
  assert.deepEqual([v.state, v.isNew, v.value], ['live', true, {p: 3}]);
  assert.deepEqual(values.all.map((u) => u.n), [1, 3], 'no value is told of a topic that has none');
  assert.equal(late.all.length, 3, 'delisted, a value, and live');
});

test('states of a topic', async (t) => {
  const s = await Standin.start(t), c = quick(t, s.url), got = new Log();
  c.subscribe(['A', 'fx:B', 'bad name', '', 'x'.repeat(65)], null, got.add);
  const p = await s.accept(0), sub = await p.hear();
  assert.deepEqual(sub.topics, ['A', 'fx:B', 'bad name']);
  p.ack(sub, {rejected: [{index: 2, code: 422, reason: 'a blank'}]});
  p.rows('snapshot', ['A', 1, 1], ['fx:B', 1, 1]);
  for (const [topic, code] of [['bad name', 422], ['', 422], ['x'.repeat(65), 422]]) {
    assert.equal((await got.until('rejected', state('rejected', topic))).code, code);
  }
  await got.until('live', state('live', 'A'));
  p.say({t: 'feed', state: 'down', since: 1, topics: 'fx:*'});
  await got.until('down', state('down', 'fx:B'));
  p.say({t: 'stale', ts: 1, topics: ['A'], code: 403, reason: 'not permitted'});
  assert.equal((await got.until('stale', state('stale', 'A'))).reason, 'not permitted');
  let from = got.all.length;
  p.say({t: 'feed', state: 'up', since: 1, topics: 'fx:*'});
  p.rows('update', ['A', 2, 1]);
  await got.until('up', state('live', 'fx:B'), from);
  await got.until('fresh', state('live', 'A'), from);
  p.say({t: 'unsubscribed', topics: ['A'], reason: 'full'});
  assert.equal((await got.until('withdrawn', state('rejected', 'A'))).code, 0);
  from = got.all.length;
  p.ws.close(1001);
  assert.equal((await got.until('reconnecting', state('reconnecting', 'fx:B'), from)).code, 1001);
  const q = await s.accept(1), again = await q.hear();
  assert.deepEqual(again.topics, ['A', 'fx:B']);
  q.ack(again);
  await got.until('waiting', state('waiting', 'fx:B'), from);
  q.rows('snapshot', ['fx:B', 1, 1]);
  await got.until('live', state('live', 'fx:B'), from);
  assert.ok(!got.all.slice(from).some((u) => u.topic === 'bad name'));
});

test('resume: only topics whose row the token stands for are shown with it', async (t) => {
  const s = await Standin.start(t), c = quick(t, s.url), got = new Log(), states = new Log();
  c.subscribe(['A', 'B', 'NONE'], got.add, states.add);
  let p = await s.accept(0);
  p.ack(await p.hear());
  p.rows('snapshot', ['A', 5, 5], ['B', 5, 5]);
  p.say({t: 'resume', token: 'ONE'});
  await states.until('B', state('live', 'B'));
  c.subscribe('C', got.add, states.add);
  p.ack(await p.hear());
  p.rows('snapshot', ['C', 5, {x: 5}]);
  await states.until('C', state('live', 'C'));
  let from = states.all.length, news = got.all.length;
  p.ws.close(1001);
  p = await s.accept(1);
  let first = await p.hear(), second = await p.hear();
  assert.deepEqual([first.topics, first.since, second.topics, second.since], [['A', 'B'], 'ONE', ['NONE', 'C'], undefined]);
  p.ack(first, {resumed: true});
  p.rows('snapshot', ['B', 1, 6]);
  p.ack(second);
  p.rows('snapshot', ['C', 1, {x: 5}]);
  for (const topic of 'ABC') await states.until(topic + ' is live', state('live', topic), from);
  assert.deepEqual(got.all.slice(news).map((u) => [u.topic, u.value, u.conflated]), [['B', 6, 0]]);
  // The row of B is of an edge that has given no token: the one of the first edge says nothing about it.
  from = states.all.length;
  p.ws.close(1001);
  p = await s.accept(2);
  first = await p.hear();
  second = await p.hear();
  assert.deepEqual([first.topics, first.since, second.topics, second.since], [['A'], 'ONE', ['B', 'NONE', 'C'], undefined]);
  // An edge that knows no tokens sends everything; what is the same is not new.
  p.ack(first);
  await states.until('A waits', state('waiting', 'A'), from);
  p.rows('snapshot', ['A', 9, 5]);
  await states.until('A lives', state('live', 'A'), from);
  assert.equal(got.all.length, news + 1);
});

test('codes that say never again end the client, and it tells everybody', async (t) => {
  const s = await Standin.start(t), told = new Log(), c = quick(t, s.url, {onError: told.add});
  const sub = c.subscribe('A', () => {}), it = c.subscribe('A')[Symbol.asyncIterator]();
  const p = await s.accept(0), end = it.next().then(() => it.next());
  p.ack(await p.hear());
  p.say({t: 'bye', code: 4504, reason: 'replaced'});
  p.ws.close(4504, 'replaced');
  assert.equal((await told.until('the error', () => true)).code, 4504);
  assert.equal((await sub.closed).reason, 'replaced');
  await assert.rejects(end, {code: 4504});
  assert.equal((await it.next()).done, true);
  assert.throws(() => c.subscribe('A'), {code: 4504});
  assert.equal(s.peers.all.length, 1);
});

test('closed as idle it comes back for something new, and not before', async (t) => {
  const s = await Standin.start(t), c = quick(t, s.url), got = new Log();
  c.subscribe('A', null, got.add);
  const p = await s.accept(0);
  p.ack(await p.hear());
  p.ws.close(4003, 'idle');
  await got.until('reconnecting', state('reconnecting'));
  await new Promise((r) => setTimeout(r, 300)); // Three times the longest pause; a slow machine only makes it blind.
  assert.equal(s.peers.all.length, 1);
  c.subscribe('B', () => {});
  const q = await s.accept(1);
  assert.deepEqual((await q.hear()).topics, ['A', 'B']);
});

test('the connection is told of', async (t) => {
  const s = await Standin.start(t), got = new Log(), c = quick(t, s.url, {minBackoff: 600_000, maxBackoff: 600_000, onConnection: got.add});
  const sub = c.subscribe('A', () => {}), p = await s.accept(0);
  await got.until('connected', state('connected'));
  p.ack(await p.hear());
  p.say({t: 'bye', code: 1012, reason: 'draining', retry_ms: 1});
  p.ws.close(1012, 'draining');
  const q = await s.accept(1);
  q.ack(await q.hear());
  const {pause, asked, code, reason} = got.all.find(state('waiting'));
  assert.deepEqual([pause, asked, code, reason], [1, true, 1012, 'draining']);
  sub.unsubscribe();
  q.ack(await q.hear());
  q.ws.close(4003, 'idle');
  await got.until('idle', state('idle'));
  c.subscribe('B', () => {});
  const r = await s.accept(2);
  r.ack(await r.hear());
  const told = ['connecting', 'connected', 'waiting', 'connecting', 'connected', 'idle', 'connecting', 'connected'];
  assert.deepEqual(got.all.map((x) => x.state), told);
  c.close();
  await r.closed;
  assert.equal(got.all.length, told.length, 'nothing behind close');
});

test('another interval is asked for on this connection, again where it was too fast, and with the next one', async (t) => {
  const s = await Standin.start(t), c = quick(t, s.url, {interval: 1000});
  c.subscribe('A', () => {});
  const p = await s.accept(0);
  p.ack(await p.hear());
  assert.equal(p.request.url, '/ws?interval=1000&resume=');
  for (const ms of [99, 60_001, 0, NaN]) assert.throws(() => { c.interval = ms; }, RangeError);
  assert.equal(c.interval, 1000);
  c.interval = 249.6;
  const first = await p.hear();
  assert.deepEqual([first.op, first.ms, c.interval], ['interval', 250, 250]);
  p.say({t: 'error', id: first.id, code: 429, reason: 'too fast'});
  const again = await p.hear();
  assert.deepEqual([again.op, again.ms], ['interval', 250]);
  p.ack(again, {ms: 250});
  p.ws.close(1012, 'restart');
  const q = await s.accept(1);
  assert.equal(q.request.url, '/ws?interval=250&resume=');
  assert.equal((await q.hear()).op, 'subscribe');
});

test('a socket may say more of its end than a WebSocket does', async (t) => {
  const s = await Standin.start(t), got = new Log(), told = new Log();
  let tries = 0;
  class Told extends WebSocket {
    constructor(...args) {
      super(...args);
      const status = [503, 403][tries++];
      queueMicrotask(() => this.onclose({code: 1006, reason: 'said', status, after: 1}));
    }
  }
  quick(t, s.url, {WebSocket: Told, minBackoff: 600_000, maxBackoff: 600_000, onConnection: got.add, onError: told.add}).subscribe('A', () => {});
  const {pause, code, reason} = await got.until('waiting', state('waiting'));
  assert.deepEqual([pause, code, reason], [1, 503, 'said']);
  assert.equal((await told.until('the error', () => true)).status, 403);
});

test('bye says when to come back, and counts where the close frame is missing', async (t) => {
  const s = await Standin.start(t), c = quick(t, s.url, {minBackoff: 50_000, maxBackoff: 50_000}), got = new Log();
  c.subscribe('A', null, got.add);
  const p = await s.accept(0);
  p.ack(await p.hear());
  p.say({t: 'bye', code: 1012, reason: 'draining', retry_ms: 1});
  p.ws.terminate();
  assert.equal((await got.until('reconnecting', state('reconnecting'))).code, 1012);
  await s.accept(1);
});

test('listeners of the page are there while there is something to hear of', async (t) => {
  const listeners = new Map();
  const names = ['addEventListener', 'removeEventListener'], before = names.map((n) => globalThis[n]);
  globalThis.addEventListener = (type, f) => listeners.set(type, (listeners.get(type) ?? new Set()).add(f));
  globalThis.removeEventListener = (type, f) => listeners.get(type)?.delete(f);
  t.after(() => names.forEach((n, i) => { globalThis[n] = before[i]; }));
  const count = () => [...listeners.values()].reduce((n, l) => n + l.size, 0);
  const s = await Standin.start(t), clients = Array.from({length: 5}, () => quick(t, s.url)), got = new Log();
  const subs = clients.map((c) => c.subscribe('A', null, got.add));
  for (let i = 0; i < 5; i++) { const p = await s.accept(i); p.ack(await p.hear()); p.rows('snapshot', ['A', 1, 1]); }
  for (let i = 0; i < 5; i++) await got.until('live ' + i, state('live'), i);
  assert.equal(count(), 15);
  for (const c of clients.slice(1)) c.close();
  assert.equal(count(), 3);
  subs[0].unsubscribe(); // The connection is still there, until the edge closes it as idle.
  s.peers.all.forEach((p) => p.ws.close(4003, 'idle'));
  await Promise.all(s.peers.all.map((p) => p.closed));
  for (let i = 0; count() && i < 1000; i++) await new Promise((r) => setTimeout(r, 10));
  assert.equal(count(), 0);
});

test('a page that is seen again, or a network that is back, ends a pause and asks a connection for a sign of life', async (t) => {
  const target = new EventTarget(), names = ['addEventListener', 'removeEventListener', 'document'], before = names.map((n) => globalThis[n]);
  globalThis.addEventListener = (...a) => target.addEventListener(...a);
  globalThis.removeEventListener = (...a) => target.removeEventListener(...a);
  globalThis.document = {hidden: true};
  t.after(() => names.forEach((n, i) => { globalThis[n] = before[i]; }));
  const s = await Standin.start(t), c = quick(t, s.url, {minBackoff: 600_000, maxBackoff: 600_000}), got = new Log();
  c.subscribe('A', null, got.add);
  const p = await s.accept(0);
  p.ack(await p.hear());
  target.dispatchEvent(new Event('visibilitychange'));
  globalThis.document.hidden = false;
  target.dispatchEvent(new Event('visibilitychange'));
  assert.deepEqual(await p.hear(), {op: 'ping'});
  p.say({t: 'pong', ts: 1});
  p.rows('snapshot', ['A', 1, 1]);
  await got.until('live', state('live'));
  c.subscribe('B', () => {});
  await p.hear(); // No other ping came before.
  const random = Math.random;
  t.after(() => { Math.random = random; });
  Math.random = () => 0.5; // Five minutes.
  p.ws.terminate();
  await got.until('reconnecting', state('reconnecting'));
  Math.random = () => 0;
  target.dispatchEvent(new Event('online'));
  await s.accept(1);
});

test('a silent socket is noticed', async (t) => {
  const s = await Standin.start(t, {silent: true}), c = quick(t, s.url, {handshakeTimeout: 1000});
  c.subscribe('A', () => {});
  await s.accept(0);
  const p = await s.accept(1);
  p.say({t: 'hello', v: 1, conn: 'x', heartbeat: 10, max_topics: 256});
  p.ack(await p.hear());
  await s.accept(2);
});

test('commands stay within what hello says, and topics beyond it are told', async (t) => {
  const s = await Standin.start(t, {silent: true}), c = quick(t, s.url), got = new Log();
  const names = Array.from({length: 700}, (_, i) => 'T' + i);
  const sub = c.subscribe(names.slice(0, 600), null, got.add);
  c.subscribe(names.slice(600), null, got.add);
  const p = await s.accept(0), seen = [];
  p.say({t: 'hello', v: 1, conn: 'x', heartbeat: 20000, max_topics: 650});
  while (seen.length < 650) {
    const cmd = await p.hear();
    assert.ok(cmd.topics.length <= 256 && JSON.stringify(cmd).length < 20 << 10);
    seen.push(...cmd.topics);
    p.ack(cmd);
  }
  assert.deepEqual(seen, names.slice(0, 650));
  assert.equal((await got.until('too many', state('rejected', 'T699'))).code, 413);
  sub.unsubscribe();
  let cmd;
  do p.ack(cmd = await p.hear()); while (!cmd.topics.includes('T699'));
});

test('what is refused for now is asked again', async (t) => {
  const s = await Standin.start(t), c = quick(t, s.url), got = new Log();
  c.subscribe(['A', 'B'], null, got.add);
  const p = await s.accept(0);
  p.say({t: 'error', id: (await p.hear()).id, code: 429, reason: 'too fast'});
  const again = await p.hear();
  assert.deepEqual(again.topics, ['A', 'B']);
  p.ack(again, {rejected: [{topic: 'B', code: 429, reason: 'too fast'}]});
  assert.equal((await got.until('rejected', state('rejected', 'B'))).temporary, true);
  assert.deepEqual((await p.hear()).topics, ['B']);
});

test('iterators give the newest, and end with break', async (t) => {
  const s = await Standin.start(t), c = quick(t, s.url), sub = c.subscribe('A'), watch = new Log();
  c.subscribe('A', watch.add);
  const p = await s.accept(0);
  p.ack(await p.hear());
  for (const n of [1, 2, 3]) p.rows('update', ['A', n * 2, n]);
  await watch.until('3', (u) => u.value === 3);
  for await (const u of sub) {
    if (!u.isNew) continue;
    assert.deepEqual([u.value, u.conflated], [3, 4]);
    break;
  }
  assert.equal(await sub.closed, undefined);
});

const jwt = (exp, id) => ['{"alg":"x"}', JSON.stringify({exp, id}), 's'].map((x) => Buffer.from(x).toString('base64url')).join('.');

test('tokens are brought with the handshake and renewed before exp', async (t) => {
  const s = await Standin.start(t), got = new Log();
  let asked = 0;
  const token = () => jwt(Math.floor(Date.now() / 1000) + (asked ? 3600 : 3), ++asked);
  const c = quick(t, s.url, {token});
  c.subscribe(['A', 'X'], null, got.add);
  const p = await s.accept(0), sub = await p.hear();
  const offered = p.request.headers['sec-websocket-protocol'];
  assert.match(offered, /^tickedge\.v1, ?bearer\.ey/);
  p.ack(sub, {rejected: [{topic: 'X', code: 403, reason: 'no'}]});
  const auth = await p.hear();
  assert.equal(auth.op, 'auth');
  assert.ok(!offered.includes(auth.token));
  p.ack(auth);
  assert.deepEqual((await p.hear()).topics, ['X']);
  assert.equal(asked, 2);
  p.ws.close(4501, 'expired'); // The renewed token is refused too: another one.
  const q = await s.accept(1);
  await q.hear();
  assert.equal(asked, 3);
});

test('a token is asked for once at a time, and no more when the client is closed', async (t) => {
  const s = await Standin.start(t), signals = new Log(), c = quick(t, s.url, {token: (signal) => { signals.add(signal); return new Promise(() => {}); }});
  c.subscribe('A', () => {});
  const signal = await signals.until('the callback', () => true);
  c.close();
  assert.equal(signal.aborted, true);
  assert.equal(signals.all.length, 1);
});

test('a token that no handshake can have is not in the error', async (t) => {
  const s = await Standin.start(t), got = new Log(), c = quick(t, s.url, {token: () => 'secret"token'});
  c.subscribe('A', null, got.add);
  const {reason} = await got.until('reconnecting', state('reconnecting'));
  assert.match(reason, /^no token: /);
  assert.ok(!reason.includes('secret'));
});

test('a token that is refused, and no other, ends the client', async (t) => {
  let tries = 0;
  const s = await Standin.start(t, {verifyClient: (_, done) => { tries++; done(false, 401, 'no'); }}), told = new Log();
  quick(t, s.url, {token: () => 'same', onError: told.add}).subscribe('A', () => {});
  assert.equal((await told.until('the error', () => true)).status, 401);
  assert.equal(tries, 1);
});
