// SPDX-License-Identifier: Apache-2.0

import test from 'node:test';
import assert from 'node:assert/strict';
import {Log, Standin, WebSocket, quick} from './harness.js';
import {ReconnectingWebSocket} from '../src/reconnecting.js';

test('the drop-in WebSocket opens again, and keeps what was sent meanwhile', async (t) => {
  const s = await Standin.start(t), got = new Log();
  const ws = new ReconnectingWebSocket(() => s.url, [], {WebSocket, minBackoff: 10, maxBackoff: 10});
  t.after(() => ws.close());
  for (const type of ['open', 'message', 'close']) ws.addEventListener(type, got.add);
  ws.send('{"first":1}');
  let p = await s.accept(0);
  assert.deepEqual(await p.hear(), {first: 1});
  await got.until('a message', (e) => e.type === 'message' && JSON.parse(e.data).t === 'hello');
  p.ws.close(1012);
  assert.equal((await got.until('closed', (e) => e.type === 'close')).code, 1012);
  assert.equal(ws.readyState, 0);
  p = await s.accept(1);
  const from = got.all.length;
  p.ws.close(4503, 'rate');
  await got.until('closed', (e) => e.code === 4503, Math.max(0, from - 2));
  assert.equal(ws.readyState, 3);
  const opened = got.all.length;
  ws.reconnect();
  p = await s.accept(2);
  await got.until('open', (e) => e.type === 'open', opened);
  ws.close();
  await p.closed;
  await got.until('closed', (e) => e.code === 1000, from);
  assert.equal(ws.readyState, 3);
  assert.equal(s.peers.all.length, 3);
});

test('the drop-in WebSocket is closed while it opens, and within its listeners', async (t) => {
  const s = await Standin.start(t), got = new Log(), asked = new Log();
  const ws = new ReconnectingWebSocket(() => new Promise((ok) => asked.add(() => ok(s.url))), [], {WebSocket, minBackoff: 1, maxBackoff: 1});
  ws.onclose = got.add;
  (await asked.until('the URL is asked for', () => true))();
  ws.close();
  assert.equal(ws.readyState, 3);
  ws.reconnect();
  (await asked.until('the URL is asked for again', () => true, 1))();
  ws.onclose = (e) => { got.add(e); ws.close(); };
  (await s.accept(0)).ws.terminate();
  assert.equal((await got.until('closed', () => true)).code, 1006);
  assert.deepEqual([ws.readyState, asked.all.length, s.peers.all.length], [3, 2, 1]);
});

// As in Chromium, where the policy of a page forbids WebSockets.
class Forbidden {
  readyState = 3;
  constructor() { queueMicrotask(() => this.onerror({type: 'error'})); }
  close() {}
}

test('a WebSocket that says error and never close has ended', async (t) => {
  const c = quick(t, 'ws://127.0.0.1:9/', {WebSocket: Forbidden, handshakeTimeout: 600_000}), got = new Log(), closed = new Log();
  c.subscribe('A', null, got.add);
  await got.until('reconnecting', (u) => u.state === 'reconnecting');
  const ws = new ReconnectingWebSocket('ws://127.0.0.1:9/', [], {WebSocket: Forbidden, handshakeTimeout: 600_000, minBackoff: 1, maxBackoff: 1});
  t.after(() => ws.close());
  ws.onclose = closed.add;
  await closed.until('closed', (e) => e.code === 1006);
});
