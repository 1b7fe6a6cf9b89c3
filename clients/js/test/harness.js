// SPDX-License-Identifier: Apache-2.0

import {execFileSync, spawn} from 'node:child_process';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {createServer, connect} from 'node:net';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import {WebSocket, WebSocketServer} from 'ws';
import {Client} from '../src/client.js';

export {WebSocket};

/** PATIENCE bounds every wait, in ms. It is only reached when a test fails. */
export const PATIENCE = 60_000;

export const SYMBOLS = Array.from({length: 50}, (_, i) => 'S' + i);

let built;
function binary() {
  if (process.env.TICKEDGE_EDGE) return process.env.TICKEDGE_EDGE;
  if (!built) {
    const dir = mkdtempSync(join(tmpdir(), 'edge-'));
    process.on('exit', () => rmSync(dir, {recursive: true, force: true}));
    built = join(dir, 'edge');
    execFileSync('go', ['build', '-o', built, './cmd/edge'], {cwd: new URL('../../..', import.meta.url), stdio: 'inherit'});
  }
  return built;
}

/** Redis is a redis-server of a test's own, that outlives the edges that read it. */
export class Redis {
  static async start(t) {
    const r = new Redis(), free = createServer();
    await new Promise((ok) => free.listen(0, '127.0.0.1', ok));
    const {port} = free.address();
    await new Promise((ok) => free.close(ok));
    r.process = spawn('redis-server', ['--bind', '127.0.0.1', '--port', String(port), '--save', '', '--appendonly', 'no'], {stdio: ['ignore', 'pipe', 'inherit']});
    t.after(() => r.process.kill('SIGKILL'));
    await within(new Promise((ok, no) => {
      createInterface(r.process.stdout).on('line', (line) => { if (/ready to accept connections/i.test(line)) ok(); });
      r.process.once('exit', () => no(new Error('redis-server has ended')));
    }), 'redis-server listens');
    r.url = `redis://127.0.0.1:${port}`;
    r.socket = connect(port, '127.0.0.1').on('error', () => {});
    r.socket.resume();
    t.after(() => r.socket.destroy());
    return r;
  }

  /** publish makes a value the newest of its topic. */
  publish(topic, value) {
    const v = JSON.stringify(value), command = (...parts) => `*${parts.length}\r\n` + parts.map((p) => `$${p.length}\r\n${p}\r\n`).join('');
    this.socket.write(command('MULTI') + command('SET', 'price:' + topic, v) + command('PUBLISH', 'channel:prices:' + topic, v) + command('EXEC'));
  }
}

/** Edge is a running edge with a simulated market, or a Redis. */
export class Edge {
  /** start runs one at an address, such as 127.0.0.1:0, and waits until it listens. */
  static async start(t, listen = '127.0.0.1:0', ...args) {
    const e = new Edge();
    const market = args.includes('-redis') ? [] : ['-demo', '-demo-symbols', SYMBOLS.join(',')];
    e.process = spawn(binary(), [...market, '-listen', listen, '-admin', '127.0.0.1:0', '-log-format', 'json', '-drain', '100ms', ...args],
      {stdio: ['ignore', 'ignore', 'pipe']});
    e.gone = new Promise((r) => e.process.once('exit', r));
    t.after(async () => { e.signal('SIGCONT'); await e.kill(); });
    let log = '';
    e.address = await within(new Promise((ok, no) => {
      createInterface(e.process.stderr).on('line', (line) => {
        log += line + '\n';
        let m;
        try { m = JSON.parse(line); } catch { return; }
        if (m.msg === 'listening') ok(m.addr);
      });
      e.gone.then(() => no(new Error('the edge does not listen:\n' + log)));
    }), 'the edge listens');
    e.url = `ws://${e.address}/ws`;
    return e;
  }

  signal(s) { this.process.kill(s); }
  async kill() { this.process.kill('SIGKILL'); await this.gone; }
}

/** within fails if a promise takes too long. */
export function within(promise, what) {
  let timer;
  const late = new Promise((_, no) => { timer = setTimeout(() => no(new Error('too late: ' + what)), PATIENCE); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Log keeps what a callback was given, and waits for what is still to come. */
export class Log {
  all = [];
  #look = new Set();
  add = (x) => { this.all.push(x); for (const f of this.#look) f(); };

  /** until waits for something at or behind a place in the log, and returns it. */
  until(what, is, from = 0) {
    return within(new Promise((ok) => {
      const f = () => {
        const found = this.all.slice(from).find(is);
        if (found !== undefined) { this.#look.delete(f); ok(found); }
      };
      this.#look.add(f);
      f();
    }), what);
  }
}

/** quick makes a client that comes back fast, and is closed with the test. */
export function quick(t, url, options) {
  const c = new Client(url, {WebSocket, minBackoff: 20, maxBackoff: 100, ...options});
  t.after(() => c.close());
  return c;
}

/** Standin is a server in the place of an edge, that says what a test has it say. */
export class Standin {
  static async start(t, options = {}) {
    const s = new Standin();
    s.server = new WebSocketServer({host: '127.0.0.1', port: 0, handleProtocols: () => 'tickedge.v1', ...options});
    await new Promise((r) => s.server.once('listening', r));
    s.url = `ws://127.0.0.1:${s.server.address().port}/ws`;
    s.peers = new Log();
    s.server.on('connection', (ws, request) => s.peers.add(new Peer(ws, request, options.silent)));
    t.after(() => { for (const c of s.server.clients) c.terminate(); s.server.close(); });
    return s;
  }

  /** accept waits for the connection of that number, from 0. */
  accept(i) { return this.peers.until('connection ' + i, () => true, i); }
}

class Peer {
  heard = new Log();
  #at = 0;

  constructor(ws, request, silent) {
    this.ws = ws;
    this.request = request;
    ws.on('message', (m) => this.heard.add(JSON.parse(m)));
    ws.on('error', () => {});
    this.closed = new Promise((r) => ws.once('close', r));
    if (!silent) this.say({t: 'hello', v: 1, conn: 'x', interval: 500, heartbeat: 20000, max_topics: 256});
  }

  say(m) { this.ws.send(JSON.stringify(m)); }
  rows(t, ...d) { this.say({t, ts: 1, d: d.map(([s, n, v]) => ({s, n, v}))}); }
  ack(cmd, more) { this.say({t: 'ack', id: cmd.id, op: cmd.op, topics: 1, ...more}); }
  hear() { return this.heard.until('a command', () => true, this.#at++); }
}

/** Proxy passes on at most so many bytes a second to the client; 0 is nothing. */
export async function proxy(t, address, rate) {
  const [host, port] = address.split(':'), p = {rate, sockets: new Set()};
  const server = createServer((down) => {
    const up = connect(+port, host);
    for (const s of [up, down]) { s.on('error', () => {}); p.sockets.add(s); }
    down.pipe(up);
    down.on('close', () => up.destroy());
    up.on('close', () => down.destroy());
    up.on('data', (b) => {
      down.write(b);
      up.pause();
      const wait = () => p.rate ? setTimeout(() => up.resume(), b.length / p.rate * 1000) : setTimeout(wait, 20);
      wait();
    });
  });
  await new Promise((r) => server.listen(0, '127.0.0.1', r));
  t.after(() => { for (const s of p.sockets) s.destroy(); server.close(); });
  p.url = `ws://127.0.0.1:${server.address().port}/ws`;
  return p;
}
