// SPDX-License-Identifier: Apache-2.0

export type {Command, Message, Row} from './messages.js';

export interface ReconnectingOptions {
  /** Where there is no global WebSocket. */
  WebSocket?: new (url: string, protocols?: string | string[]) => any;
  /** ms: 1000. */
  minBackoff?: number;
  /** ms: 30000. */
  maxBackoff?: number;
  /** ms: 10000. */
  handshakeTimeout?: number;
  /** Messages that are kept while there is no connection, 1000; further ones are dropped. */
  maxEnqueuedMessages?: number;
  startClosed?: boolean;
}

type Made<T> = T | (() => T | Promise<T>);

/** A WebSocket that opens itself again, by the edge's close codes and `retry_ms`. It subscribes nothing again. */
export class ReconnectingWebSocket extends EventTarget {
  static readonly CONNECTING: 0;
  static readonly OPEN: 1;
  static readonly CLOSING: 2;
  static readonly CLOSED: 3;
  readonly CONNECTING: 0;
  readonly OPEN: 1;
  readonly CLOSING: 2;
  readonly CLOSED: 3;
  constructor(url: Made<string>, protocols?: Made<string | string[]>, options?: ReconnectingOptions);
  onopen: ((event: Event) => any) | null;
  onmessage: ((event: MessageEvent) => any) | null;
  onclose: ((event: CloseEvent) => any) | null;
  onerror: ((event: Event) => any) | null;
  readonly readyState: number;
  readonly url: string;
  readonly protocol: string;
  readonly extensions: string;
  readonly bufferedAmount: number;
  readonly retryCount: number;
  binaryType: BinaryType;
  send(data: string | ArrayBuffer | ArrayBufferView | Blob): void;
  /** Closes for good, until `reconnect`. */
  close(code?: number, reason?: string): void;
  /** Opens a new connection at once. */
  reconnect(code?: number, reason?: string): void;
}

export default ReconnectingWebSocket;
