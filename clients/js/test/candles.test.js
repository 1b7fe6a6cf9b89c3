// SPDX-License-Identifier: Apache-2.0

import test from 'node:test';
import assert from 'node:assert/strict';
import {HistoryError, candles, span} from '../src/candles.js';

const M = 60_000, T0 = 1_764_288_000_000;
const bar = (i, o = {}) => ({t: T0 + i * M, o: 1, h: 2, l: 1, c: 2, v: 1, q: 2, n: 1, ...o});
const value = (i, ver, o = {}) => ({tf: '1m', bar: bar(i), closed: [bar(i - 2), bar(i - 1)], revs: 0, ver, ...o});

/** World is a client and a history whose bars up to `last` are closed; it answers when it is told to. */
class World {
  bars = []; last = 0; revs = 0; ver = 1; asked = []; changed = 0; errors = []; fail = [];
  constructor(o = {}) {
    const client = {subscribe: (names, onValue, onState) => {
      this.names = names;
      this.tell = (v) => onValue({value: v, state: 'live'});
      this.state = (u) => onState(u);
      return {closed: new Promise(() => {}), unsubscribe: () => { this.left = true; }};
    }};
    this.candles = candles(client, 'SIM:BTC/USD', '1m', {
      history: 'http://h.test/history', onChange: () => { this.changed++; this.wake?.(); }, onError: (e) => this.errors.push(e), fetch: (u, init) => this.answer(u, init), ...o,
    });
  }

  async answer(u, init) {
    this.asked.push({u, init});
    await this.hold;
    const f = this.fail.shift();
    if (f) return new Response(JSON.stringify({title: 'x', status: f.status, detail: f.detail}), {status: f.status, headers: f.headers});
    const q = u.searchParams, limit = Number(q.get('limit')), before = q.get('before');
    let list = this.bars.filter((b) => b.t >= Number(q.get('from') ?? 0) && (before === null || b.t < Number(before)));
    const next = list.length > limit ? String(list.at(-limit).t) : null;
    list = list.slice(-limit);
    const open = before === null ? {open: this.open, revs: this.revs, ver: this.ver} : {};
    return Response.json({symbol: 'SIM:BTC/USD', tf: '1m', bars: list, next, ...open});
  }

  /** until waits for what a change brings. */
  async until(what, text) {
    const end = AbortSignal.timeout(20_000);
    while (!what()) {
      assert.ok(!end.aborted, text);
      await new Promise((done) => { this.wake = done; setTimeout(done, 20); });
    }
  }

  starts() { return this.candles.bars.map((b) => (b.t - T0) / M); }
}

const run = (a, b) => Array.from({length: b - a}, (_, i) => bar(a + i));

