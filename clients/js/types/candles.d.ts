// SPDX-License-Identifier: Apache-2.0

import type {Client, State} from './client.js';

/** One bar. Its numbers are those of the edge's JSON. */
export interface Bar {
  /** When it begins: Unix milliseconds. */
  t: number;
  o: number;
  h: number;
  l: number;
  c: number;
  /** The sum of the sizes. */
  v: number;
  /** The sum of prices times sizes. */
  q: number;
  /** How many trades there are in it. 0: it was filled with the close before it. */
  n: number;
  /** How often it was changed after it was closed. */
  rev?: number;
}

export interface CandlesOptions {
  /** Where GET /history/{symbol} is: '/history', on the page's host. */
  history?: string;
  /** Bars in a page of history, 1 to 5000: 500. */
  limit?: number;
  /** A token for the history, or what returns one; it is sent as a bearer token. */
  token?: string | ((signal: AbortSignal) => string | Promise<string>);
  /** Called after each change of bars, open, more, state or error. */
  onChange?: (candles: Candles) => void;
  /** An answer that would be the same again, such as a symbol that there is not. */
  onError?: (error: Error) => void;
  fetch?: typeof fetch;
}

/** The bars of one symbol and interval, those of the past and the one that is open, kept current. */
export class Candles {
  constructor(client: Client, symbol: string, tf: string, options?: CandlesOptions);
  readonly symbol: string;
  readonly tf: string;
  /** In the order of their starts, each once, without a hole. Do not change it. */
  readonly bars: Bar[];
  /** The last bar is still open. */
  readonly open: boolean;
  /** There may be older bars in the history. */
  readonly more: boolean;
  /** Of the subscription that moves the open bar. */
  readonly state: State;
  /** What the last fetch has failed with. It is tried again. */
  readonly error: Error | undefined;
  /** Fetches the page before the first bar, and resolves to how many bars came. */
  older(): Promise<number>;
  /** Ends the subscription. Nothing is called any more. Twice is no error. */
  close(): void;
}

/** An answer of the history that is none. */
export class HistoryError extends Error {
  readonly reason: string;
  readonly status: number;
}

/** Intervals are those that the market data program makes, such as 1s, 1m, 5m, 1h and 1d. */
export function candles(client: Client, symbol: string, tf: string, options?: CandlesOptions): Candles;
/** How long bars of an interval are, in ms; those of days may be an hour longer or shorter. */
export function span(tf: string): number;
