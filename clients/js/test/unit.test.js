// SPDX-License-Identifier: Apache-2.0

import test from 'node:test';
import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {gzipSync} from 'node:zlib';
import {buildSync} from 'esbuild';
import {board, parts, target} from '../board.js';
import {Client, ConnError} from '../src/client.js';
import {judge} from '../src/retry.js';
import {Token, expiry} from '../src/token.js';
import {glob, isDown} from '../src/topic.js';
import {read} from '../src/sse.js';

test('the core has 6 KiB at most, minified by esbuild and compressed', (t) => {
  const {outputFiles: [{contents}]} = buildSync({
    entryPoints: [new URL('../src/client.js', import.meta.url).pathname], bundle: true, minify: true, format: 'esm', write: false,
  });
  const size = gzipSync(contents, {level: 9}).length;
  t.diagnostic(`${size} bytes`);
  assert.ok(size <= 6 << 10, `${size} bytes`);
});

test('the live board of the edge has this client', () => {
  for (const part in parts) assert.equal(readFileSync(target(part), 'utf8'), board(part), 'npm run board');
});

test('what follows from the end of a connection', () => {
  const o = {minBackoff: 1000, maxBackoff: 30_000}, most = (ms) => ms;
  const of = (e) => judge({tries: 0, lived: 1, ...e}, o, most);
  for (const code of [1002, 1003, 1007, 1008, 1009, 4501, 4502, 4503, 4504, 4777]) {
    assert.ok(of({code, reason: 'x'}).never instanceof ConnError, code);
    assert.equal(of({code, reason: 'x'}).never.code, code);
  }
  for (const code of [1000, 1001, 1006, 1011, 1012, 4001, 4002, 4003, 4004, 4400]) assert.equal(of({code}).never, undefined, code);
  assert.equal(of({code: 4003}).park, true);
  assert.equal(of({code: 4004}).park, undefined);
  assert.equal(of({code: 4004, lived: 10_000}).pause, 0);
  assert.equal(of({code: 4004, lived: 10}).pause, 1000);
  assert.equal(of({code: 4001}).pause, 2500);
  assert.equal(of({code: 4501, token: true}).badToken, 'refused');
  assert.equal(of({code: 4501, token: true}).never, undefined);
  assert.deepEqual([0, 1, 2, 5, 50].map((tries) => of({code: 1006, tries}).pause), [1000, 2000, 4000, 30_000, 30_000]);
  assert.equal(of({code: 1012, after: 420}).pause, 420);
  assert.equal(of({code: 1012, after: 1e12}).pause, 600_000);
  assert.equal(of({code: 1012, after: 0, tries: 5}).pause, 8000);
  assert.equal(of({code: 1012, after: 0, tries: 5, lived: 10_000}).pause, 0);
  for (const status of [401, 400, 403, 404, 405, 426]) assert.equal(of({code: 1006, status, lived: 0}).never.status, status);
  for (const status of [429, 503, 500, 502]) assert.equal(of({code: 1006, status, lived: 0}).never, undefined);
  assert.equal(of({code: 1006, status: 403, lived: 0, again: true}).never, undefined);
  const pauses = Array.from({length: 1000}, () => judge({code: 1006, tries: 3, lived: 1}, o).pause);
  assert.ok(Math.min(...pauses) < 800 && Math.max(...pauses) > 7200 && Math.max(...pauses) <= 8000);
});

test('patterns of feeds', () => {
  for (const [p, yes, no] of [['fx:*', 'fx:EUR', 'f:x'], ['*', 'A', null], ['a*b*c', 'a1b2c', 'a1c2b'], ['a*a', 'aa', 'a'], ['A', 'A', 'AB'], ['*x*x', 'xx', 'x']]) {
    assert.ok(glob(p, yes), p);
    if (no) assert.ok(!glob(p, no), p);
  }
  const feeds = new Map([['fx:*, c:*', true], ['', false]]);
  assert.ok(isDown(feeds, 'c:1'));
  assert.ok(!isDown(feeds, 'X'));
  assert.ok(!isDown(new Map([['fx:*', false], ['', true]]), 'fx:1'));
  assert.ok(isDown(new Map([['fx:*', false], ['', true]]), 'X'));
});

test('exp of a token', () => {
  const jwt = (claims) => `x.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.y`;
  assert.equal(expiry(jwt({exp: 1000.9, sub: '币>>>???'})), 1_000_000);
  for (const bad of [jwt({}), jwt({exp: 'x'}), jwt({exp: -1}), 'opaque', '', 'a.b.c']) assert.equal(expiry(bad), 0, bad);
});

test('a token is renewed before it ends', (t) => {
  const start = Date.now(), token = new Token(() => ''), {now} = Date;
  t.after(() => { Date.now = now; });
  Date.now = () => start;
  for (const [left, want] of [[3000, 2000], [60_000, 40_000], [600_000, 540_000], [1000, 1000], [-5000, 1000]]) {
    token.exp = start + left;
    assert.equal(token.lead(), want);
  }
  token.exp = 0;
  assert.equal(token.lead(), Infinity);
  for (const [left, want] of [[60_000, 5000], [8000, 2000], [0, 1000]]) {
    token.exp = start + left;
    assert.equal(token.after(), want);
  }
});

test('what can not be used is told', () => {
  const o = {WebSocket: class {}};
  assert.throws(() => new Client('ftp://x', o), TypeError);
  assert.throws(() => new Client('no', o), TypeError);
  assert.throws(() => new Client('ws://x', {...o, interval: 99}), RangeError);
  assert.throws(() => new Client('ws://x', {WebSocket: null}), TypeError);
  const c = new Client('ws://x', o);
  assert.throws(() => c.subscribe([]), TypeError);
  assert.throws(() => c.subscribe([1]), TypeError);
  c.close();
  c.close();
  assert.throws(() => c.subscribe('A'), /closed/);
});

test('streams of events are read as the HTML standard says, however they are cut', async () => {
  const text = '\ufeff: comment\r\ndata:a\rdata: b\n\nid: 7\ndata\n\nid: x\0\ndata: c\r\n\r\nevent: x\n\ndata:  d€\nfoo: x\nid\n\ndata: lost';
  const bytes = new TextEncoder().encode(text), want = [['a\nb', ''], ['', '7'], ['c', '7'], [' d€', '']];
  for (let size = 1; size <= bytes.length; size++) {
    const got = [];
    await read(new ReadableStream({
      start(c) { for (let i = 0; i < bytes.length; i += size) c.enqueue(bytes.slice(i, i + size)); c.close(); },
    }), (data, id) => got.push([data, id]));
    assert.deepEqual(got, want, `in pieces of ${size}`);
  }
});