test('history and subscription give each bar once', async (t) => {
  const w = new World();
  t.after(() => w.candles.close());
  assert.deepEqual(w.names, ['kline:1m:SIM:BTC/USD']);
  w.bars = run(0, 10);
  w.open = bar(10, {n: 5});
  w.ver = 7;
  w.tell(value(10, 6, {bar: bar(10, {n: 4})})); // Before the answer, and older than it.
  await w.until(() => w.candles.bars.length === 11, 'the answer');
  assert.deepEqual(w.starts(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.equal(w.candles.bars.at(-1).n, 5);
  assert.ok(w.candles.open);
  w.tell(value(11, 8, {closed: [bar(9), bar(10, {n: 9})]}));
  assert.deepEqual(w.starts().slice(-3), [9, 10, 11]);
  assert.equal(w.candles.bars.at(-2).n, 9, 'the final value of a bar that closed');
  w.tell(value(11, 8, {bar: bar(11, {n: 99})}));
  assert.equal(w.candles.bars.at(-1).n, 1, 'a value that is no newer');
  assert.equal(w.asked.length, 1);
  assert.equal(w.asked[0].u.pathname, '/history/SIM%3ABTC%2FUSD');
});

test('a value that came first is kept until there is an answer', async (t) => {
  const w = new World();
  t.after(() => w.candles.close());
  w.bars = run(0, 9);
  w.open = bar(9);
  w.tell(value(10, 9, {bar: bar(10, {n: 3})}));
  assert.equal(w.candles.bars.length, 0);
  await w.until(() => w.candles.bars.length === 11, 'both');
  assert.deepEqual(w.starts(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
});

test('a jump has the rest fetched', async (t) => {
  const w = new World();
  t.after(() => w.candles.close());
  w.bars = run(0, 5);
  w.open = bar(5);
  await w.until(() => w.candles.bars.length === 6, 'the first answer');
  w.bars = run(0, 12).map((b) => ({...b, n: 7}));
  w.open = bar(12);
  w.ver = 20;
  w.tell(value(12, 20));
  await w.until(() => w.candles.bars.length === 13, 'the bars between');
  assert.deepEqual(w.starts(), Array.from({length: 13}, (_, i) => i));
  assert.equal(w.asked[1].u.searchParams.get('from'), String(bar(4).t));
  assert.equal(w.candles.bars[5].n, 7, 'the bar that was open when the connection was lost');
});

test('a jump over more than history gives at once begins anew', async (t) => {
  const w = new World({limit: 4});
  t.after(() => w.candles.close());
  w.bars = run(0, 5);
  w.open = bar(5);
  await w.until(() => w.candles.bars.length === 5, 'the first answer');
  assert.ok(w.candles.more);
  w.bars = run(0, 6000);
  w.open = bar(6000);
  w.ver = 20;
  w.tell(value(6000, 20));
  await w.until(() => w.starts()[0] === 1000, 'no hole');
  assert.equal(w.candles.bars.length, 5001);
  assert.ok(w.candles.more);
});

test('revisions are fetched', async (t) => {
  const w = new World();
  t.after(() => w.candles.close());
  w.bars = run(0, 200);
  w.open = bar(200);
  await w.until(() => w.candles.bars.length === 201, 'the first answer');
  w.bars[150] = bar(150, {h: 9, n: 2, rev: 1});
  Object.assign(w, {revs: 1, ver: 5});
  w.tell(value(200, 5, {revs: 1}));
  await w.until(() => w.candles.bars[150].h === 9, 'the bar that was revised');
  assert.equal(Number(w.asked[1].u.searchParams.get('from')), bar(200).t - 3_600_000 - M);
  w.tell(value(200, 6, {revs: 2, closed: [bar(198), bar(199, {h: 5, n: 2, rev: 1})]}));
  w.bars[198] = bar(198, {n: 4, rev: 1});
  await w.until(() => w.candles.bars[198].n === 4, 'the next fetch');
  assert.equal(w.candles.bars[199].h, 5, 'a bar of the history that has fewer trades counts for nothing');
  w.tell(value(200, 7, {revs: 2, closed: [bar(198), bar(199)]}));
  assert.equal(w.candles.bars[199].h, 2, 'what is newest counts');
});

test('bars that are closing, and a market that is quiet', async (t) => {
  const w = new World();
  t.after(() => w.candles.close());
  w.bars = run(0, 5);
  w.open = bar(5);
  await w.until(() => w.candles.bars.length === 6, 'the first answer');
  w.tell(value(6, 3, {closing: [bar(5, {n: 4})], closed: [bar(3), bar(4)]}));
  assert.deepEqual(w.starts().slice(-3), [4, 5, 6]);
  assert.ok(w.candles.open && w.candles.bars.at(-2).n === 4);
  w.tell(value(6, 4, {bar: undefined, closed: [bar(5, {n: 5}), bar(6, {n: 2})]}));
  assert.ok(!w.candles.open && w.candles.bars.at(-1).n === 2);
  assert.equal(w.asked.length, 1);
});

test('bars that were closing are fetched where the next value does not tell how they ended', async (t) => {
  const w = new World();
  t.after(() => w.candles.close());
  w.bars = run(0, 5);
  w.open = bar(5);
  await w.until(() => w.candles.bars.length === 6, 'the first answer');
  w.tell(value(7, 3, {closing: [bar(5), bar(6)], closed: [bar(3), bar(4)]}));
  w.bars = run(0, 8).map((b) => ({...b, n: 9}));
  w.open = bar(8);
  w.ver = 4;
  w.tell(value(8, 4, {closed: [bar(6, {n: 9}), bar(7, {n: 9})]}));
  await w.until(() => w.candles.bars[5].n === 9, 'the bar that was closing');
  assert.equal(w.asked[1].u.searchParams.get('from'), String(bar(5).t));
});

test('bars before the first value are fetched, if there were none yet', async (t) => {
  const w = new World();
  t.after(() => w.candles.close());
  await w.until(() => w.changed > 0, 'the first answer, which has no bars');
  w.bars = run(0, 5);
  w.open = bar(5);
  w.tell(value(5, 3));
  await w.until(() => w.candles.bars.length === 6, 'the bars before');
});

test('pages', async (t) => {
  const w = new World({limit: 10});
  t.after(() => w.candles.close());
  w.bars = run(0, 25);
  w.open = bar(25);
  await w.until(() => w.candles.bars.length === 11, 'the first page');
  const both = await Promise.all([w.candles.older(), w.candles.older()]);
  assert.deepEqual(both.sort(), [0, 10]);
  assert.deepEqual(w.starts(), Array.from({length: 21}, (_, i) => i + 5));
  assert.equal(await w.candles.older(), 5);
  assert.equal(await w.candles.older(), 0);
  assert.ok(!w.candles.more);
});

test('errors of the history', async (t) => {
  const w = new World({token: async () => 'abc'});
  t.after(() => w.candles.close());
  w.bars = run(0, 2);
  w.open = bar(2);
  w.fail = [{status: 503, detail: 'not yet'}];
  await w.until(() => w.candles.error, 'it is told');
  assert.equal(w.candles.error.message, 'not yet');
  await w.until(() => w.candles.bars.length === 3, 'the second attempt');
  assert.equal(w.candles.error, undefined);
  assert.equal(w.errors.length, 0);
  assert.equal(w.asked[0].init.headers.authorization, 'Bearer abc');
  const no = new World();
  t.after(() => no.candles.close());
  no.fail = [{status: 403, detail: 'not yours'}];
  await no.until(() => no.errors.length, 'what would be the same again');
  assert.ok(no.errors[0] instanceof HistoryError && no.errors[0].status === 403);
});

test('nothing is called behind close', async () => {
  const w = new World();
  let go;
  w.hold = new Promise((done) => { go = done; });
  await w.until(() => w.asked.length, 'the fetch');
  w.candles.close();
  w.candles.close();
  assert.ok(w.left && w.asked[0].init.signal.aborted);
  go();
  await w.hold;
  w.tell(value(1, 1));
  assert.equal(w.changed, 0);
});

test('how long bars are', () => {
  assert.deepEqual(['1s', '5m', '4h', '1d'].map(span), [1000, 300_000, 14_400_000, 86_400_000]);
});
