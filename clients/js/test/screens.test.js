// SPDX-License-Identifier: Apache-2.0

import test from 'node:test';
import assert from 'node:assert/strict';
import {SSESocket} from '../src/sse.js';
import {ScreenError, screen} from '../src/screens.js';
import {Log, Standin, quick} from './harness.js';

const query = {topics: 'crypto:*', where: 'chg_pct > 5', top: 20, by: '-chg_pct'};

/** World is a screen on a stand-in, and what it has told. */
class World {
  changes = new Log(); errors = new Log();
  static async start(t, what = query, options = {}) {
    const w = new World();
    w.server = await Standin.start(t);
    w.client = quick(t, w.server.url, options);
    w.screen = w.add(what);
    return w;
  }

  add(what) {
    return screen(this.client, what, {
      onChange: (s, c) => this.changes.add({...c, state: s.state, names: [...s.order], complete: s.complete, screen: s}),
      onError: this.errors.add,
    });
  }

  /** accept waits for the connection of that number, and its first command. */
  async accept(i) {
    this.peer = await this.server.accept(i);
    return this.peer.hear();
  }

  say(screen, m) {
    const d = m.d?.map(([s, n, v]) => ({s, n, v}));
    this.peer.say({t: 'screen', ts: 5, screen, ...m, ...d && {d}});
  }

  ack(cmd) { this.peer.ack(cmd, {topics: 0, screens: 1, screen: cmd.screen}); }
}

test('a screen is asked for, and its rows are kept', async (t) => {
  const w = await World.start(t), cmd = await w.accept(0), {screen: s} = w;
  assert.deepEqual(cmd, {op: 'screen', id: 1, screen: 's1', ...query});
  assert.equal(w.changes.all.length, 0, 'not before screen returns');
  w.ack(cmd);
  w.say('s1', {full: true, d: [['crypto:B', 1, {chg_pct: 6}], ['crypto:A', 4, {chg_pct: 9}]], order: ['crypto:A', 'crypto:B']});
  const full = await w.changes.until('all of it', (c) => c.full);
  assert.deepEqual([full.names, full.state, full.complete, full.ordered, full.out], [['crypto:A', 'crypto:B'], 'live', true, true, []]);
  assert.deepEqual(s.rows.get('crypto:A'), {topic: 'crypto:A', value: {chg_pct: 9}, n: 4, at: 5});
  let from = w.changes.all.length;
  w.say('s1', {d: [['crypto:B', 2, {chg_pct: 7}]]});
  const b = await w.changes.until('B', () => true, from);
  assert.deepEqual([b.full, b.ordered, b.out, b.rows.map((r) => [r.topic, r.value.chg_pct])], [false, false, [], [['crypto:B', 7]]]);
  from = w.changes.all.length;
  w.say('s1', {d: [['crypto:C', 1, {chg_pct: 8}]], out: ['crypto:A', 'crypto:NONE'], order: ['crypto:C', 'crypto:B']});
  const c = await w.changes.until('C', () => true, from);
  assert.deepEqual([c.names, c.out, c.ordered, s.rows.has('crypto:A')], [['crypto:C', 'crypto:B'], ['crypto:A'], true, false]);
  from = w.changes.all.length;
  w.say('s1', {order: ['crypto:B', 'crypto:C']});
  assert.deepEqual((await w.changes.until('another order', () => true, from)).names, ['crypto:B', 'crypto:C']);
  assert.equal(w.errors.all.length, 0);
});

