// ---- candles: the chart of one symbol, where the page has a history ----
const historyAt = document.documentElement.dataset.history, marketAt = document.documentElement.dataset.market;
const intervals = ['1s', '1m', '5m', '1h', '1d'];
const sheet = {
  symbol: '', tf: '1m', candles: null, failed: '',
  chart: new Chart($('chart'), { older: () => sheet.older(), hover: () => sheet.tell(), pick: p => bell?.set(p), placed: at => bell?.placed(at) }),

  begin() {
    $('candles').hidden = false;
    this.unasked = !intervals.includes(stored('tf'));
    if (!this.unasked) this.tf = stored('tf');
    for (const tf of intervals) {
      const label = document.createElement('label'), input = document.createElement('input');
      Object.assign(input, { type: 'radio', name: 'tf', value: tf, checked: tf === this.tf });
      label.append(input, make('span', tf));
      $('intervals').append(label);
    }
    this.choose(new URLSearchParams(location.search).get('symbol') || stored('symbol') || [...rows.keys()].find(t => !t.includes(':')) || usual[0]);
    $('intervals').addEventListener('change', e => { this.unasked = false; this.tf = e.target.value; store('tf', this.tf); this.start(); });
    $('of').addEventListener('submit', e => { e.preventDefault(); this.choose($('symbol').value); });
    $('symbol').addEventListener('change', () => this.choose($('symbol').value));
    $('symbol').addEventListener('focus', () => $('symbols').replaceChildren(...[...rows.keys()].map(t => new Option('', t))));
    $('latest').addEventListener('click', () => { this.chart.newest(); $('chart').focus(); });
    if (marketAt) this.market();
    bell?.begin();
  },

  choose(text) {
    const [symbol] = split(text);
    $('symbol').value = symbol ?? this.symbol;
    if (!symbol || symbol === this.symbol && !this.failed) return;
    this.symbol = symbol;
    store('symbol', symbol);
    this.start();
  },

  // start is also for another client.
  start() {
    this.candles?.close();
    this.candles = null;
    this.failed = '';
    bell?.follow();
    if (!this.symbol || !conn.client) return;
    this.candles = tickedgeCandles.candles(conn.client, this.symbol, this.tf, {
      history: historyAt, token: conn.token || undefined,
      onChange: c => { if (c === this.candles) this.show(); }, onError: e => { this.failed = e.reason || e.message; this.show(); },
    });
    this.show();
  },

  older() {
    if (!this.candles?.more || this.busy) return;
    this.busy = true;
    this.candles.older().catch(() => {}).finally(() => { this.busy = false; });
  },

  show() {
    const { bars, open, error, state } = this.candles ?? { bars: [], open: false }, chart = this.chart, last = bars.at(-1);
    if (this.unasked && last) {
      this.unasked = false;
      if (bars.length < 10 && !this.candles.more) { // A market that has just begun shows more by the second.
        this.tf = intervals[0];
        $('intervals').querySelector(`[value="${this.tf}"]`).checked = true;
        return this.start();
      }
    }
    chart.decimals = last ? Math.max(...[last.o, last.h, last.l, last.c].map(x => quantity(x)?.decimals ?? 0)) : 2;
    chart.set(bars, open);
    const el = $('chart');
    for (const [k, v] of Object.entries({ bars: bars.length, first: bars[0]?.t, last: last?.t, close: last?.c, state, cost: chart.cost.toFixed(3) })) mark(el, 'data-' + k, v === undefined ? null : String(v));
    $('nobars').textContent = bars.length ? '' : this.failed ? upper(this.failed) + '.' : error ? `${upper(error.message)}. Trying again.` : 'Waiting for bars.';
    this.tell();
  },

  // tell shows the bar under the pointer, or the last one.
  tell() {
    const { chart } = this, bar = chart.cross ? chart.bars[chart.cross.i] : chart.bars.at(-1);
    $('latest').hidden = chart.follows || !chart.bars.length;
    if (!bar) return $('ohlc').replaceChildren();
    const i = chart.cross ? chart.cross.i : chart.bars.length - 1, base = chart.bars[i - 1]?.c ?? bar.o, change = bar.c - base, sign = change > 0 ? 'up' : change < 0 ? 'down' : null;
    const d = Math.max(chart.decimals, ...[bar.o, bar.h, bar.l, bar.c].map(x => quantity(x)?.decimals ?? 0)), parts = [clockText(bar.t, 0)];
    const add = (name, text) => { const b = make('b', text); mark(b, 'data-sign', sign); parts.push(` ${name} `, b); };
    for (const k of 'ohlc') add(k.toUpperCase(), number(bar[k], d));
    add('Change', `${signed(change, d, '')} (${base ? signed(change / Math.abs(base) * 100, 2, ' %') : '–'})`);
    add('Volume', number(bar.v, Math.min(4, quantity(bar.v)?.decimals ?? 0)));
    parts.push(` ${count(bar.n, 'trade')}` + (bar.rev ? `, revised ${bar.rev} ×` : '') + (chart.open && i === chart.bars.length - 1 ? ', open' : ''));
    $('ohlc').replaceChildren(...parts);
    mark($('chart'), 'aria-label', `${this.symbol}, ${this.tf} bars. ${$('ohlc').textContent}`);
  },

  // market is for a simulated one, which can be stopped and hastened.
  async market() {
    const ask = async change => {
      const res = await fetch(marketAt, change ? { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(change) } : { cache: 'no-store' });
      if (!res.ok) throw new Error(`HTTP ${res.status}`);
      const { paused, speed } = await res.json();
      $('market').hidden = false;
      $('pause').textContent = paused ? 'Go on' : 'Pause';
      mark($('pause'), 'aria-pressed', String(paused));
      $('speed').value = String(speed);
    };
    const change = c => ask(c).catch(e => toast(`The market does not answer: ${e.message}`));
    $('pause').addEventListener('click', () => change({ paused: $('pause').getAttribute('aria-pressed') !== 'true' }));
    $('speed').addEventListener('change', () => change({ speed: +$('speed').value }));
    await ask().catch(() => {});
  },
};
