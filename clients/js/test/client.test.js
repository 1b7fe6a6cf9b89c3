// SPDX-License-Identifier: Apache-2.0

import test from 'node:test';
import assert from 'node:assert/strict';
import {Client} from '../src/client.js';

const made = [];
class Fake {
  sent = [];
  constructor() { made.push(this); Fake.came?.(this); }
  send(s) { this.sent.push(JSON.parse(s)); }
  close() {}
  say(m) { this.onmessage({data: JSON.stringify(m)}); }
}

test('subscribers share a subscription, rows come once, and it comes back after bye', async () => {
  const c = new Client('ws://x', {WebSocket: Fake}), got = [];
  const a = c.subscribe(['A'], (r) => got.push(r.v)), b = c.subscribe(['A'], () => {});
  const ws = made[0];
  ws.onopen();
  assert.deepEqual(ws.sent, [{op: 'subscribe', topics: ['A']}]);
  for (const n of [1, 1, 2]) ws.say({t: 'update', d: [{s: 'A', n, v: n}]});
  assert.deepEqual(got, [1, 2]);
  a.unsubscribe();
  assert.equal(ws.sent.length, 1);
  b.unsubscribe();
  assert.deepEqual(ws.sent[1], {op: 'unsubscribe', topics: ['A']});
  c.subscribe(['B'], () => {});
  const again = new Promise((r) => { Fake.came = r; });
  ws.say({t: 'bye', code: 1012, retry_ms: 1});
  ws.onclose({code: 1012});
  const next = await again;
  next.onopen?.() ?? await new Promise(setImmediate);
  assert.equal(made.length, 2);
  next.onclose({code: 4503});
  assert.throws(() => c.subscribe(['A'], () => {}));
});
