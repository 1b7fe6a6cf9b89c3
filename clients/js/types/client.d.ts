// SPDX-License-Identifier: Apache-2.0

/** How much a value can be relied on. */
export type State =
  /** No value came yet on this connection. One that was there before is in `value`. */
  | 'waiting'
  /** `value` is the newest. */
  | 'live'
  /** The source has withdrawn the topic: it has no value, until one comes. */
  | 'delisted'
  /** No tick came for longer than is to be expected, or the edge can't get the topic: see `code`. */
  | 'stale'
  /** The edge has lost the source of the ticks. */
  | 'down'
  /** The client has lost the edge; `reason` says why. */
  | 'reconnecting'
  /** The edge does not give this topic: see `code` and `reason`. */
  | 'rejected';

/** What is the newest of a topic. */
export interface Update<V = unknown> {
  topic: string;
  state: State;
  /** The newest value that came; undefined if none did, or the topic is delisted. All subscribers are given the same object: do not change it. */
  value: V | undefined;
  /** This subscription has not had the value before. Other updates tell of a state. */
  isNew: boolean;
  /** How many ticks of the topic that edge has seen. It begins anew with a connection. */
  n: number;
  /** Ticks between this value and the one before it that this subscription had; 0 over a reconnect. */
  conflated: number;
  /** When the edge has sent the value: Unix milliseconds by its clock. */
  at: number;
  /** Of docs/PROTOCOL.md, a close code or an HTTP status; 0 if there is none. */
  code: number;
  reason: string;
  /** Of a rejected topic: the client asks again, within seconds or minutes. */
  temporary: boolean;
}

/** Some topics of a client. Without callbacks it is an async iterator that gives the newest values and states. */
export interface Subscription<V = unknown> extends AsyncIterable<Update<V>> {
  readonly topics: string[];
  /** Resolves when the subscription has ended: with what ended the client, or with undefined. It never rejects. */
  readonly closed: Promise<ConnError | undefined>;
  /** Gives up the topics; nothing is called any more. Twice is no error. */
  unsubscribe(): void;
}

/**
 * The part of a WebSocket that the client uses. The event of onclose may say what those of WebSockets don't: `status`, the
 * HTTP answer to the handshake, and `after`, the ms to wait before the next attempt. A class in front of WebSocket can find
 * out both, and count what comes.
 */
export interface Socket {
  readonly readyState: number;
  onmessage: ((event: any) => any) | null;
  onclose: ((event: any) => any) | null;
  onerror: ((event: any) => any) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

export type SocketClass = new (url: string, protocols?: string[]) => Socket;

/** What a client does about its connection. */
export interface Connection {
  /**
   * A connection is being made; there is one; the client waits before the next attempt; it waits for topics, as there are none
   * that an edge takes. The end of all is told by `onError`.
   */
  state: 'connecting' | 'connected' | 'waiting' | 'idle';
  /** Why the one before was lost: a close code or an HTTP status, or 0. Undefined where none was. */
  code?: number;
  reason?: string;
  /** ms until the next attempt, in the state 'waiting'. It is told again when it becomes shorter. */
  pause?: number;
  /** The edge has asked for this pause. */
  asked?: boolean;
}

export interface Options {
  /** The class of sockets, where there is no global WebSocket. null for none: then `fallback` alone is used. */
  WebSocket?: SocketClass | null | undefined;
  /** The class to use where no WebSocket ever opens: SSESocket of '@tickedge/client/sse'. */
  fallback?: SocketClass;
  /** A token, or what returns one: it is called before a connection if need be, and again before `exp`. 30 s at most. */
  token?: string | ((signal: AbortSignal) => string | Promise<string>);
  /** The least time between two updates of a topic, 100 to 60000 ms. The edge's own by default. */
  interval?: number;
  /** Bounds each attempt to connect, in ms, until the edge's hello: 10000. */
  handshakeTimeout?: number;
  /** Pauses between attempts are a random part of a time that doubles from this one, 1000 ms, … */
  minBackoff?: number;
  /** … to this one, 30000 ms. */
  maxBackoff?: number;
  /** Ask only for what has changed after a reconnect, where the edge can: true. */
  resume?: boolean;
  /** Called with each change of the connection, never before the client has topics. It returns before the client goes on. */
  onConnection?: (connection: Connection) => void;
  /** What ended the client. Without it the error is written to the console. */
  onError?: (error: ConnError) => void;
}

/** The edge has refused the client, and would do so again. */
export class ConnError extends Error {
  constructor(reason: string, code?: number, status?: number);
  /** The close code, or 0. */
  readonly code: number;
  /** The HTTP status of a handshake that was refused, or 0. */
  readonly status: number;
  readonly reason: string;
}

/** One connection to an edge, kept open, and what was asked for on it. It connects with the first subscription. */
export class Client {
  /** A URL such as wss://example.com/ws. Throws a TypeError or RangeError for what can't be used. */
  constructor(url: string | URL, options?: Options);
  /**
   * Asks for topics. `onValue` is called with each newer value, `onState` with each change of a topic's state, never before
   * this returns. Throws what ended the client.
   */
  subscribe<V = unknown>(
    topics: string | Iterable<string>,
    onValue?: ((update: Update<V>) => void) | null,
    onState?: ((update: Update<V>) => void) | null,
  ): Subscription<V>;
  readonly error: ConnError | undefined;
  readonly connected: boolean;
  /**
   * The option `interval`, undefined without it. Setting another one asks the edge for it on this connection, or over
   * server-sent events on the next one. Throws a RangeError for what is not 100 to 60000.
   */
  get interval(): number | undefined;
  set interval(ms: number);
  /** Ends all subscriptions and the connection. Twice is no error. */
  close(): void;
}
