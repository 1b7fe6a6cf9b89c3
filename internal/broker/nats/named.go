// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

var errSubjects = errors.New("the stream has none of the subjects of the topics")

// checkNamed looks at the stream that the URL names: whether it is there, and topics can be in it. A mirror lists no
// subjects, and one that has messages from other streams may have more than it lists.
func (s *upstream) checkNamed(ctx context.Context, c *conn) error {
	var info struct {
		Config struct {
			Subjects []string          `json:"subjects"`
			Sources  []json.RawMessage `json:"sources"`
		} `json:"config"`
	}
	if err := s.ask(ctx, c, "STREAM.INFO."+s.stream, nil, &info); err != nil {
		return err
	}
	has := info.Config.Subjects
	if len(has) == 0 || len(info.Config.Sources) > 0 || slices.ContainsFunc(has, func(p string) bool { return overlaps(p, s.subjects.all()) }) {
		return nil
	}
	return fmt.Errorf("%w: %s has %.200s, want %s", errSubjects, s.stream, strings.Join(has, ", "), s.subjects.all())
}

// overlaps reports whether two patterns have a subject in common.
func overlaps(a, b string) bool {
	for {
		x, restA, moreA := strings.Cut(a, ".")
		y, restB, moreB := strings.Cut(b, ".")
		switch {
		case x == ">" || y == ">":
			return true
		case x != y && x != "*" && y != "*" || moreA != moreB:
			return false
		case !moreA:
			return true
		}
		a, b = restA, restB
	}
}
