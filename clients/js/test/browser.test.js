// SPDX-License-Identifier: Apache-2.0

import test from 'node:test';
import assert from 'node:assert/strict';
import {createServer} from 'node:http';
import {existsSync, readFileSync} from 'node:fs';
import {chromium} from 'playwright-core';
import {Edge, PATIENCE, Redis, SYMBOLS} from './harness.js';

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const skip = !existsSync(executablePath) && 'there is no chromium';
const FLAGS = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const KILLS = process.env.TICKEDGE_LONG ? 10 : 4;

async function serve(t) {
  const root = new URL('..', import.meta.url);
  const server = createServer((q, a) => {
    const {pathname} = new URL(q.url, 'http://x');
    if (pathname === '/blocked') { // A page that may open no WebSocket.
      a.writeHead(200, {'Content-Type': 'text/html', 'Content-Security-Policy': 'connect-src http:'}).end('<!doctype html>');
      return;
    }
    try {
      const body = readFileSync(new URL('.' + pathname, root));
      a.writeHead(200, {'Content-Type': pathname.endsWith('.js') ? 'text/javascript' : 'text/html'}).end(body);
    } catch { a.writeHead(404).end(); }
  });
  await new Promise((r) => server.listen(0, '127.0.0.1', r));
  t.after(() => { server.closeAllConnections(); server.close(); });
  return `http://127.0.0.1:${server.address().port}`;
}

test(`a page with 200 subscribers of 50 topics survives ${KILLS} kills of the edge`, {skip}, async (t) => {
  const page = await serve(t), redis = await Redis.start(t), args = ['-origin', page, '-redis', redis.url];
  // Ten topics have one value for all time, the others new ones, also while there is no edge.
  let seq = 0;
  const newest = new Map(), tick = (s) => { newest.set(s, ++seq); redis.publish(s, {p: seq % 10, ts: seq}); };
  SYMBOLS.forEach(tick);
  const ticking = setInterval(() => { for (let i = 0; i < 5; i++) tick(SYMBOLS[10 + seq % 40]); }, 20);
  t.after(() => clearInterval(ticking));
  let e = await Edge.start(t, undefined, ...args);
  const {address, url} = e;
  const browser = await chromium.launch({executablePath, args: FLAGS, chromiumSandbox: false, timeout: PATIENCE});
  t.after(() => browser.close());
  const tab = await browser.newPage(), errors = [];
  tab.setDefaultTimeout(PATIENCE);
  tab.on('pageerror', (error) => errors.push(error.message));
  await tab.goto(`${page}/test/page.html?edge=${encodeURIComponent(url)}`);
  const live = (made) => tab.waitForFunction((made) => { const r = window.report?.(); return r && r.made > made && r.live === 50 && r.open === 1; }, made);
  await live(0);
  const cdp = await tab.context().newCDPSession(tab);
  const heap = async () => {
    await cdp.send('HeapProfiler.collectGarbage');
    return (await cdp.send('Runtime.getHeapUsage')).usedSize;
  };
  /** alive counts the objects of a class that are still there. */
  const alive = async (of) => {
    const {result: {objectId}} = await cdp.send('Runtime.evaluate', {expression: `Promise.resolve(${of}).then((c) => c.prototype)`, awaitPromise: true});
    const {objects} = await cdp.send('Runtime.queryObjects', {prototypeObjectId: objectId});
    const {result} = await cdp.send('Runtime.callFunctionOn', {objectId: objects.objectId, functionDeclaration: 'function() { return this.length }', returnByValue: true});
    return result.value;
  };
  const before = await heap(), began = performance.now();
  for (let i = 0; i < KILLS; i++) {
    const {made} = await tab.evaluate(() => window.report());
    await e.kill();
    e = await Edge.start(t, address, ...args);
    // By turns: while it is greeted, while rows come, and when all is well.
    if (i % 3 === 0) await tab.waitForFunction((made) => window.report().made > made, made);
    if (i % 3 === 1) await tab.waitForFunction((calls) => window.report().calls > calls, (await tab.evaluate(() => window.report())).calls);
    if (i % 3 === 2) await live(made);
  }
  const killed = performance.now();
  await live(0);
  clearInterval(ticking);
  // All 200 have the newest of each of their topics.
  await tab.waitForFunction((newest) => { const {oldest} = window.report(); return newest.every(([s, ts]) => oldest[s] === ts); }, [...newest]);
  const after = await heap(), r = await tab.evaluate(() => window.report());
  t.diagnostic(`${KILLS} kills in ${Math.round((killed - began) / 1000)} s: ${r.calls} calls, ${r.made} WebSockets, heap ${before} to ${after} bytes`);
  assert.equal(r.duplicates, 0);
  assert.equal(r.open, 1);
  assert.ok(after < before + (1 << 20), `the heap grew from ${before} to ${after}`);
  const left = [];
  for (const of of ['Counted', "import('/src/session.js').then((m) => m.Session)", "import('/src/topic.js').then((m) => m.Topic)"]) left.push(await alive(of));
  assert.deepEqual(left, [1, 1, 50], 'WebSockets, sessions and topics');
  await tab.evaluate(() => window.end());
  await tab.waitForFunction(() => window.report().open === 0);
  assert.deepEqual(errors, []);
});

test('the chart page of the README draws', {skip}, async (t) => {
  const page = await serve(t), e = await Edge.start(t, undefined, '-origin', page);
  const browser = await chromium.launch({executablePath, args: FLAGS, chromiumSandbox: false, timeout: PATIENCE});
  t.after(() => browser.close());
  const tab = await browser.newPage();
  tab.setDefaultTimeout(PATIENCE);
  await tab.goto(`${page}/examples/chart.html?edge=${encodeURIComponent(e.url)}&topic=S0`);
  await tab.waitForFunction(() => document.querySelector('polyline').points.length > 3 && document.querySelector('output').textContent.includes('live'));
  if (process.env.SCREENSHOT) await tab.screenshot({path: process.env.SCREENSHOT});
});

test('a page that may open no WebSocket reads events', {skip}, async (t) => {
  const page = await serve(t), e = await Edge.start(t, undefined, '-origin', page);
  const browser = await chromium.launch({executablePath, args: FLAGS, chromiumSandbox: false, timeout: PATIENCE});
  t.after(() => browser.close());
  const tab = await browser.newPage();
  tab.setDefaultTimeout(PATIENCE);
  await tab.goto(page + '/blocked');
  const got = await tab.evaluate(async (edge) => {
    const {Client} = await import('/src/client.js'), {SSESocket} = await import('/src/sse.js');
    let made = 0;
    class Counted extends WebSocket { constructor(...a) { made++; super(...a); } }
    const client = new Client(edge, {WebSocket: Counted, fallback: SSESocket, minBackoff: 10, maxBackoff: 10}), topics = new Set();
    for await (const u of client.subscribe(['S0', 'S1'])) if (u.state === 'live' && topics.add(u.topic).size === 2) break;
    client.close();
    return [made, [...topics].sort()];
  }, e.url);
  assert.deepEqual(got, [2, ['S0', 'S1']]);
});
