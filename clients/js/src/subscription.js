// SPDX-License-Identifier: Apache-2.0

const report = (e) => { // To where uncaught errors of the page go; it never stops the client.
  if (globalThis.reportError) reportError(e);
  else console.error(e);
};

/** call calls a function of the user, whose errors harm nobody else. */
export function call(f, arg) {
  try {
    const r = f(arg);
    if (typeof r?.then === 'function') r.then(undefined, report);
  } catch (e) {
    report(e);
  }
}

/** Subscription is some topics of a client. It holds the newest value of each that was not taken yet, and no more. */
export class Subscription {
  #core; #cb; #onState;
  #slots = new Map();
  #queue = new Set(); // Slots with news; the oldest news first.
  #waiting = [];
  #over = false;
  #error;
  #told;
  #scheduled = false;

  constructor(core, cb, onState) {
    this.#core = core; this.#cb = cb; this.#onState = onState;
    /** Resolves when the subscription has ended: with a ConnError if the client has, else with undefined. */
    this.closed = new Promise((r) => { this.#told = r; });
  }

  get topics() { return [...this.#slots.keys()]; }

  /** unsubscribe gives up the topics. Nothing is called any more. Twice is no error. */
  unsubscribe() {
    if (this.#over) return;
    this._finish();
    this.#core.left(this, this.#slots);
  }

  [Symbol.asyncIterator]() {
    if (this.#cb || this.#onState) throw new TypeError('this subscription has callbacks');
    return {
      next: () => new Promise((ok, no) => { this.#waiting.push({ok, no}); this.#serve(); }),
      return: async (value) => { this.unsubscribe(); return {done: true, value}; },
    };
  }

  _add(topic) {
    const slot = {topic, fresh: topic.has, conflated: 0, state: 'waiting', code: 0, reason: ''};
    this.#slots.set(topic.name, slot);
    topic.subs.set(this, slot);
    this._put(slot);
  }

  _put(slot) {
    if (this.#over) return;
    this.#queue.add(slot);
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => { this.#scheduled = false; this.#serve(); });
  }

  _finish(error) {
    if (this.#over) return;
    this.#over = true;
    this.#error = error;
    if (!error) this.#queue.clear();
    this.#serve();
    this.#told(error);
  }

  #take() {
    for (const slot of this.#queue) {
      this.#queue.delete(slot);
      const {topic: t} = slot, {state, code, reason} = t.told, changed = slot.state !== state || slot.code !== code || slot.reason !== reason;
      if (!slot.fresh && !changed) continue; // It has changed and changed back.
      const u = {
        topic: t.name, state, value: t.value, isNew: slot.fresh, n: t.n, conflated: slot.conflated, at: t.at,
        code, reason, temporary: t.temporary,
      };
      Object.assign(slot, {fresh: false, conflated: 0, state, code, reason});
      return [u, changed];
    }
  }

  #serve() {
    const callbacks = this.#cb || this.#onState;
    let got;
    while ((callbacks || this.#waiting.length) && (got = this.#take())) {
      const [u, changed] = got;
      if (!callbacks) { this.#waiting.shift().ok({done: false, value: u}); continue; }
      if (u.isNew && this.#cb) call(this.#cb, u);
      if (changed && this.#onState) call(this.#onState, u);
    }
    if (!this.#over) return;
    for (const {ok, no} of this.#waiting.splice(0)) {
      if (this.#error) no(this.#error); else ok({done: true, value: undefined});
      this.#error = undefined;
    }
  }
}
