// SPDX-License-Identifier: Apache-2.0

package plan

import "time"

// What things cost. What a connection takes of memory at most is the doctor's. docs/OPERATIONS.md,
// "Capacity", has the runs: one edge with -loops 1, a redis-server and a tickgen on 2 processors,
//
//	edge -loops 1 -topics 'GEN-*' -source redis://…
//	tickgen -rate RATE -symbols GEN-000000 -n 999
//	bench hold -conns CONNS -topics TOPICS -universe 1000 -topic-name 'GEN-%06d' -for 6s -pid PID
const (
	// FrameCost is a frame without its rows, and rowCost a row: what grows between 3,000 and
	// 10,000 conns, and between 10 and 100 topics, at 20,000 ticks a second.
	FrameCost = 4900 * time.Nanosecond
	rowCost   = 19 * time.Nanosecond
	// visitCost is a visit that finds nothing new (docs/BUDGET.md, "One process").
	visitCost = 100 * time.Nanosecond
	// baseCores is what an edge takes of a core beside frames and ticks.
	baseCores = 0.046
	// tickFew is a tick of the feed beside clients that have 1,000 topics between them, and
	// tickMany one of 100,000 topics (docs/BUDGET.md, "The feed": bench feed -for 30s).
	tickFew    = 1000 * time.Nanosecond
	tickMany   = 2800 * time.Nanosecond
	wantedFew  = 1000
	wantedMany = 100_000
	// feedMost is how many ticks a second one connection has brought (bench feed -for 1m).
	feedMost = 200_000
	// comebackCost is a conn that is opened, subscribes and has its snapshot (bench storm -conns
	// 1000 -storm 8000 -for 6s).
	comebackCost = 64 * time.Microsecond
	// proxyFrame is a frame of 1.1 kB through HAProxy 2.6, which ends TLS; proxyOpen a handshake of TLS
	// 1.3 with a key of P-256 and what follows; proxyMemory a conn. 4,000 conns.
	proxyFrame  = 9200 * time.Nanosecond
	proxyOpen   = 290 * time.Microsecond
	proxyMemory = 10_000
	// redisPublish is a SET and a PUBLISH of tickgen, 20,000 a second, and redisOut a message to one
	// subscriber: what grows between 1 and 24 of them.
	redisPublish = 5500 * time.Nanosecond
	redisOut     = 300 * time.Nanosecond

	// processMemory is an edge that has buffers and no clients; connMemory a conn without topics,
	// and connTopicMemory each of its topics, with the room of the collector.
	processMemory   = 35_000_000
	connMemory      = 735
	connTopicMemory = 6.7
	// topicMemory is a topic with a row of 100 bytes (docs/BUDGET.md, "Memory per connection").
	topicMemory = 461
	// tickMemory is garbage of a tick a second, which waits for the collector.
	tickMemory = 42

	// frameEnvelope and eventEnvelope stand around the rows of an update.
	frameEnvelope = 43
	eventEnvelope = 64
	// pieceMost is where fanout cuts what is longer.
	pieceMost = 32 << 10
	// messageEnvelope is what a message of Redis has more than the row: 132 B were sent for rows of 107.
	messageEnvelope = 25
	// recordMost and recordEnvelope are of TLS 1.3 (RFC 8446, section 5): a head of 5 bytes, a type,
	// and a tag of 16.
	recordMost     = 16 << 10
	recordEnvelope = 22
	// segment is the payload of a packet of 1,500 bytes; headers are TCP's with timestamps, and IPv4's.
	segment = 1448
	headers = 52

	pageSize        = 4096 // Of x86-64, by which the kernel counts buffers.
	nrOpenDefault   = 1 << 20
	secondsPerMonth = 730 * 3600
)
