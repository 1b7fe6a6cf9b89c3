// SPDX-License-Identifier: Apache-2.0

import test from 'node:test';
import assert from 'node:assert/strict';
import {createServer} from 'node:http';
import {Log, quick} from './harness.js';
import {SSESocket} from '../src/sse.js';

/** standin is a server of streams, that sends what a test says. */
async function standin(t) {
  const streams = new Log();
  const server = createServer((request, response) => {
    const s = {
      path: request.url, query: new URL(request.url, 'http://x').searchParams, headers: request.headers, response,
      closed: new Promise((r) => response.once('close', r)),
      say: (m, id) => response.write(`event: ${m.t}\n${id ? `id: ${id}\n` : ''}data: ${JSON.stringify(m)}\n\n`),
      begin: (ack, id) => {
        response.writeHead(200, {'Content-Type': 'text/event-stream'});
        s.say({t: 'hello', v: 1, conn: 'x', heartbeat: 20000, max_topics: 256});
        s.say({t: 'ack', op: 'subscribe', topics: 1, ...ack}, id);
      },
      rows: (t, id, ...d) => s.say({t, ts: 1, d: d.map(([s, n, v]) => ({s, n, v}))}, id),
    };
    streams.add(s);
  });
  await new Promise((r) => server.listen(0, '127.0.0.1', r));
  t.after(() => { server.closeAllConnections(); server.close(); });
  return {url: `http://127.0.0.1:${server.address().port}/`, accept: (i) => streams.until('stream ' + i, () => true, i), streams};
}

const options = {WebSocket: null, fallback: SSESocket};

test('a change of topics opens a stream with the token, then closes the old one', async (t) => {
  const s = await standin(t), c = quick(t, s.url, {...options, interval: 500}), got = new Log();
  const a = c.subscribe(['A', 'N&M'], got.add), p = await s.accept(0);
  assert.deepEqual([p.query.get('topics'), p.query.get('interval'), p.query.has('resume')], ['A,N&M', '500', false]);
  p.begin();
  p.rows('snapshot', 'ONE', ['A', 1, 1]);
  await got.until('A', (u) => u.topic === 'A');
  c.subscribe('B', got.add);
  const q = await s.accept(1);
  assert.deepEqual([q.query.get('topics'), q.query.get('resume'), q.query.get('fresh')], ['A,N&M,B', 'ONE', 'N&M,B']);
  p.rows('update', 'TWO', ['A', 2, 2]);
  await got.until('the old one is still heard', (u) => u.value === 2);
  q.begin({resumed: true});
  await p.closed;
  q.rows('snapshot', 'THREE', ['A', 2, 2], ['B', 9, 9]);
  q.rows('update', 'FOUR', ['A', 4, 4]);
  const four = await got.until('4', (u) => u.value === 4);
  assert.deepEqual([got.all.map((u) => u.value), four.conflated], [[1, 2, 9, 4], 1]);
  a.unsubscribe();
  const r = await s.accept(2);
  assert.deepEqual([r.query.get('topics'), r.query.get('fresh')], ['B', '']);
});

test('a stream that is lost comes back with the token', async (t) => {
  const s = await standin(t), c = quick(t, s.url, options), got = new Log(), states = new Log();
  c.subscribe(['A', 'N'], got.add, states.add);
  const p = await s.accept(0);
  p.begin();
  p.rows('snapshot', 'ONE', ['A', 1, 1]);
  await got.until('A', () => true);
  const from = states.all.length;
  p.say({t: 'bye', code: 1012, reason: 'draining', retry_ms: 1});
  p.response.end();
  assert.equal((await states.until('reconnecting', (u) => u.state === 'reconnecting')).code, 1012);
  const q = await s.accept(1);
  assert.deepEqual([q.query.get('resume'), q.query.get('fresh')], ['ONE', 'N']);
  q.begin({resumed: true});
  await states.until('A is live', (u) => u.topic === 'A' && u.state === 'live', from);
  assert.equal(got.all.length, 1);
});

test('refusals: 503 comes back, 401 asks for another token, 403 ends', async (t) => {
  const s = await standin(t), told = new Log();
  let n = 0;
  const c = quick(t, s.url, {...options, token: () => 'token' + n++, onError: told.add});
  c.subscribe('A', () => {});
  const refuse = async (i, status, headers) => {
    const p = await s.accept(i);
    p.response.writeHead(status, headers).end('because\n');
    return p.headers.authorization;
  };
  assert.equal(await refuse(0, 503, {'Retry-After': '0'}), 'Bearer token0');
  assert.equal(await refuse(1, 401), 'Bearer token0');
  assert.equal(await refuse(2, 403), 'Bearer token1');
  const error = await told.until('the error', () => true);
  assert.deepEqual([error.status, error.reason], [403, 'because']);
});

test('topics for which a URL has no room are rejected, and the token is left out where it has none for it', async (t) => {
  const s = await standin(t), c = quick(t, s.url, options), got = new Log();
  const names = Array.from({length: 256}, (_, i) => `${i}`.padEnd(30, 'x'));
  c.subscribe(names, null, got.add);
  const p = await s.accept(0), has = p.query.get('topics').split(',');
  assert.ok(has.length > 100 && has.length < 256, `${has.length}`);
  p.begin();
  const last = await got.until('rejected', (u) => u.topic === names.at(-1) && u.state === 'rejected');
  assert.equal(last.code, 431);
  p.rows('snapshot', 'ONE', [names[0], 1, 1]);
  await got.until('live', (u) => u.state === 'live');
  c.subscribe('B', () => {});
  const q = await s.accept(1);
  assert.equal(q.query.has('resume'), false);
  assert.ok(q.path.length < 7000);
});

test('a topic that a new stream does not give, and the old one did, is told', async (t) => {
  const s = await standin(t), c = quick(t, s.url, options), got = new Log();
  c.subscribe('A', null, got.add);
  const p = await s.accept(0);
  p.begin();
  p.rows('snapshot', 'ONE', ['A', 1, 1]);
  await got.until('live', (u) => u.state === 'live');
  c.subscribe('B', null, got.add);
  (await s.accept(1)).begin({rejected: [{topic: 'A', code: 429, reason: 'too fast'}]});
  assert.deepEqual(await got.until('rejected', (u) => u.topic === 'A' && u.state === 'rejected').then((u) => u.reason), 'too fast');
});
