// SPDX-License-Identifier: Apache-2.0

import type {Socket} from './client.js';

/** Has the shape of a WebSocket, and speaks with the edge's /sse by `fetch`. For a client's option `fallback`. */
export class SSESocket implements Socket {
  constructor(url: string, protocols?: string | string[]);
  readyState: number;
  onopen: ((event: any) => any) | null;
  onmessage: ((event: any) => any) | null;
  onclose: ((event: any) => any) | null;
  onerror: ((event: any) => any) | null;
  send(data: string): void;
  close(): void;
}

/** Parses a stream of events as the HTML standard says: calls `on` with the data of each, and the last id. */
export function read(body: ReadableStream<Uint8Array>, on: (data: string, id: string) => void): Promise<void>;
