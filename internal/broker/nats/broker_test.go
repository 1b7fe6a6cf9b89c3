// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
	"tickedge/internal/broker/brokertest"
	"tickedge/internal/logtest"
)

const (
	secret     = "sesame"
	testStream = "TICKS"
	patience   = time.Minute
	lameGrace  = 3 * time.Second // That servers in lame duck mode leave to clients before they end them.
)

// startServer starts a server in this process, with JetStream in a folder if one is given. The user edge has
// some permissions, or all; publisher has all.
func startServer(t testing.TB, dir string, port int) (*server.Server, *server.Options) {
	t.Helper()
	o := &server.Options{
		Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true, JetStream: dir != "", StoreDir: dir, LameDuckGracePeriod: lameGrace, LameDuckDuration: lameGrace + time.Second,
		Users: []*server.User{{Username: "edge", Password: secret}, {Username: "publisher", Password: secret}},
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s, o
}

// dialServer connects a user that may have everything.
func dialServer(t testing.TB, s *server.Server) *natsgo.Conn {
	t.Helper()
	return dialAddr(t, s.ClientURL())
}

func dialAddr(t testing.TB, addr string) *natsgo.Conn {
	t.Helper()
	nc, err := natsgo.Connect(addr, natsgo.UserInfo("publisher", secret))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// makeStream makes the stream of the topics.
func makeStream(t testing.TB, nc *natsgo.Conn, direct bool) natsgo.JetStreamContext {
	t.Helper()
	js, err := nc.JetStream()
	if err == nil {
		_, err = js.AddStream(&natsgo.StreamConfig{Name: testStream, Subjects: []string{"md.>"}, MaxMsgsPerSubject: 1, AllowDirect: direct})
	}
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// permit leaves the edge all but some subjects, and cuts nobody off.
func permit(t testing.TB, s *server.Server, o *server.Options, publish, subscribe []string) {
	t.Helper()
	with := o.Clone()
	with.Users = []*server.User{
		{Username: "edge", Password: secret, Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: publish}, Subscribe: &server.SubjectPermission{Deny: subscribe}}},
		{Username: "publisher", Password: secret},
	}
	if err := s.ReloadOptions(with); err != nil {
		t.Fatal(err)
	}
}

// What all brokers promise, with a stream and without. Newest values are read by batches where the server can.
func TestBroker(t *testing.T) {
	for name, start := range map[string]func(*testing.T, *asked) *brokertest.Rig{
		"stream": func(t *testing.T, a *asked) *brokertest.Rig { return streamRig(t, startStream(t), true, a) },
		"stream, Debian's": func(t *testing.T, a *asked) *brokertest.Rig {
			return streamRig(t, site{addr: startDebian(t).addr}, true, a)
		},
		"stream by leader": func(t *testing.T, a *asked) *brokertest.Rig { return streamRig(t, startStream(t), false, a) },
		"core":             func(t *testing.T, _ *asked) *brokertest.Rig { return coreRig(t, "") },
		"core, wildcard":   func(t *testing.T, _ *asked) *brokertest.Rig { return coreRig(t, "&wildcard=true") },
	} {
		t.Run(name, func(t *testing.T) {
			var a asked
			start := func(t *testing.T) *brokertest.Rig { return start(t, &a) }
			brokertest.Source(t, start)
			brokertest.Publisher(t, start)
			batches, singles := a.batches.Load(), a.singles.Load()
			// Of an older server batches are asked for in vain; TestBatchesUnknown has it.
			if direct := strings.HasPrefix(name, "stream") && name != "stream by leader"; direct != (batches > 0) || direct != (singles > 0) {
				t.Errorf("%d batches were asked for, and %d single values", batches, singles)
			}
		})
	}
}

// site is where a rig has its server. refuse has a subject not be published.
type site struct {
	addr   string
	refuse func(subject string) (back func())
}

func startStream(t *testing.T) site {
	s, o := startServer(t, t.TempDir(), -1)
	return site{s.Addr().String(), func(subject string) func() { return refuse(t, s, o, subject) }}
}

func streamRig(t *testing.T, s site, direct bool, a *asked) *brokertest.Rig {
	nc := dialAddr(t, s.addr)
	a.watch(t, nc)
	js := makeStream(t, nc, direct)
	g := brokertest.NewGate(t, s.addr)
	u, _ := newSubjects("md.{topic}")
	rig := &brokertest.Rig{
		Config:  Config{URL: fmt.Sprintf("nats://edge:%s@%s?subject=md.{topic}&mode=jetstream&stream=%s", secret, g.Addr(), testStream), Timeout: 5 * time.Second},
		Outage:  g.Outage,
		Blanket: true,
		Newest:  true, // MaxMsgsPerSubject is 1.
		Write: func(topic, value string) {
			if _, err := js.Publish(u.of(topic), []byte(value)); err != nil {
				t.Error(err)
			}
		},
		Stored: func(topic string) string {
			m, err := js.GetLastMsg(testStream, u.of(topic))
			if err != nil {
				if err != natsgo.ErrMsgNotFound {
					t.Error(err)
				}
				return ""
			}
			return string(m.Data)
		},
		Without: map[string]string{"forbidden": "the stream is permitted as a whole; what is forbidden of its values is in TestForbiddenValue"},
	}
	if s.refuse == nil {
		rig.Without["refused"] = "the server reads its permissions anew upon a signal, and does not say when it has; other rigs have it"
	} else {
		rig.Refuse = func() func() { return s.refuse("md.A") }
	}
	return rig
}

// refuse has a subject not be published.
func refuse(t *testing.T, s *server.Server, o *server.Options, subject string) (back func()) {
	permit(t, s, o, []string{subject}, nil)
	return func() { permit(t, s, o, nil, nil) }
}

func coreRig(t *testing.T, options string) *brokertest.Rig {
	s, o := startServer(t, "", -1)
	g := brokertest.NewGate(t, s.Addr().String())
	rig := &brokertest.Rig{
		Config:  Config{URL: fmt.Sprintf("nats://edge:%s@%s?mode=core&subject=md.{topic}%s", secret, g.Addr(), options), Timeout: 5 * time.Second},
		Outage:  g.Outage,
		Refuse:  func() func() { return refuse(t, s, o, "md.A") },
		Blanket: options != "",
		Without: make(map[string]string),
	}
	nc := dialServer(t, s)
	u, _ := newSubjects("md.{topic}")
	rig.Write = func(topic, value string) {
		if err := nc.Publish(u.of(topic), []byte(value)); err != nil {
			t.Error(err)
		}
		if err := nc.FlushTimeout(patience); err != nil {
			t.Error(err)
		}
	}
	rig.Without["forbidden"] = "nobody holds values without a stream; TestForbiddenTopic has it"
	for _, name := range []string{"snapshot", "heard is stored", "many topics", "outage", "wanted during an outage", "wanted again",
		"fates", "two publishers", "any sequence of two publishers", "without versions", "tombstones", "one topic in a batch", "many topics in a batch",
		"sees no older value", "retries"} {
		rig.Without[name] = "nobody holds values without a stream"
	}
	return rig
}

var _ broker.Publisher = (*publisher)(nil)

func newLogger(t testing.TB) *slog.Logger {
	log, _ := logtest.New(t)
	return log
}
