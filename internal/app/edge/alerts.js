// ---- alerts: prices of the chart that are watched, where the page has an API of alerts (docs/ALERTS.md) ----
const alertsAt = document.documentElement.dataset.alerts;
const firedMs = 1000;       // How often it is asked what has fired, while something may.
const awayMs = 30000;       // At most so long after an error.
const answerMs = 10000;     // For an answer.
const alertPages = 20;      // Of 1,000 alerts that are read.
const endedMax = 100;       // Alerts that are shown though they can't fire any more.
const firedPage = 100;
const toldMax = 3;          // Firings that are told one by one.
const verbs = {
  ABOVE: 'is at or above', BELOW: 'is at or below', CROSSES: 'crosses', RISES: 'rises', FALLS: 'falls', ABOVE_AVERAGE: 'above', BELOW_AVERAGE: 'below',
};

// timeOf is a time, with its day if that is another one than today.
function timeOf(ms) {
  const d = new Date(ms), day = d.toLocaleDateString();
  return (day === new Date().toLocaleDateString() ? '' : day + ' ') + d.toLocaleTimeString();
}

// digitsOf is how many digits behind the point prices of a symbol have, as far as they were seen, priceOf a price with them.
const digitsOf = symbol => Math.max(symbol === sheet.symbol ? sheet.chart.decimals : 0, rows.get(symbol)?.decimals ?? 0);
function priceOf(v, symbol) {
  const q = quantity(v);
  return q ? number(q.x, Math.max(q.decimals, digitsOf(symbol))) : String(v);
}

// wish says what an alert or a firing waits for.
function wishOf(a) {
  if (a.target_price !== undefined) return `${verbs[a.condition] ?? a.condition} ${priceOf(a.target_price, a.symbol)}`;
  if (a.window) return `${verbs[a.condition]} by ${a.percent} % within ${a.window}`;
  return `is ${a.percent ?? 0} % ${verbs[a.condition] ?? a.condition} the average of ${a.bars} × ${a.interval}`;
}

