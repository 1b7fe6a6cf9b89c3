// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"errors"
	"fmt"
)

// listPages bounds the pages of subjects that List asks for, of 100,000 each.
const listPages = 200

// List implements [broker.Lister]: the subjects of a stream.
func (c Config) List(ctx context.Context, each func(topic string) bool) (all bool, err error) {
	u, err := c.upstream()
	if err != nil {
		return false, err
	}
	nc, err := u.dial(ctx, "tickedge list")
	if err != nil {
		return false, err
	}
	defer nc.Conn.Close()
	stream, err := u.find(ctx, nc)
	if err == nil && stream == "" {
		err = errNoStream
	}
	if err != nil {
		return false, err
	}
	seen := 0
	for range listPages {
		var page struct {
			Total int `json:"total"`
			State struct {
				Subjects map[string]uint64 `json:"subjects"`
			} `json:"state"`
		}
		ask := map[string]any{"subjects_filter": u.subjects.all(), "offset": seen}
		if err := u.ask(ctx, nc, "STREAM.INFO."+stream, ask, &page); err != nil {
			return false, fmt.Errorf("list: %w", err)
		}
		for subject := range page.State.Subjects {
			seen++
			if topic, ok := u.subjects.topic(subject); ok && !each(topic) {
				return false, nil
			}
		}
		if len(page.State.Subjects) == 0 || seen >= page.Total {
			return true, nil
		}
	}
	return false, nil
}

// Cure implements [broker.Lister].
func (c Config) Cure(err error) string {
	if errors.Is(err, errNoStream) {
		return "only a stream can list its subjects: use mode=jetstream, or leave -list-topics at held"
	}
	return hint(err)
}
