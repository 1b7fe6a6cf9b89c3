// A client by Node's ws: prints each message, ends after an update of AAPL. With a token, which
// it brings as a sub-protocol, it ends after the message that is named behind that.
const WebSocket = require('ws');
const [url, token, last = 'update'] = process.argv.slice(2);
const ws = token ? new WebSocket(url, ['tickedge.v1', 'bearer.' + token]) : new WebSocket(url);
ws.on('open', () => {
  if (ws.protocol !== (token ? 'tickedge.v1' : '')) throw new Error('sub-protocol ' + ws.protocol);
  ws.send(JSON.stringify({op: 'subscribe', topics: ['AAPL'], id: 'js'}));
});
ws.on('ping', () => console.log('{"t":"(ping)"}'));
ws.on('message', (data, binary) => {
  if (binary) throw new Error('binary message');
  console.log(data.toString());
  const m = JSON.parse(data);
  if (m.t === last && m.d.some((row) => row.s === 'AAPL')) ws.close(1000, 'seen enough');
});
ws.on('close', (code) => { console.log(JSON.stringify({t: '(close)', code})); process.exit(0); });
ws.on('error', (err) => { console.error(err); process.exit(1); });