test('without a rank the names are in the order of their letters', async (t) => {
  const w = await World.start(t, ['fx:*', 'crypto:*']), cmd = await w.accept(0);
  assert.deepEqual(cmd, {op: 'screen', id: 1, screen: 's1', topics: ['fx:*', 'crypto:*']});
  w.ack(cmd);
  w.say('s1', {full: true, d: [['fx:B', 1, 1], ['crypto:A', 1, 1]]});
  await w.changes.until('both', (c) => c.names.join() === 'crypto:A,fx:B');
  w.say('s1', {d: [['fx:A', 1, 1]]});
  const {ordered} = await w.changes.until('a third', (c) => c.names.join() === 'crypto:A,fx:A,fx:B');
  assert.equal(ordered, true);
  w.say('s1', {out: ['fx:A']});
  await w.changes.until('it is out', (c) => c.names.join() === 'crypto:A,fx:B' && c.out.join() === 'fx:A');
});

test('pieces of a first state are shown as they come', async (t) => {
  const w = await World.start(t);
  w.ack(await w.accept(0));
  w.say('s1', {full: true, more: true, d: [['A', 1, 1]]});
  const one = await w.changes.until('A', (c) => c.names.join() === 'A');
  assert.deepEqual([one.complete, one.state, one.full], [false, 'waiting', true]);
  w.say('s1', {more: true, d: [['B', 1, 1]]});
  const two = await w.changes.until('B', (c) => c.names.join() === 'A,B');
  assert.deepEqual([two.complete, two.full, two.rows.length], [false, false, 1]);
  w.say('s1', {d: [['C', 1, 1]], out: ['A']});
  const all = await w.changes.until('C', (c) => c.complete);
  assert.deepEqual([all.names.join(), all.state], ['B,C', 'live']);
});

test('after a lost connection it is asked for again, and what was there stays until all of it came', async (t) => {
  const w = await World.start(t), {screen: s} = w;
  w.ack(await w.accept(0));
  w.say('s1', {full: true, d: [['A', 9, 1], ['B', 9, 1]], order: ['B', 'A']});
  await w.changes.until('all of it', (c) => c.complete);
  let from = w.changes.all.length;
  w.peer.ws.terminate();
  const lost = await w.changes.until('reconnecting', (c) => c.state === 'reconnecting', from);
  assert.deepEqual([lost.names.join(), lost.complete, s.reason !== ''], ['B,A', true, true]);
  const cmd = await w.accept(1);
  assert.deepEqual([cmd.op, cmd.screen, cmd.id], ['screen', 's1', 1]);
  await w.changes.until('waiting', (c) => c.state === 'waiting', from);
  w.ack(cmd);
  w.say('s1', {d: [['X', 1, 1]]}); // Nothing that an edge says: there was no full state yet.
  w.say('s1', {full: true, more: true, d: [['C', 1, 1]], order: ['C', 'A']});
  w.say('s1', {more: true, d: [['A', 1, 2]], out: ['C']});
  w.say('s1', {d: [['D', 1, 3]], order: ['D', 'A']});
  from = w.changes.all.length;
  const all = await w.changes.until('all of it again', (c) => c.full, from);
  assert.deepEqual([all.names, all.out, all.rows.map((r) => r.topic), all.state], [['D', 'A'], ['B'], ['A', 'D'], 'live']);
  assert.deepEqual(w.changes.all.slice(from).filter((c) => c.rows.length).length, 1, 'the pieces are not shown one by one');
  assert.ok(w.changes.all.every((c) => !c.names.includes('X')));
});

test('a connection that ends between the pieces', async (t) => {
  const w = await World.start(t);
  w.ack(await w.accept(0));
  w.say('s1', {full: true, d: [['A', 1, 1]]});
  await w.changes.until('A', (c) => c.complete);
  w.peer.ws.terminate();
  w.ack(await w.accept(1));
  w.say('s1', {full: true, more: true, d: [['B', 1, 1]]});
  const from = w.changes.all.length;
  w.peer.ws.close(1001);
  await w.changes.until('reconnecting', (c) => c.state === 'reconnecting', from);
  w.ack(await w.accept(2));
  w.say('s1', {full: true, d: [['C', 1, 1]]});
  await w.changes.until('C', (c) => c.names.join() === 'C');
  assert.ok(w.changes.all.every((c) => !c.names.includes('B')));
});

