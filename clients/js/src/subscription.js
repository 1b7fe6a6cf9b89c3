// SPDX-License-Identifier: Apache-2.0

// To where uncaught errors of the page go; elsewhere they might end the program.
const report = (e) => { globalThis.document ? reportError(e) : console.error(e); };

/** call calls a function of the user, if there is one. Its errors harm nobody else. */
export function call(f, arg) {
  try {
    f?.(arg)?.then?.(undefined, report);
  } catch (e) {
    report(e);
  }
}

/** Subscription is some topics of a client. It holds the newest value of each that was not taken yet, and no more. */
export class Subscription {
  #core; #onValue; #onState;
  #pull; // It is an iterator.
  #slots = new Map();
  #queue = new Set(); // Slots with news; the oldest news first.
  #waiting = [];
  #over = false;
  #error;
  #told;
  #scheduled = false;

  constructor(core, onValue, onState) {
    this.#core = core; this.#onValue = onValue; this.#onState = onState;
    this.#pull = !onValue && !onState;
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
    if (!this.#pull) throw new TypeError('tickedge: it has callbacks');
    return {
      next: () => new Promise((ok, no) => { this.#waiting.push([ok, no]); this.#serve(); }),
      return: async (value) => { this.unsubscribe(); return {done: true, value}; },
    };
  }

  _add(topic) {
    const slot = {topic, fresh: topic.value != null, conflated: 0, told: 'waiting,,0'};
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
    if (!error) {
      this.#queue.clear();
      this.#onValue = this.#onState = undefined; // Also for the callback that is running.
    }
    this.#serve();
    this.#told(error);
  }

  #serve() {
    for (const slot of this.#queue) {
      if (this.#pull && !this.#waiting.length) break;
      this.#queue.delete(slot);
      const {topic: t, fresh: isNew, conflated} = slot, [state, reason, code] = t.told, told = '' + t.told;
      const changed = told !== slot.told; // Else it may have changed and changed back.
      if (!isNew && !changed) continue;
      Object.assign(slot, {fresh: false, conflated: 0, told});
      const {n, at} = t, u = {topic: t.name, state, value: t.value ?? undefined, isNew, n, conflated, at, code, reason, temporary: t.retryAt > 0};
      if (this.#pull) this.#waiting.shift()[0]({done: false, value: u});
      if (isNew) call(this.#onValue, u);
      if (changed) call(this.#onState, u);
    }
    if (!this.#over) return;
    for (const [ok, no] of this.#waiting.splice(0)) {
      if (this.#error) no(this.#error); else ok({done: true, value: undefined});
      this.#error = undefined;
    }
  }
}
