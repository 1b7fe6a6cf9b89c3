// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
)

var _ broker.Coverer = (*source)(nil)

func TestWildcards(t *testing.T) {
	many := make([]string, coversMax+1)
	for i := range many {
		many[i] = fmt.Sprint("m", i, ":")
	}
	for _, c := range []struct {
		template string
		prefixes []string
		want     []string
	}{
		{"md.{topic}", nil, nil},
		{"md.{topic}", []string{"kline:1s:"}, []string{"md.kline.1s.>"}},
		{"md.{topic}", []string{"kline:1s"}, []string{"md.kline.>"}},
		{"md.{topic}", []string{"kline:1s:", "kline:1", "crypto:B"}, []string{"md.crypto.>", "md.kline.>"}},
		{"md.{topic}", []string{"a:b:", "a:", "A"}, []string{"md.>"}},
		{"md.{topic}", []string{"a:", "a0:"}, []string{"md.a.>", "md.a0.>"}}, // A point is before digits, a > is not.
		{"md.{topic}", []string{""}, []string{"md.>"}},
		{"md.{topic}", []string{":", "a::b"}, []string{"md.%.>", "md.a.%.>"}},
		{"md.{topic}", []string{"a.b>:"}, []string{"md.a%2Eb%3E.>"}},
		{"md.{topic}", many, []string{"md.>"}},
		{"{topic}", []string{"$x:", "k:"}, []string{"%24x.>", "k.>"}},
		{"{topic}", []string{"_INBOX:", "k:"}, []string{"k.>"}},
		{"{topic}", []string{"k"}, []string{">"}},
	} {
		s, err := newSubjects(c.template)
		if err != nil {
			t.Fatal(err)
		}
		got := s.wildcards(broker.NewPrefixes(c.prefixes))
		if !slices.Equal(got, c.want) {
			t.Errorf("%q of %s are %q, want %q", c.prefixes, c.template, got, c.want)
		}
	}
}

// A topic that begins with a prefix has a subject that its wildcard has.
func TestWildcardsHaveTheirTopics(t *testing.T) {
	s, _ := newSubjects("md.{topic}")
	for _, topic := range []string{"a", "a:b", ":", "::", "a::", "a::b", ".x:%y:>z", "$a:b", "a:b:", ":a"} {
		for n := range len(topic) + 1 {
			of := s.wildcards(broker.Prefixes{topic[:n]})
			if len(of) != 1 || !matches(of[0], s.of(topic)) {
				t.Errorf("%q of the prefix %q do not have %q, the subject of %q", of, topic[:n], s.of(topic), topic)
			}
		}
	}
}

// tells publishes until a tick of a topic comes that nobody wants.
func (f *coreFeed) tells(nc *natsgo.Conn, subject string) {
	f.t.Helper()
	before := f.feed.Stats().Counts[broker.Unwanted]
	f.until(subject+" is told", func() bool {
		if err := errors.Join(nc.Publish(subject, []byte("1")), nc.Flush()); err != nil {
			f.t.Fatal(err)
		}
		return f.feed.Stats().Counts[broker.Unwanted] > before
	})
}

// Where subjects have no fixed part not all of them are subscribed: nobody's questions would find out that there is no
// answer.
func TestCoverOfEverything(t *testing.T) {
	s, _ := startServer(t, "", -1)
	nc := dialServer(t, s)
	f := runCore(t, Config{URL: coreURL(s.Addr().String(), secret)})
	if err := f.feed.Cover([]string{"k:"}); err != nil {
		t.Fatal(err)
	}
	f.tells(nc, "k.x")
	for _, prefix := range []string{"", "k"} {
		if err := f.feed.Cover([]string{prefix}); !errors.Is(err, errEverything) {
			t.Errorf("%q is covered: %v", prefix, err)
		}
	}
	f.tells(nc, "k.x") // All is as it was.
	if _, err := nc.Request("nobody.is.here", nil, patience); !errors.Is(err, natsgo.ErrNoResponders) {
		t.Errorf("nobody answers a question: %v", err)
	}
}

