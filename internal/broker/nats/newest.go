// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"encoding/json"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

const (
	// newestSubject is where publishers are asked for newest values if no stream keeps them.
	newestSubject = "_tickedge.newest"
	// newestMax bounds the subjects of one question. With values of 4 KiB the answer is below the
	// megabyte that a message may have.
	newestMax = 64
)

// question asks for the newest values of some subjects.
type question struct {
	Subjects []string `json:"subjects"`
	answered bool
}

// reply has the values of those that its publisher knows.
type reply struct {
	Values []valued `json:"values"`
}

type valued struct {
	Subject string          `json:"subject"`
	Value   json.RawMessage `json:"value"`
}

// parseQuestion reads a question, which anybody may have sent.
func parseQuestion(data []byte) (q question, ok bool) {
	if len(data) > newestMax*(templateMax+4*64+8) || json.Unmarshal(data, &q) != nil || len(q.Subjects) > newestMax {
		return question{}, false
	}
	return q, true
}

func meta(owner broker.Owner, v topics.Version) topics.Meta {
	return topics.Meta{At: owner.Now(), Version: v}
}
