// SPDX-License-Identifier: Apache-2.0

import type {Client, ConnError} from './client.js';

/** What a screen is of. docs/SCREENS.md has the language of conditions. */
export interface ScreenQuery {
  /** A name, or a pattern: a prefix and a star, such as 'crypto:*'. Or up to 64 of them. */
  topics: string | string[];
  /** A condition over the members of values, such as 'chg_pct > 5 && v > 1e6'. Without it every topic is inside. */
  where?: string | undefined;
  /** Only the first so many, 1 to 100, ranked by `by`. */
  top?: number | undefined;
  /** The member to rank by, with a minus before it for the largest first: '-chg_pct'. */
  by?: string | undefined;
}

/** A topic that is inside. */
export interface ScreenRow<V = unknown> {
  topic: string;
  value: V;
  /** How many ticks of the topic that edge has seen. It begins anew with a connection. */
  n: number;
  /** When the edge has sent the value: Unix milliseconds by its clock. */
  at: number;
}

export type ScreenState =
  /** Not all of what is inside has come on this connection. What was there before the last one was lost is in `rows`. */
  | 'waiting'
  /** `rows` are what is inside. */
  | 'live'
  /** The client has lost the edge; `reason` says why. */
  | 'reconnecting'
  /** The edge does not give the screen: see `error`. */
  | 'rejected'
  /** It was closed, or the client has ended. */
  | 'closed';

/** What has changed. Of another state none of it has. */
export interface ScreenChange<V = unknown> {
  /** The rows are new altogether: the first, or those after a connection was lost. */
  full: boolean;
  /** Those that came in or have another value. */
  rows: ScreenRow<V>[];
  /** The names that were there and are not inside any more. */
  out: string[];
  /** `order` may have changed. */
  ordered: boolean;
}

export interface ScreenHandlers<V = unknown> {
  /** Called with each message of the edge, and each other state. Never before `screen` returns. */
  onChange?: (screen: Screen<V>, change: ScreenChange<V>) => void;
  /** A ScreenError for each refusal, or the ConnError that ended the client. */
  onError?: (error: ScreenError | ConnError) => void;
}

/** A screen that an edge does not give. */
export class ScreenError extends Error {
  /** One of docs/PROTOCOL.md. */
  readonly code: number;
  readonly reason: string;
  /** The byte of `where` or `by` at which it is wrong, from 0, if there is one … */
  readonly at?: number;
  /** … and the place of that in the string `where`, if it is of that. */
  readonly index?: number;
  /** The client asks again, within seconds or minutes. */
  readonly temporary: boolean;
  /** The edge is an older one, which knows no screens. */
  readonly unknown: boolean;
}

/** What is inside of a screen, kept current. After a connection was lost it is asked for again, and what was there stays until then. */
export class Screen<V = unknown> {
  constructor(client: Client, what: ScreenQuery | string | string[], handlers?: ScreenHandlers<V>);
  /** By their names. Do not change it; it may be another one after a change. */
  readonly rows: ReadonlyMap<string, ScreenRow<V>>;
  /** The names of the rows: as they are ranked, or of a screen that is not ranked in the order of their letters. */
  readonly order: readonly string[];
  /** `rows` are all that is inside, or that was when the connection was lost. */
  readonly complete: boolean;
  readonly state: ScreenState;
  /** Why it is reconnecting or rejected. */
  readonly reason: string;
  readonly error: ScreenError | ConnError | undefined;
  /** Its name on the connection. */
  readonly name: string;
  /** Gives the screen up; nothing is called any more. Twice is no error. */
  close(): void;
}

/** Asks for a screen. Throws a TypeError for what can't be used, or what ended the client. */
export function screen<V = unknown>(client: Client, what: ScreenQuery | string | string[], handlers?: ScreenHandlers<V>): Screen<V>;