test('a condition that is wrong is told with its place, and is not asked for again', async (t) => {
  const where = '币 = 5', w = await World.start(t, {topics: '*', where}), cmd = await w.accept(0);
  assert.equal(cmd.where, where);
  w.peer.say({t: 'error', id: cmd.id, code: 400, reason: 'where, at byte 4: write == to compare', at: 4});
  const e = await w.errors.until('the error', () => true);
  assert.ok(e instanceof ScreenError);
  assert.deepEqual([e.code, e.at, e.index, e.temporary, e.unknown, w.screen.state], [400, 4, 2, false, false, 'rejected']);
  assert.equal(w.screen.error, e);
  w.client.subscribe('A', () => {});
  assert.equal((await w.peer.hear()).op, 'subscribe', 'and not the screen');
  w.peer.ws.terminate();
  const again = [await w.accept(1), await w.peer.hear()].map((m) => m.op).sort();
  assert.deepEqual(again, ['screen', 'subscribe'], 'the next connection may be to another edge');
});

test('an edge without screens says so', async (t) => {
  const w = await World.start(t), cmd = await w.accept(0);
  w.peer.say({t: 'error', id: cmd.id, code: 400, reason: 'unknown op "screen"'});
  assert.equal((await w.errors.until('the error', () => true)).unknown, true);
});

test('what is refused for now is asked for again', async (t) => {
  const w = await World.start(t), cmd = await w.accept(0);
  w.peer.say({t: 'error', id: cmd.id, code: 429, reason: 'no CPU for further conditions'});
  const e = await w.errors.until('the error', () => true);
  assert.deepEqual([e.temporary, w.screen.state], [true, 'rejected']);
  const again = await w.peer.hear();
  assert.deepEqual([again.op, again.screen], ['screen', 's1']);
  w.ack(again);
  w.say('s1', {full: true});
  const all = await w.changes.until('it is there, and empty', (c) => c.complete);
  assert.deepEqual([all.state, all.names, w.screen.error], ['live', [], undefined]);
});

test('another token has those asked for again that the first one did not allow', async (t) => {
  let n = 0;
  const jwt = () => `x.${Buffer.from(JSON.stringify({exp: Math.floor(Date.now() / 1000) + 4, n: n++})).toString('base64url')}.y`;
  const w = await World.start(t, query, {token: jwt}), cmd = await w.accept(0);
  w.peer.say({t: 'error', id: cmd.id, code: 403, reason: 'the token does not allow crypto:*'});
  assert.equal((await w.errors.until('the error', () => true)).temporary, false);
  const auth = await w.peer.hear();
  assert.equal(auth.op, 'auth');
  w.peer.ack(auth);
  assert.equal((await w.peer.hear()).op, 'screen');
});

test('closed screens are given up, and nothing is called any more', async (t) => {
  const w = await World.start(t), cmd = await w.accept(0), other = w.add('fx:*');
  const second = await w.peer.hear();
  assert.equal(second.screen, 's2');
  w.ack(cmd);
  w.say('s1', {full: true, d: [['A', 1, 1]]});
  await w.changes.until('A', (c) => c.complete);
  w.screen.close();
  w.screen.close();
  const un = await w.peer.hear();
  assert.deepEqual([un.op, un.screen, w.screen.state], ['unscreen', 's1', 'closed']);
  const count = w.changes.all.length;
  w.say('s1', {d: [['B', 1, 1]]});
  w.peer.say({t: 'error', id: un.id, code: 429, reason: 'too fast'});
  w.say('s2', {full: true, d: [['fx:A', 1, 1]]});
  await w.changes.until('the other one', (c) => c.screen === other);
  assert.ok(w.changes.all.slice(count).every((c) => c.screen === other));
  assert.equal(w.screen.rows.has('B'), false);
});

