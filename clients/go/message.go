// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// message is any message of the edge. Members whose type depends on the kind are kept as they are.
type message struct {
	T         string          `json:"t"`
	V         json.RawMessage `json:"v"`
	Heartbeat int64           `json:"heartbeat"`
	MaxTopics int             `json:"max_topics"`
	ID        json.RawMessage `json:"id"`
	Topics    json.RawMessage `json:"topics"`
	Rejected  []rejection     `json:"rejected"`
	Resumed   *bool           `json:"resumed"`
	Code      int             `json:"code"`
	Reason    string          `json:"reason"`
	TS        int64           `json:"ts"`
	D         []row           `json:"d"`
	State     string          `json:"state"`
	RetryMS   *int64          `json:"retry_ms"`
	Token     string          `json:"token"`

	// Of screens.
	Screen string   `json:"screen"`
	Full   bool     `json:"full"`
	More   bool     `json:"more"`
	Out    []string `json:"out"`
	Order  []string `json:"order"`
	At     *int     `json:"at"`
}

type rejection struct {
	Topic  *string `json:"topic"`
	Index  int     `json:"index"`
	Code   int     `json:"code"`
	Reason string  `json:"reason"`
}

type row struct {
	S string          `json:"s"`
	N uint64          `json:"n"`
	V json.RawMessage `json:"v"`
}

// kinds are the messages that the client acts on. Others are passed over, whatever they hold.
var kinds = []string{"hello", "ack", "error", "snapshot", "update", "feed", "stale", "unsubscribed", "bye", "resume", "screen"}

// parse reads a message. One that the client has no use for comes with an empty T.
func parse(payload []byte) (m message, err error) {
	if err = json.Unmarshal(payload, &m); err == nil {
		return m, nil
	}
	var mistyped *json.UnmarshalTypeError
	var kind struct {
		T string `json:"t"`
	}
	if errors.As(err, &mistyped) && json.Unmarshal(payload, &kind) == nil && !slices.Contains(kinds, kind.T) {
		return message{}, nil
	}
	return message{}, errors.New("a message of the edge is not what the protocol says")
}

// names reads the topics of a message that lists them.
func (m message) names() (all []string) {
	_ = json.Unmarshal(m.Topics, &all) // It is checked with the kind by whoever needs it; none otherwise.
	return all
}

// patterns reads the topics of a feed.
func (m message) patterns() (all string) {
	_ = json.Unmarshal(m.Topics, &all) // Absent means all other topics.
	return all
}

// command is one of the client's, and what it was about.
type command struct {
	Op     string   `json:"op"`
	Topics []string `json:"topics,omitempty"`
	Since  string   `json:"since,omitempty"`
	Token  string   `json:"token,omitempty"`
	Screen string   `json:"screen,omitempty"`
	Where  string   `json:"where,omitempty"`
	Top    int      `json:"top,omitempty"`
	By     string   `json:"by,omitempty"`
	ID     uint64   `json:"id"`

	sent time.Time
}
