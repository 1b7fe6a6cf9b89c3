// ---- screens: topics that fulfil a condition, whether they are on the board or not (docs/SCREENS.md) ----
const insideMax = 100;      // Rows that are shown.
const rankMs = 1000;        // How often rows change their places.
const rankTop = 20;
const moved = matchMedia('(prefers-reduced-motion: reduce)');
const recipes = {
  movers: { where: '', by: '-chg_pct', needs: 'chg_pct' },
  volume: { where: 'q > 0.01 * v', by: '-v', needs: 'q and v' },
  high: { where: 'p >= 0.99 * h', by: '-chg_pct', needs: 'p and h' },
  all: { where: '', by: '', needs: '' },
};

const lens = {
  screen: null, items: new Map(), order: '', ranked: 0, waits: false,

  begin() {
    const kept = attempt(() => JSON.parse(stored('screen'))) || {}, text = k => typeof kept[k] === 'string' ? kept[k] : '';
    $('recipe').value = Object.hasOwn(recipes, kept.recipe) || kept.recipe === 'own' ? kept.recipe : 'off';
    $('where').value = text('where');
    $('by').value = text('by');
    $('within').value = text('within') || '*';
    $('recipe').addEventListener('change', () => {
      const r = recipes[$('recipe').value];
      if (r) { $('where').value = r.where; $('by').value = r.by; }
      this.choose();
    });
    for (const id of ['where', 'by']) {
      $(id).addEventListener('input', () => { $('recipe').value = 'own'; });
    }
    $('ask').addEventListener('submit', e => { e.preventDefault(); this.choose(); });
    $('inside').addEventListener('click', e => {
      const name = e.target.closest('button')?.dataset.symbol;
      if (name) this.open(name);
    });
    setInterval(() => { if (this.waits) this.show(); }, rankMs / 2);
  },

  choose() {
    const value = id => $(id).value.trim();
    store('screen', JSON.stringify({ recipe: $('recipe').value, where: value('where'), by: value('by'), within: value('within') }));
    this.start();
  },

  // start is also for another client.
  start() {
    this.screen?.close();
    this.screen = null;
    const off = $('recipe').value === 'off', topics = split($('within').value), where = $('where').value.trim(), by = $('by').value.trim();
    $('ask').hidden = $('found').hidden = off;
    this.wrong('', '');
    if (off || !topics.length || !conn.client) return this.clear(off ? '' : topics.length ? 'Waiting for the edge.' : 'Name the topics, such as *.');
    this.where = where;
    this.by = by.replace(/^-/, '');
    this.clear('Waiting for the edge.');
    try {
      this.screen = tickedge.screen(conn.client, { topics, where, ...by && { by, top: rankTop } }, {
        onChange: (s, c) => { if (s === this.screen) this.changed(c); },
        onError: e => { if (this.screen?.error === e) this.refused(e); },
      });
    } catch (e) {
      this.wrong(e.message.replace(/^tickedge: /, ''), '');
    }
  },

  clear(text) {
    this.items.clear();
    $('inside').replaceChildren();
    this.order = '';
    this.say(text);
  },
  say(text) { $('found').textContent = text; },

  // wrong shows what the edge says against the condition, and marks where.
  wrong(text, where, index) {
    const el = $('wrong');
    el.hidden = !text;
    mark($('where'), 'aria-invalid', index === undefined ? null : 'true');
    el.replaceChildren(make('span', text ? `${upper(text)}.` : ''));
    if (index === undefined) return;
    const code = make('code', where.slice(0, index)), at = [...where.slice(index)][0] ?? ' ';
    code.append(make('mark', at), where.slice(index + at.length));
    el.append(code);
  },

  refused({ code, reason, index, unknown, temporary }) {
    if (this.screen.state === 'closed') return this.say('The connection has ended.');
    if (unknown) return this.clear('This edge has no screens: it is an older one.');
    this.wrong(clip(`${code === 400 ? '' : code + ' '}${reason}`, 300).replace(/\.$/, ''), this.where, /^where\b/.test(reason) ? index : undefined);
    if (!this.items.size) this.say(temporary ? 'It is asked for again soon.' : 'Nothing is shown.');
  },

  changed({ full, rows }) {
    if (this.screen.state === 'live') this.wrong('', '');
    for (const { topic, value } of rows) this.items.get(topic)?.paint(value);
    if (full && !this.items.size) this.ranked = 0;
    this.waits = true;
    this.show();
  },

  // show puts rows into their places, but not under a finger, a pointer or the focus, and not too often.
  show() {
    const { screen: s } = this, list = $('inside'), now = Date.now();
    if (!s || now - this.ranked < rankMs) return;
    this.tell();
    const held = this.items.size && (list.matches(':hover') || list.contains(document.activeElement));
    for (const [name, item] of this.items) mark(item.el, 'data-out', held && !s.rows.has(name) ? '' : null);
    if (held) return;
    this.waits = false;
    this.ranked = now;
    const names = s.order.slice(0, insideMax), places = new Map();
    if (names.join('\n') === this.order) return;
    this.order = names.join('\n');
    for (const [name, { el }] of this.items) places.set(name, el.offsetTop);
    const wanted = new Set(names);
    for (const [name, { el }] of this.items) if (!wanted.has(name)) { el.remove(); this.items.delete(name); }
    names.forEach((name, i) => {
      let item = this.items.get(name);
      if (!item) this.items.set(name, item = this.item(name));
      item.paint(s.rows.get(name).value);
      put(item.rank, `${i + 1}`);
      if (list.children[i] !== item.el) list.insertBefore(item.el, list.children[i] ?? null);
    });
    if (moved.matches || document.hidden) return;
    for (const name of names) {
      const { el } = this.items.get(name), by = places.has(name) ? places.get(name) - el.offsetTop : 0;
      if (by) el.animate([{ transform: `translateY(${by}px)` }, { transform: 'none' }], { duration: 300, easing: 'ease-out' });
    }
  },

  tell() {
    const { screen: s } = this, n = s.rows.size, shown = Math.min(n, insideMax), needs = recipes[$('recipe').value]?.needs;
    const text = n ? `${count(n, 'topic')} inside${shown < n ? `, of which the first ${shown} are shown` : ''}.` : `No topic is inside now.${needs ? ` Values need the members ${needs} for that.` : ''}`;
    if (s.error) return;
    this.say(s.state === 'reconnecting' ? `${n ? text + ' ' : ''}The connection is lost.` : s.complete ? text : 'Waiting for the edge.');
  },

  // item is a row: its name, the price, and the member that it is ranked by, or the change of the day.
  item(name) {
    const el = make('li', ''), button = make('button', name), part = (cls) => { const p = make('span', ''); p.className = cls; el.append(p); return slot(p); };
    const rank = part('minor'), member = this.by || 'chg_pct';
    Object.assign(button, { type: 'button', className: 'name' });
    button.dataset.symbol = name;
    el.dataset.inside = name;
    el.append(button);
    const price = part('at'), more = part('minor of');
    const paint = v => {
      const object = v !== null && typeof v === 'object' && !Array.isArray(v), q = object ? first(v, ['p', 'price', 'last', 'c', 'value']) : quantity(v);
      const by = object ? first(v, [member]) : null;
      put(price, q ? number(q.x, q.decimals) : object ? '–' : clip(JSON.stringify(v) ?? '–', 40));
      put(more, by && !['p', 'price'].includes(member) ? `${member} ${/(^|_)pct$/.test(member) ? signed(by.x, by.decimals, ' %') : number(by.x, by.decimals)}` : '');
      mark(el, 'data-sign', by && /(^|_)(pct|chg)/.test(member) ? by.x > 0 ? 'up' : by.x < 0 ? 'down' : null : null);
    };
    return { el, rank, paint };
  },

  open(name) {
    if (sheet) {
      sheet.choose(name);
      return $('candles').scrollIntoView({ block: 'nearest' });
    }
    addTopics([name]);
    rows.get(name)?.el.scrollIntoView({ block: 'nearest' });
  },
};
