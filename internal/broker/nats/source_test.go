// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tickedge/internal/topics"
)

// sceptic is an owner that notes which topics are in doubt.
type sceptic struct {
	*ear
	said []string
}

func (o *sceptic) Doubt(topic string) { o.said = append(o.said, "doubt "+topic) }
func (o *sceptic) SetUp(up bool)      { o.said = append(o.said, fmt.Sprint("up ", up)) }

// still is a link that a test speaks for.
type still struct{}

func (still) lag(time.Time) time.Duration { return 0 }
func (still) heard() time.Time            { return time.Time{} }
func (still) channels() int64             { return 0 }

// What came while a gap was open keeps nobody waiting, and is in doubt when the link ends that it was read on.
func TestNewcomersInDoubt(t *testing.T) {
	u, err := Config{URL: "nats://127.0.0.1:1?subject=md.{topic}&mode=core"}.upstream()
	if err != nil {
		t.Fatal(err)
	}
	o := &sceptic{ear: newEar()}
	s := newSource(u, o, newLogger(t))
	want := func(topic string) { s.Apply([]topics.Change{{Topic: topic, Wanted: true}}) }
	serve := func(topic string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, w := range s.take(10) {
			if w.topic == topic {
				s.finish(w)
			} else {
				s.again(w)
			}
		}
	}
	link := func() { s.begin(still{}, true, true) }
	link()
	want("OLD")
	serve("OLD")
	s.ended() // A gap begins, in which OLD may have missed something.
	link()
	want("NEW")
	serve("NEW")
	s.ended()
	link()
	serve("OLD")
	if wanted := []string{"up true", "doubt OLD", "up false", "doubt NEW", "doubt NEW", "up true"}; !slices.Equal(o.said, wanted) {
		t.Errorf("told %q, want %q", o.said, wanted)
	}
}
