// A client by Node's ws: prints each message, ends after an update of AAPL.
const WebSocket = require('ws');
const ws = new WebSocket(process.argv[2]);
ws.on('open', () => ws.send(JSON.stringify({op: 'subscribe', topics: ['AAPL'], id: 'js'})));
ws.on('ping', () => console.log('{"t":"(ping)"}'));
ws.on('message', (data, binary) => {
  if (binary) throw new Error('binary message');
  console.log(data.toString());
  const m = JSON.parse(data);
  if (m.t === 'update' && m.d.some((row) => row.s === 'AAPL')) ws.close(1000, 'seen enough');
});
ws.on('close', (code) => { console.log(JSON.stringify({t: '(close)', code})); process.exit(0); });
ws.on('error', (err) => { console.error(err); process.exit(1); });