test('a screen that is closed before it was asked for is not asked for', async (t) => {
  const w = await World.start(t);
  w.screen.close();
  const other = w.add('fx:*'), cmd = await w.accept(0);
  assert.equal(cmd.screen, other.name);
});

test('screens and topics share a connection, and either alone keeps it', async (t) => {
  const w = await World.start(t), got = new Log(), sub = w.client.subscribe('A', got.add);
  const cmds = [await w.accept(0), await w.peer.hear()];
  assert.deepEqual(cmds.map((c) => c.op).sort(), ['screen', 'subscribe']);
  for (const c of cmds) if (c.op === 'screen') w.ack(c); else w.peer.ack(c);
  w.peer.rows('snapshot', ['A', 1, 'one']);
  w.say('s1', {full: true, d: [['A', 1, 'of the screen']]});
  await w.changes.until('the screen', (c) => c.complete);
  assert.equal((await got.until('the topic', () => true)).value, 'one');
  sub.unsubscribe();
  assert.equal((await w.peer.hear()).op, 'unsubscribe');
  w.peer.ws.terminate();
  const again = await w.accept(1);
  assert.equal(again.op, 'screen');
  assert.equal(w.peer.heard.all.length, 1);
});

test('a client that has ended tells its screens why', async (t) => {
  const w = await World.start(t, query, {onError: () => {}});
  await w.accept(0);
  w.peer.ws.close(4502, 'go away');
  const e = await w.errors.until('the end', () => true);
  assert.deepEqual([e.name, e.code, w.screen.state], ['ConnError', 4502, 'closed']);
  assert.throws(() => w.add(query), /go away/);
  const quiet = await World.start(t);
  await quiet.accept(0);
  quiet.client.close();
  assert.deepEqual([quiet.screen.state, quiet.errors.all.length], ['closed', 0]);
});

test('an edge that closes an idle connection is asked again by a new screen only', async (t) => {
  const states = new Log(), w = await World.start(t, query, {onConnection: states.add}), cmd = await w.accept(0);
  w.peer.say({t: 'error', id: cmd.id, code: 400, reason: 'no', at: 0});
  await w.errors.until('the error', () => true);
  w.peer.ws.close(4003, 'idle');
  await states.until('idle', (s) => s.state === 'idle');
  w.add('fx:*');
  await w.accept(1);
});

test('what can not be used is told, and no pattern is subscribed', async (t) => {
  const w = await World.start(t), states = new Log();
  for (const bad of [{}, {topics: 5}, '', [''], {topics: ['a', 5]}]) assert.throws(() => w.add(bad), TypeError);
  w.client.subscribe(['crypto:*', '*'], null, states.add);
  for (const topic of ['crypto:*', '*']) {
    const u = await states.until(topic, (u) => u.topic === topic && u.state === 'rejected');
    assert.equal(u.code, 422);
  }
  assert.equal((await w.accept(0)).op, 'screen');
});

test('rows that are none harm nobody', async (t) => {
  const w = await World.start(t);
  w.ack(await w.accept(0));
  w.peer.say({t: 'screen', ts: 1, screen: 's9', full: true, d: [{s: 'A', n: 1, v: 1}]});
  w.peer.say({t: 'screen', ts: 1, screen: 's1', full: true, d: [null, {}, {s: 5}, {s: 'A', n: 1, v: 1}], order: ['B', 'A', 7], out: {}});
  const all = await w.changes.until('A', (c) => c.complete);
  assert.deepEqual(all.names, ['A']);
});

test('events have no screens, and say so', async (t) => {
  const errors = new Log(), {fetch} = SSESocket;
  t.after(() => { SSESocket.fetch = fetch; });
  const c = quick(t, 'ws://127.0.0.1:1/ws', {WebSocket: null, fallback: SSESocket});
  const s = screen(c, query, {onError: errors.add});
  const e = await errors.until('the error', () => true);
  assert.deepEqual([e.code, e.temporary, s.state], [400, false, 'rejected']);
});
