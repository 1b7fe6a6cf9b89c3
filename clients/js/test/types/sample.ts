// SPDX-License-Identifier: Apache-2.0

import {Client, ConnError, type State, type Update} from '@tickedge/client';
import {SSESocket} from '@tickedge/client/sse';
import {screen, type Screen} from '@tickedge/client/screens';
import Drop, {ReconnectingWebSocket, type Command, type Message} from '@tickedge/client/reconnecting';

interface Price { p: number; ts: number }

const client = new Client(new URL('wss://example.com/ws'), {
  WebSocket: globalThis.WebSocket, fallback: SSESocket, token: async (signal) => (await fetch('/token', {signal})).text(),
  onError: (e) => console.error(e.code, e.status, e.reason),
  onConnection: ({state, pause}) => { if (state === 'waiting') void (pause satisfies number | undefined); },
});
const interval: number | undefined = client.interval;
client.interval = 250;
void interval;
const sub = client.subscribe<Price>(['AAPL'], (u) => { const p: number | undefined = u.value?.p; void p; }, (u) => show(u.state));
const ended: Promise<ConnError | undefined> = sub.closed;
// @ts-expect-error there is no such state
show('gone');
// @ts-expect-error topics are strings
client.subscribe([1]);
// @ts-expect-error the interval is a number
new Client('ws://x', {interval: '500'});

for await (const u of client.subscribe<Price>(new Set(['AAPL']))) {
  const update: Update<Price> = u;
  void update;
}
const movers: Screen<Price> = screen<Price>(client, {topics: 'crypto:*', where: 'p > 5', top: 20, by: '-p'}, {
  onChange: (s, change) => { for (const r of change.rows) { const p: number = r.value.p; void p; } void s.order.map((name) => s.rows.get(name)?.n); },
  onError: (e) => { if (e instanceof ConnError) void e.status; else void (e.index satisfies number | undefined); },
});
movers.close();
// @ts-expect-error a screen is of topics
screen(client, {where: 'p > 5'});
const drop: ReconnectingWebSocket = new Drop(async () => 'wss://example.com/ws', 'tickedge.v1', {maxBackoff: 1000});
drop.addEventListener('open', () => drop.send('{"op":"subscribe","topics":["AAPL"]}'));
drop.onmessage = (e) => {
  const m: Message<Price> = JSON.parse(e.data);
  if (m.t === 'update') for (const row of m.d) { const p: number = row.v.p; void p; }
};
const command: Command = {op: 'subscribe', topics: ['AAPL'], id: 1};
drop.send(JSON.stringify(command));
void ended;

function show(state: State): void { void state; }
