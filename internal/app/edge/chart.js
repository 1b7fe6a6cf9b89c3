// ---- the chart: bars on a canvas, drawn at most once per animation frame ----
const chartTimes = [1e3, 5e3, 15e3, 30e3, 6e4, 3e5, 9e5, 18e5, 36e5, 72e5, 216e5, 432e5, 864e5, 1728e5, 6048e5, 26784e5];
const zoomMin = 0.25, zoomMax = 40; // Pixels of a bar.

// Chart draws bars ({t, o, h, l, c, v}). The right end of what is seen is a bar's index; it goes along with new bars as long as
// the newest one is in sight.
class Chart {
  bars = []; open = false; zoom = 8; right = 0; follows = true; decimals = 2; cross = null; drawn = 0; cost = 0;
  aim = false; levels = []; // A click picks a price; prices ({price, text}) that have a line.
  #first = 0; #due = false; #pointers = new Map(); #w = 0; #h = 0; #ratio = 1; #colours = null; #scale = { low: 0, high: 0, tall: 1 };

  constructor(canvas, on) {
    this.canvas = canvas;
    this.on = on;
    this.ctx = canvas.getContext('2d');
    new ResizeObserver(() => this.resize()).observe(canvas);
    const listen = (types, f, o) => { for (const t of types.split(' ')) canvas.addEventListener(t, f, o); };
    listen('pointerdown', e => this.#down(e));
    listen('pointermove', e => this.#move(e));
    listen('pointerup pointercancel pointerleave', e => this.#up(e));
    listen('wheel', e => this.#wheel(e), { passive: false });
    listen('dblclick', () => { if (!this.aim) this.newest(); });
    listen('keydown', e => this.#key(e));
    listen('blur', () => this.#point(null));
  }

  // set takes bars that were changed in place, or others.
  set(bars, open) {
    const same = bars.length && this.#first && bars[0].t <= this.#first, before = this.bars === bars ? this.#count : 0;
    if (same && bars[0].t < this.#first) { // Older ones stand before them now.
      let n = 0;
      while (n < bars.length && bars[n].t < this.#first) n++;
      if (!this.follows) this.right += n;
      if (this.cross?.i !== undefined) this.cross.i += n;
    } else if (!same || bars.length < before) {
      this.follows = true;
    }
    this.bars = bars;
    this.#count = bars.length;
    this.open = open;
    this.#first = bars[0]?.t ?? 0;
    if (this.follows) this.right = bars.length;
    this.draw();
  }
  #count = 0;

  newest() { this.follows = true; this.right = this.bars.length; this.draw(); }
  paint() { this.#colours = null; this.draw(); }
  draw() { if (!this.#due) { this.#due = true; requestAnimationFrame(() => this.#frame()); } }

  resize() {
    this.#ratio = window.devicePixelRatio || 1;
    this.#w = this.canvas.clientWidth;
    this.#h = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.#w * this.#ratio);
    this.canvas.height = Math.round(this.#h * this.#ratio);
    this.draw();
  }

  // What is where, in CSS pixels.
  get plot() { return { w: Math.max(10, this.#w - 74), h: Math.max(10, this.#h - 24) }; }
  get seen() { return this.plot.w / this.zoom; }
  #x(i) { return this.plot.w - (this.right - i - 0.5) * this.zoom; }
  #at(x) { return Math.floor(this.right - (this.plot.w - x) / this.zoom); }

  // #price is the price at a height, #place its reverse.
  #price(y) { const { low, high, tall } = this.#scale; return high - (y - 8) / tall * (high - low); }
  #place(p) { const { low, high, tall } = this.#scale; return Math.round(8 + (high - p) / (high - low) * tall); }

  pan(n) {
    const most = this.bars.length + this.seen / 3;
    this.right = Math.min(most, Math.max(Math.min(this.seen / 3, this.bars.length), this.right + n));
    this.follows = this.right >= this.bars.length - 0.5 && this.right <= this.bars.length + 0.5;
    this.#reach();
    this.draw();
  }

  // scale zooms about a place, the right end if it is the newest.
  scale(by, x = this.plot.w) {
    const old = this.zoom, from = (this.plot.w - x) / old;
    this.zoom = Math.min(zoomMax, Math.max(zoomMin, old * by));
    if (!this.follows || x < this.plot.w) this.right += (this.plot.w - x) / this.zoom - from;
    this.pan(0);
  }

  #reach() { if (this.right - this.seen < this.seen * 0.3) this.on.older(); }

  #down(e) {
    this.canvas.setPointerCapture(e.pointerId);
    for (const p of this.#pointers.values()) p.still = false;
    this.#pointers.set(e.pointerId, { x: e.offsetX, y: e.offsetY, from: [e.offsetX, e.offsetY], still: !this.#pointers.size && e.button === 0 });
  }

  #move(e) {
    const p = this.#pointers.get(e.pointerId), all = [...this.#pointers.values()];
    if (!p) return this.#point({ x: e.offsetX, y: e.offsetY });
    if (Math.hypot(e.offsetX - p.from[0], e.offsetY - p.from[1]) > 6) p.still = false;
    if (all.length === 2) { // Two fingers zoom about the place between them.
      const [a, b] = all, far = Math.abs(a.x - b.x), mid = (a.x + b.x) / 2;
      p.x = e.offsetX;
      p.y = e.offsetY;
      if (far > 10) this.scale(Math.max(1, Math.abs(a.x - b.x)) / far, mid);
      return;
    }
    this.pan((p.x - e.offsetX) / this.zoom);
    p.x = e.offsetX;
    p.y = e.offsetY;
    this.#point({ x: e.offsetX, y: e.offsetY });
  }

  #up(e) {
    if (e.type === 'pointerup' && this.#pointers.get(e.pointerId)?.still) this.#pick(e.offsetY);
    this.#pointers.delete(e.pointerId);
    if (e.type === 'pointerleave' || e.pointerType !== 'mouse') this.#point(null);
  }

  #pick(y) { if (this.aim && this.bars.length && y >= 0 && y <= this.plot.h) this.on.pick(this.#price(y)); }

  #wheel(e) {
    if (e.ctrlKey || Math.abs(e.deltaY) > Math.abs(e.deltaX)) {
      if (e.shiftKey) this.pan(e.deltaY / this.zoom);
      else this.scale(Math.exp(-Math.max(-100, Math.min(100, e.deltaY * (e.deltaMode ? 30 : 1))) / 400), Math.min(e.offsetX, this.plot.w));
    } else {
      this.pan(e.deltaX / this.zoom);
    }
    e.preventDefault();
  }

  // Arrows move the cross, and the chart with it where it leaves it.
  #key(e) {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -Math.ceil(this.seen * 0.8), PageDown: Math.ceil(this.seen * 0.8) }[e.key];
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (step) {
      const last = this.bars.length - 1, i = Math.max(0, Math.min(last, (this.cross?.i ?? last + (step < 0 ? 1 : 0)) + step));
      if (i < this.right - this.seen + 1) this.pan(i - (this.right - this.seen + 1));
      else if (i > this.right - 1) this.pan(i - (this.right - 1));
      this.#point({ x: this.#x(i), y: this.aim ? this.cross?.y ?? null : null, i });
    } else if (this.aim && (e.key === 'ArrowUp' || e.key === 'ArrowDown')) {
      const i = this.cross?.i ?? this.bars.length - 1, from = this.cross?.y ?? this.#place(this.bars[i]?.c), to = from + (e.key === 'ArrowUp' ? -1 : 1) * (e.shiftKey ? 10 : 1);
      this.#point({ x: this.#x(i), y: Math.max(0, Math.min(this.plot.h, to)), i });
    } else if (this.aim && e.key === 'Enter') {
      if (this.cross?.y != null) this.#pick(this.cross.y);
    } else if (e.key === '+' || e.key === '=') this.scale(1.25);
    else if (e.key === '-') this.scale(0.8);
    else if (e.key === 'Home') this.pan(-this.bars.length);
    else if (e.key === 'End') this.newest();
    else if (e.key === 'Escape') this.#point(null);
    else return;
    e.preventDefault();
  }

  #point(p) {
    if (!p && !this.cross) return;
    this.cross = p && this.bars.length ? { ...p, i: p.i ?? Math.max(0, Math.min(this.bars.length - 1, this.#at(p.x))) } : null;
    this.on.hover(this.cross ? this.bars[this.cross.i] : null);
    this.draw();
  }

  #theme() {
    const s = getComputedStyle(document.documentElement), c = this.#colours = {};
    for (const k of ['card', 'ink', 'soft', 'line', 'up', 'down', 'accent', 'on']) c[k] = s.getPropertyValue('--' + k).trim();
    c.font = '11px ' + getComputedStyle(document.body).fontFamily;
    return c;
  }

  #frame() {
    this.#due = false;
    if (!this.#w) return;
    const from = performance.now();
    this.#render(this.#colours ?? this.#theme());
    const cost = performance.now() - from;
    if (this.drawn > 2) this.cost += (cost - this.cost) / Math.min(100, this.drawn - 2); // The first ones compile.
    this.drawn++;
  }

  #render(c) {
    const { ctx, bars } = this, { w, h } = this.plot;
    ctx.setTransform(this.#ratio, 0, 0, this.#ratio, 0, 0);
    ctx.clearRect(0, 0, this.#w, this.#h);
    ctx.font = c.font;
    const a = Math.max(0, Math.floor(this.right - this.seen)), b = Math.min(bars.length, Math.ceil(this.right + 0.5));
    if (a >= b) return this.on.placed([]);
    let low = Infinity, high = -Infinity, most = 0;
    for (let i = a; i < b; i++) {
      const r = bars[i];
      if (r.l < low) low = r.l;
      if (r.h > high) high = r.h;
      if (r.v > most) most = r.v;
    }
    const pad = (high - low) * 0.06 || Math.abs(high) * 1e-4 || 1;
    low -= pad;
    high += pad;
    const tall = h * 0.8 - 8, y = p => Math.round(8 + (high - p) / (high - low) * tall);
    this.#scale = { low, high, tall };
    this.#grid(c, a, b, low, high, y);
    this.#candles(c, a, b, y, most ? h * 0.17 / most : 0);
    this.#lines(c, y);
    this.#last(c, y);
    if (this.cross) this.#hair(c, low);
    ctx.strokeStyle = c.line;
    ctx.strokeRect(-1, -1, w + 1.5, h + 1.5);
  }

  #grid(c, a, b, low, high, y) {
    const { ctx, bars } = this, { w, h } = this.plot;
    const raw = (high - low) / Math.max(2, h / 56), ten = 10 ** Math.floor(Math.log10(raw)), step = ten * ([1, 2, 5].find(k => k * ten >= raw) ?? 10);
    this.steps = Math.max(0, Math.min(12, -Math.floor(Math.log10(step) + 1e-9)));
    ctx.fillStyle = c.line;
    const labels = [];
    for (let p = Math.ceil(low / step) * step; p <= high; p += step) {
      ctx.fillRect(0, y(p), w, 1);
      labels.push([number(p, this.steps), w + 6, y(p) + 4]);
    }
    // Times: where a whole step begins, in the time zone of who looks.
    const per = (bars[b - 1].t - bars[a].t) / Math.max(1, b - a - 1) || 6e4, every = chartTimes.find(s => s / per * this.zoom >= 76) ?? chartTimes.at(-1);
    const zone = new Date(bars[b - 1].t).getTimezoneOffset() * 6e4, when = i => Math.floor((bars[i].t - zone) / every);
    for (let i = Math.max(a, 1), end = -Infinity; i < b; i++) {
      const x = Math.round(this.#x(i));
      if (when(i) === when(i - 1) || x < end) continue;
      ctx.fillRect(x, 0, 1, h);
      labels.push([clockText(bars[i].t, every, bars[i - 1].t), x + 4, h + 16]);
      end = x + 70;
    }
    ctx.fillStyle = c.soft;
    for (const [text, x, at] of labels) ctx.fillText(text, x, at);
  }

  // One colour after the other: a change of it costs more than a rectangle. Where bars are thinner than a pixel, those of a
  // column are one.
  #candles(c, a, b, y, tall) {
    const { ctx, bars, zoom } = this, { h } = this.plot, body = zoom < 3 ? Math.max(1, Math.round(zoom)) : Math.max(1, Math.round(zoom * 0.7) | 1), half = body >> 1;
    const all = [[], []];
    for (let i = a; i < b;) {
      const x = Math.round(this.#x(i)), r = bars[i];
      let { h: top, l: bottom, c: close, v: volume } = r;
      for (i++; zoom < 1 && i < b && Math.round(this.#x(i)) === x; i++) {
        const s = bars[i];
        if (s.h > top) top = s.h;
        if (s.l < bottom) bottom = s.l;
        if (s.v > volume) volume = s.v;
        close = s.c;
      }
      all[close >= r.o ? 0 : 1].push(x, y(top), y(bottom), y(Math.max(r.o, close)), y(Math.min(r.o, close)), Math.ceil(volume * tall));
    }
    for (const [k, list] of all.entries()) {
      ctx.fillStyle = k ? c.down : c.up;
      for (let i = 0; i < list.length; i += 6) {
        const x = list[i];
        ctx.fillRect(x, list[i + 1], 1, Math.max(1, list[i + 2] - list[i + 1]));
        if (body > 1) ctx.fillRect(x - half, list[i + 3], body, Math.max(1, list[i + 4] - list[i + 3]));
      }
      ctx.globalAlpha = 0.35;
      for (let i = 0; i < list.length; i += 6) if (list[i + 5]) ctx.fillRect(list[i] - half, h - list[i + 5], body, list[i + 5]);
      ctx.globalAlpha = 1;
    }
  }

  #label(c, text, x, at, colour) {
    const { ctx } = this, wide = ctx.measureText(text).width;
    ctx.fillStyle = colour;
    ctx.fillRect(x, at - 9, Math.max(wide + 10, x >= this.plot.w ? 74 : 0), 18);
    ctx.fillStyle = c.card;
    ctx.fillText(text, x + 6, at + 4);
  }

  #last(c, y) {
    const last = this.bars.at(-1), at = y(last.c), { w, h } = this.plot;
    if (at < 0 || at > h) return;
    const colour = last.c >= last.o ? c.up : c.down;
    this.ctx.strokeStyle = colour;
    this.#dash(0, at + 0.5, w, at + 0.5);
    this.#label(c, number(last.c, Math.max(this.decimals, this.steps)), w, at, colour);
  }

  #lines(c, y) {
    const { w, h } = this.plot;
    this.ctx.strokeStyle = c.accent;
    this.on.placed(this.levels.map(({ price, text }) => {
      const at = y(price);
      if (at < 0 || at > h) return null;
      this.#dash(0, at + 0.5, w, at + 0.5);
      this.#label(c, text, w, at, c.accent);
      return at;
    }));
  }

  #hair(c, low) {
    const { i, y } = this.cross, { w, h } = this.plot, x = Math.round(this.#x(i)), bar = this.bars[i];
    if (!bar) return;
    this.ctx.strokeStyle = c.soft;
    this.#dash(x + 0.5, 0, x + 0.5, h);
    const text = clockText(bar.t, 0), wide = this.ctx.measureText(text).width + 12;
    this.#label(c, text, Math.max(0, Math.min(w - wide, x - wide / 2)), h + 12, c.ink);
    if (y === null || y > h) return;
    this.#dash(0, y + 0.5, w, y + 0.5);
    const p = this.#price(y);
    if (p >= low || this.aim && p > 0) this.#label(c, number(p, Math.max(this.decimals, this.steps)), w, y, this.aim ? c.accent : c.ink);
  }

  #dash(x, y, x2, y2) {
    const { ctx } = this;
    ctx.setLineDash([3, 3]);
    ctx.beginPath();
    ctx.moveTo(x, y);
    ctx.lineTo(x2, y2);
    ctx.stroke();
    ctx.setLineDash([]);
  }
}

// clockText is a time as the axis has it: as exact as its steps are (0: whole), with the date where a day begins.
const two = n => String(n).padStart(2, '0');
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
function clockText(t, every, before) {
  const d = new Date(t), day = `${d.getDate()} ${months[d.getMonth()]}`;
  if (every >= 864e5) return d.getMonth() === 0 && d.getDate() <= every / 864e5 ? `${day} ${d.getFullYear()}` : day;
  const clock = `${two(d.getHours())}:${two(d.getMinutes())}` + (every < 6e4 && (every || t % 6e4) ? ':' + two(d.getSeconds()) : '');
  if (!every) return `${day} ${d.getFullYear()} ${clock}`;
  return new Date(before).getDate() !== d.getDate() ? day : clock;
}
