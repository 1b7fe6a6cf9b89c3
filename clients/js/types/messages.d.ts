// SPDX-License-Identifier: Apache-2.0

// The messages of the protocol, version 1, for pages that speak it themselves. docs/PROTOCOL.md says what they mean, and a
// test holds them to docs/schemas. An edge may send others, and further members: pass over them.

/** A topic's newest value. `n` is how many ticks of it that edge has seen; compare it within one connection only.
 * `v` is null where the topic is delisted, whatever V is: it has no value until another row comes. */
export interface Row<V = unknown> { s: string; n: number; v: V }

/** A topic that a command could not have: its name, or its place among those of the command where that can't be shown. */
export interface Rejected { topic?: string; index?: number; code: number; reason: string }

export interface Hello { t: 'hello'; v: 1; conn: string; interval: number; heartbeat: number; max_topics: number }
export interface Ack {
  t: 'ack'; id?: string | number; op: string; topics: number; ms?: number; rejected?: Rejected[]; resumed?: boolean;
  screens?: number; screen?: string;
}
/** `at` is the byte of a screen's condition at which that is wrong. */
export interface ProtocolError { t: 'error'; id?: string | number; code: number; reason: string; at?: number }
export interface ListedScreen { screen: string; topics: string[]; where?: string; top?: number; by?: string }
export interface Topics { t: 'topics'; id?: string | number; topics: string[]; screens?: ListedScreen[] }
export interface Snapshot<V = unknown> { t: 'snapshot'; ts: number; d: Row<V>[] }
export interface TopicUpdate<V = unknown> { t: 'update'; ts: number; d: Row<V>[] }
/** What has changed of a screen. With `full` what was known of it is forgotten; `more` says that further pieces of that follow. */
export interface ScreenUpdate<V = unknown> {
  t: 'screen'; ts: number; screen: string; full?: true; more?: true; d?: Row<V>[]; out?: string[]; order?: string[];
}
export interface Interval { t: 'interval'; ms: number; reason: string }
export interface Feed { t: 'feed'; state: 'up' | 'down'; since: number; topics?: string }
export interface Stale { t: 'stale'; ts: number; code?: number; reason?: string; topics: string[] }
export interface Unsubscribed { t: 'unsubscribed'; topics: string[]; reason: string }
export interface Heartbeat { t: 'heartbeat'; ts: number; feed: 'up' | 'down'; tick?: number; lag: number }
export interface Pong { t: 'pong'; id?: string | number; ts: number }
export interface Announcement { t: 'announcement'; text: string }
export interface Bye { t: 'bye'; code: number; reason: string; retry_ms?: number }
export interface Resume { t: 'resume'; token: string }

/** What an edge sends. */
export type Message<V = unknown> =
  | Hello | Ack | ProtocolError | Topics | Snapshot<V> | TopicUpdate<V> | Interval | Feed | Stale | Unsubscribed | Heartbeat | Pong
  | Announcement | Bye | Resume | ScreenUpdate<V>;

export interface SubscribeCommand { op: 'subscribe'; id?: string | number; topics: string[]; since?: string }
export interface UnsubscribeCommand { op: 'unsubscribe'; id?: string | number; topics: string[] }
export interface ListCommand { op: 'list'; id?: string | number }
export interface IntervalCommand { op: 'interval'; id?: string | number; ms: number }
export interface AuthCommand { op: 'auth'; id?: string | number; token: string }
export interface PingCommand { op: 'ping'; id?: string | number }

export interface ScreenCommand {
  op: 'screen'; id?: string | number; screen: string; topics: string | string[]; where?: string; top?: number; by?: string;
}
export interface UnscreenCommand { op: 'unscreen'; id?: string | number; screen: string }

/** What a client sends. */
export type Command =
  | SubscribeCommand | UnsubscribeCommand | ListCommand | IntervalCommand | AuthCommand | PingCommand | ScreenCommand | UnscreenCommand;