const bell = {
  list: [], n: 0, user: '', token: null, aim: false, setting: new Set(), levels: [],
  unread: true,             // The list is not what the API has, as far as is known.
  unheard: true,            // It was not asked yet what has fired.
  changes: 0, fails: 0, busy: false, timer: 0,

  begin() {
    $('alerts').hidden = $('aim').hidden = false;
    $('aim').addEventListener('click', () => this.mode(!this.aim));
    addEventListener('keydown', e => {
      if (e.key !== 'Escape' || !this.aim || $('more').open) return;
      this.mode(false);
      $('aim').focus();
    });
    for (const id of ['alertlist', 'levels']) {
      $(id).addEventListener('click', e => {
        const el = e.target.closest('button');
        if (el?.dataset.symbol) return sheet.choose(el.dataset.symbol);
        if (el) this.remove(+el.dataset.alert, id);
      });
    }
    document.addEventListener('visibilitychange', () => this.again());
    this.follow();
  },

  // follow is for another symbol or another token. Who has a token is its sub; others are who they were before.
  follow() {
    if (this.token !== conn.token) {
      this.token = conn.token;
      this.list = [];
      const claims = attempt(() => JSON.parse(atob(this.token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'))));
      this.key = this.token ? `fired ${claims?.sub ?? ''}` : 'fired';
      const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, '0')).join('');
      this.user = this.token ? '' : stored('user') || `board-${random()}`;
      if (this.user) store('user', this.user);
      const n = stored(this.key);
      this.n = n === null && this.token ? null : +n || 0; // What had fired before the first visit of a sub is old.
      this.changes++;
      this.again();
    }
    this.show();
  },

  // again asks for everything, now: what happened to a page in the background is not known.
  again() {
    this.unread = this.unheard = true;
    this.turn();
  },

  async turn() {
    clearTimeout(this.timer);
    if (this.busy || document.hidden) return;
    this.busy = true;
    let wait = firedMs;
    try {
      if (this.unheard || this.list.some(a => a.active)) await this.hear();
      if (this.unread) await this.read();
      this.fails = 0;
    } catch (e) {
      this.unread = this.unheard = true;
      wait = Math.max(e.after || 0, Math.min(awayMs, firedMs * 2 ** this.fails++));
      if (this.fails === 2) this.failed(e); // One is an API that is starting, and each would be a toast a second.
    }
    this.busy = false;
    this.timer = setTimeout(() => this.turn(), wait);
  },

  async ask(path, { method = 'GET', query = {}, body } = {}) {
    const url = new URL(alertsAt + path, location.href), headers = { accept: 'application/json' };
    for (const [k, v] of Object.entries(query)) url.searchParams.set(k, v);
    if (body) headers['content-type'] = 'application/json';
    if (this.token) headers.authorization = `Bearer ${this.token}`;
    else if (!body) url.searchParams.set('user_id', this.user);
    const signal = AbortSignal.timeout(answerMs), text = body && JSON.stringify(body);
    const res = await fetch(url, { method, headers, body: text, cache: 'no-store', signal }).catch(() => { throw new Error('alerts can’t be reached'); });
    if (res.status === 204) return null;
    const answer = await res.json().catch(() => ({}));
    if (res.ok) return answer;
    const why = new Error(answer.detail || `alerts are answered with HTTP ${res.status}`);
    throw Object.assign(why, { status: res.status, after: 1000 * (+res.headers.get('retry-after') || 0) });
  },

  // hear tells what has fired since the last firing that was told. Numbers that begin anew are those of another store.
  async hear() {
    const { token } = this, news = [];
    for (let page = 0; page < alertPages; page++) {
      const { fired, number } = await this.ask('/fired', { query: { after: this.n ?? 0, limit: firedPage } });
      if (token !== this.token) return;
      if (this.n === null || number < this.n) {
        this.unread = true;
        this.heard(this.n === null ? number : 0);
        continue;
      }
      news.push(...fired);
      if (fired.length) this.heard(fired.at(-1).n);
      if (fired.length < firedPage) break;
    }
    this.unheard = false;
    this.unread ||= news.length > 0;
    for (const f of news.slice(-toldMax)) toast(`Alert: ${f.symbol} ${wishOf(f)}. It was at ${priceOf(f.price, f.symbol)}, ${timeOf(f.at)}.`);
    if (news.length > toldMax) toast(`${count(news.length - toldMax, 'alert')} more fired: see the list below the chart.`);
  },

  heard(n) { store(this.key, this.n = n); },

  // read reads the list. What was changed meanwhile may be missing in it.
  async read() {
    const { changes } = this, active = [], ended = [];
    for (let after = 0, page = 0; after !== null && page < alertPages; page++) {
      const { alerts, next } = await this.ask('', { query: { after, limit: 1000 } });
      for (const a of alerts) (a.active ? active : ended).push(a);
      ended.splice(0, ended.length - 1000);
      after = next;
    }
    if (changes !== this.changes) return;
    this.unread = false;
    const when = a => a.fired?.at ?? a.armed;
    this.unheard ||= [...active, ...ended].some(a => a.fired?.n > this.n);
    this.list = [...active.reverse(), ...ended.sort((a, b) => when(b) - when(a)).slice(0, endedMax)];
    this.show();
  },

  async set(price) {
    // A bar alone may have but round prices.
    const seen = sheet.chart.bars.slice(-100).map(b => quantity(b.c)?.decimals ?? 0);
    const { symbol } = sheet, text = price.toFixed(Math.max(digitsOf(symbol), ...seen)), key = `${symbol} ${text}`;
    const same = a => a.active && a.symbol === symbol && a.condition === 'CROSSES' && +a.target_price === +text;
    if (!(+text > 0)) return;
    if (this.setting.has(key) || this.list.some(same)) return toast(`There is an alert of ${symbol} at ${priceOf(text, symbol)}.`);
    this.setting.add(key);
    try {
      const body = { ...this.user && { user_id: this.user }, symbol, condition: 'CROSSES', target_price: text };
      const a = await this.ask('', { method: 'POST', body });
      this.changed([a, ...this.list]);
      say(`Alert set: ${symbol} ${wishOf(a)}.`);
    } catch (e) {
      this.unread = true; // Perhaps it was set, and the answer is lost.
      this.failed(e);
    }
    this.setting.delete(key);
  },

  async remove(id, from) {
    const at = this.list.findIndex(a => a.id === id);
    try {
      await this.ask('/' + id, { method: 'DELETE' });
    } catch (e) {
      if (e.status !== 404) return this.failed(e); // It is gone already.
    }
    this.changed(this.list.filter(a => a.id !== id));
    const left = [...$(from).querySelectorAll('[data-alert]')];
    if (document.activeElement === document.body) (left[Math.min(at, left.length - 1)] ?? $('aim')).focus();
    say('Alert deleted.');
  },

  changed(list) {
    this.changes++;
    this.list = list;
    this.unread = true;
    this.show();
  },

  failed(e) { toast(`${upper(e.message)}.`); },

  // mode is whether a click in the chart sets an alert.
  mode(on) {
    this.aim = sheet.chart.aim = on;
    mark($('aim'), 'aria-pressed', String(on));
    $('aimed').hidden = !on;
    mark($('chart'), 'data-aim', on ? '' : null);
    say(on ? $('aimed').textContent : 'No alert is being set.');
    if (on) $('chart').focus({ preventScroll: true });
    sheet.chart.draw();
  },

  show() {
    const focus = document.activeElement?.dataset.alert, inside = document.activeElement?.parentNode?.id === 'levels' ? 'levels' : 'alertlist';
    const shown = a => priceOf(a.target_price, a.symbol);
    const button = (a, text, label) => {
      const el = make('button', text);
      Object.assign(el, { type: 'button' });
      el.dataset.alert = a.id;
      el.setAttribute('aria-label', `${label} ${a.symbol} ${wishOf(a)}`);
      return el;
    };
    $('noalerts').hidden = this.list.length > 0;
    $('alertlist').replaceChildren(...this.list.map(a => {
      const el = make('li', ''), name = make('button', a.symbol), word = make('span', a.state), gone = button(a, '×', 'Delete the alert');
      Object.assign(name, { type: 'button', className: 'name' });
      name.dataset.symbol = a.symbol;
      word.className = 'is';
      el.dataset.state = a.state;
      gone.dataset.remove = '';
      const last = a.fired ? `fired ${timeOf(a.fired.at)}, at ${priceOf(a.fired.price, a.symbol)}` : `set ${timeOf(a.armed)}`;
      el.append(name, make('span', wishOf(a)), word, make('span', last), gone);
      return el;
    }));
    this.levels = this.list.filter(a => a.active && a.symbol === sheet.symbol && a.target_price !== undefined);
    $('levels').replaceChildren(...this.levels.map(a => {
      const el = button(a, '', 'Delete the alert');
      el.append(make('span', `${shown(a)} ×`));
      return el;
    }));
    sheet.chart.levels = this.levels.map(a => ({ price: +a.target_price, text: shown(a) }));
    sheet.chart.draw();
    if (focus) $(inside).querySelector(`[data-alert="${focus}"]`)?.focus();
  },

  // placed puts what deletes an alert on its line, and those of lines that are close beside each other.
  placed(places) {
    const buttons = $('levels').children, columns = Math.max(1, Math.min(3, Math.floor(sheet.chart.plot.w / 92)));
    const order = places.map((y, i) => [y, i]).filter(([y, i]) => y !== null && buttons[i]).sort((a, b) => a[0] - b[0]);
    for (const el of buttons) el.hidden = true;
    let column = 0, before = -Infinity;
    for (const [y, i] of order) {
      column = y - before < 44 ? (column + 1) % columns : 0;
      before = y;
      buttons[i].hidden = false;
      buttons[i].style.transform = `translate(${column * 92}px, ${y - 22}px)`;
    }
  },
};