// A stream has all. Where a link without one comes behind it, not all is subscribed.
func TestCoverOfEverythingAfterAStream(t *testing.T) {
	u := &upstream{mode: auto}
	u.subjects, _ = newSubjects("{topic}")
	src := newSource(u, nil, newLogger(t))
	if err := src.Cover([]string{""}); err != nil {
		t.Fatal(err)
	}
	l := newCoreLink(src, nil)
	if text, begun := l.beginCovers(); len(text) > 0 || len(begun) > 0 || src.refusals[broker.OtherCause].Load() != 1 {
		t.Errorf("%q is subscribed", text)
	}
}

// A pattern that the user may not subscribe, or that the server has no room for, is no matter of the feed and of its topics,
// and is asked for again.
func TestCoverIsRefused(t *testing.T) {
	t.Run("not permitted", func(t *testing.T) {
		s, o := startServer(t, "", -1)
		nc := dialServer(t, s)
		permit(t, s, o, nil, []string{"k.>"})
		f := runCore(t, Config{URL: coreURL(s.Addr().String(), secret)})
		f.acquire("A")
		if err := f.feed.Cover([]string{"k:", "l:"}); err != nil {
			t.Fatal(err)
		}
		f.tells(nc, "l.x")
		f.until("it is refused", func() bool { return f.feed.Stats().Refusals[broker.NotPermitted] > 1 })
		f.hears(nc, "A", "1")
		f.refusedOnce()
		permit(t, s, o, nil, nil)
		f.tells(nc, "k.x")
		f.until("the log says so", func() bool { return f.log.Count("not refused any more") == 1 })
	})
	t.Run("no room", func(t *testing.T) {
		s := startWith(t, &server.Options{MaxSubs: 3}) // One is for answers of publishers.
		nc := must(natsgo.Connect(s.ClientURL()))
		defer nc.Close()
		f := runCore(t, Config{URL: "nats://" + s.Addr().String() + "?mode=core"})
		f.acquire("A")
		f.hears(nc, "A", "1")
		if err := f.feed.Cover([]string{"k:", "l:", "m:"}); err != nil {
			t.Fatal(err)
		}
		f.until("two are refused", func() bool { return f.feed.Stats().Refusals[broker.TooManySubscriptions] >= 2 })
		f.tells(nc, "k.x")
		f.hears(nc, "A", "2")
		f.refusedOnce()
		if err := f.feed.Cover([]string{"m:"}); err != nil {
			t.Fatal(err)
		}
		f.tells(nc, "m.x")
	})
}

// refusedOnce demands that the feed is as it was, and that the log has one line.
func (f *coreFeed) refusedOnce() {
	f.t.Helper()
	st := f.feed.Stats()
	lines, up := f.log.Count("patterns of topics are refused"), f.table.Health().Up
	if !up || st.Counts[broker.Connects] != 1 || st.Refused != [broker.Causes]int64{} || lines != 1 {
		f.t.Errorf("up is %v over %d connections, topics are refused: %v, %d lines", up, st.Counts[broker.Connects], st.Refused, lines)
	}
}

// What is between programs is no topic of a pattern.
func TestCoverLeavesOutAnswers(t *testing.T) {
	s, _ := startServer(t, "", -1)
	nc := dialServer(t, s)
	f := runCore(t, Config{URL: coreURL(s.Addr().String(), secret) + "&wildcard=true", Timeout: 300 * time.Millisecond})
	o := f.log.Count("value dropped")
	if err := f.feed.Cover([]string{""}); err != nil {
		t.Fatal(err)
	}
	before := f.feed.Stats().Counts[broker.Unwanted]
	for _, subject := range []string{"_INBOX.x", "$x", "a"} { // What is told is dropped, with a line in the log.
		if err := nc.Publish(subject, []byte("no JSON")); err != nil {
			t.Fatal(err)
		}
	}
	f.until("all have come", func() bool { return f.log.Count("topic=a ") > o && f.feed.Stats().Counts[broker.Unwanted] >= before+2 })
	if n := f.log.Count("value dropped"); n != o+1 {
		t.Errorf("%d values were looked at, want that of a alone", n-o)
	}
}
