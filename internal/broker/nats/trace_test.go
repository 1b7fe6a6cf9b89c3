// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"strings"
	"testing"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
)

// followingEar hears what is beside values, too.
type followingEar struct {
	*ear
	follows bool
}

func (e followingEar) Follows() bool { return e.follows }

func (e followingEar) TickOf(topic, value string, _ int64, parent string) {
	e.note(strings.Clone(topic), value+" of "+parent)
}

// A traceparent goes through NATS as a header, with a stream and without, beside whatever else is there; it is read if anybody wants
// to know.
func TestTraceInHeaders(t *testing.T) {
	const tp = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for mode, of := range map[string]string{"jetstream": "&stream=" + testStream, "core": ""} {
		dir := ""
		if of != "" {
			dir = t.TempDir()
		}
		server, _ := startServer(t, dir, -1)
		nc := dialServer(t, server)
		if of != "" {
			makeStream(t, nc, true)
		}
		heard := make(chan *natsgo.Msg, 100)
		if _, err := nc.ChanSubscribe("md.>", heard); err != nil {
			t.Fatal(err)
		}
		at := server.Addr().String()
		query := "?subject=md.{topic}&mode=" + mode + of
		run := func(follows bool) *ear {
			e := newEar()
			u, err := Config{URL: "nats://edge:" + secret + "@" + at + query}.upstream()
			if err != nil {
				t.Fatal(err)
			}
			startSource(t, newSource(u, followingEar{e, follows}, newLogger(t)), e, "A", "B", "C")
			return e
		}
		follows, other := run(true), run(false)
		p, _ := newPublisherOf(t, "nats://publisher:"+secret+"@"+at+query)
		for _, f := range fates(t, p, broker.Tick{Topic: "A", Value: []byte(`{"p":1}`), Ver: 1, Trace: tp}, broker.Tick{Topic: "B", Value: []byte(`{"p":1}`), Ver: 1}, broker.Tick{Topic: "C", Value: []byte(`7`), Trace: tp}) {
			if f != broker.Taken {
				t.Errorf("%s: fate %d", mode, f)
			}
		}
		for topic, want := range map[string]string{"A": `{"p":1,"ver":1} of ` + tp, "B": `{"p":1,"ver":1}`, "C": "7 of " + tp} {
			await(t, mode+": "+topic+" is heard", func() bool { return follows.of(topic) == want })
			await(t, mode+": "+topic+" is heard", func() bool { return other.of(topic) == strings.TrimSuffix(want, " of "+tp) })
		}
		for range 3 {
			if m := <-heard; (m.Header.Get("traceparent") == tp) != (m.Subject != "md.B") || m.Subject == "md.A" && of != "" && m.Header.Get(expectSequence) != "0" {
				t.Errorf("%s: %s has the header %v", mode, m.Subject, m.Header)
			}
		}
		nc.Close()
	}
}

// A header that a publisher has written is any text.
func TestParentOfHeader(t *testing.T) {
	s := &source{follower: followingEar{newEar(), true}}
	for header, want := range map[string]string{
		"": "", "NATS/1.0\r\n\r\n": "", "NATS/1.0\r\ntraceparent: x\r\n\r\n": "x", "NATS/1.0\r\nA: b\r\ntraceparent:x\r\n\r\n": "x",
		"traceparent": "", "NATS/1.0\r\nA: traceparent\r\n\r\n": "", "NATS/1.0\r\ntraceparent": "", "NATS/1.0 503\r\ntraceparent\r\n\r\n": "",
	} {
		if got := s.parentOf([]byte(header)); got != want {
			t.Errorf("%q has %q, want %q", header, got, want)
		}
	}
	s.follower = followingEar{newEar(), false}
	if s.parentOf([]byte("NATS/1.0\r\ntraceparent: x\r\n\r\n")) != "" || (&source{}).parentOf([]byte("NATS/1.0\r\ntraceparent: x\r\n\r\n")) != "" {
		t.Error("a header is read though nobody wants to know")
	}
}
