// SPDX-License-Identifier: Apache-2.0

package push

import (
	"encoding/json"
	"fmt"
)

const (
	topicsMax  = 256 // Per client.
	nameMax    = 64
	messageMax = 20 << 10 // A subscribe with 256 topics of 64 bytes has less.

	opSubscribe   = "subscribe"
	opUnsubscribe = "unsubscribe"
)

type row struct {
	S string          `json:"s"`
	N uint64          `json:"n"`
	V json.RawMessage `json:"v"`
}

type rowsMessage struct {
	T  string `json:"t"`
	TS int64  `json:"ts"`
	D  []row  `json:"d"`
}

type helloMessage struct {
	T         string `json:"t"`
	V         int    `json:"v"`
	Conn      string `json:"conn"`
	Interval  int64  `json:"interval"`
	Heartbeat int    `json:"heartbeat"` // 0: none are promised.
	MaxTopics int    `json:"max_topics"`
}

type rejection struct {
	Topic  string `json:"topic"`
	Code   int    `json:"code"`
	Reason string `json:"reason"`
}

type ackMessage struct {
	T        string          `json:"t"`
	ID       json.RawMessage `json:"id,omitempty"`
	Op       string          `json:"op"`
	Topics   int             `json:"topics"`
	Rejected []rejection     `json:"rejected,omitempty"`
}

type errorMessage struct {
	T      string          `json:"t"`
	ID     json.RawMessage `json:"id,omitempty"`
	Code   int             `json:"code"`
	Reason string          `json:"reason"`
}

type command struct {
	Op     string          `json:"op"`
	Topics []string        `json:"topics"`
	ID     json.RawMessage `json:"id"`
}

// parseCommand returns a command, or what is wrong with it.
func parseCommand(message []byte) (cmd command, problem string) {
	if err := json.Unmarshal(message, &cmd); err != nil {
		return cmd, "malformed: " + err.Error()
	}
	if cmd.Op != opSubscribe && cmd.Op != opUnsubscribe {
		return cmd, fmt.Sprintf("unknown op %q", cmd.Op)
	}
	return cmd, ""
}
