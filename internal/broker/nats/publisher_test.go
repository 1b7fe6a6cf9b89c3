// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
	"tickedge/internal/logtest"
)

// newPublisherOf returns a publisher that ends with the test.
func newPublisherOf(t *testing.T, url string) (broker.Publisher, *logtest.Log) {
	t.Helper()
	logger, log := logtest.New(t)
	p, err := Config{URL: url}.Publisher(t.Context(), logger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, log
}

// ofSize is a value of so many bytes.
func ofSize(n int) []byte { return []byte(`"` + strings.Repeat("x", n-2) + `"`) }

// fates publishes ticks, and returns what became of them.
func fates(t *testing.T, p broker.Publisher, ticks ...broker.Tick) (fates []broker.Fate) {
	t.Helper()
	done := make(chan bool, 1)
	go func() { done <- p.Publish(t.Context(), ticks) }()
	select {
	case ok := <-done:
		if !ok {
			t.Fatal("ticks were not published")
		}
	case <-time.After(patience):
		t.Fatal("the publisher hangs")
	}
	for _, t := range ticks {
		fates = append(fates, t.Fate)
	}
	return fates
}

// A value that is longer than the server or the stream takes is refused, and the rest of its batch goes on.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	s, o := startServer(t, t.TempDir(), -1)
	js := makeStream(t, dialServer(t, s), true)
	address := s.Addr().String()
	inStream, log := newPublisherOf(t, fmt.Sprintf("nats://edge:%s@%s?subject=md.{topic}&stream=%s", secret, address, testStream))
	inCore, _ := newPublisherOf(t, coreURL(address, secret))
	batch := func(p broker.Publisher, want broker.Fate) {
		t.Helper()
		object := []byte(`{"x":` + string(ofSize(1000)) + `}`)
		ver := time.Now().UnixMicro()
		got := fates(t, p, broker.Tick{Topic: "A", Value: []byte("1")}, broker.Tick{Topic: "B", Value: ofSize(1000)},
			broker.Tick{Topic: "C", Value: object, Ver: ver}, broker.Tick{Topic: "D", Value: []byte(`{"p":1}`), Ver: ver})
		if !slices.Equal(got, []broker.Fate{broker.Taken, want, want, broker.Taken}) || !p.Connected() {
			t.Errorf("the fates are %v, connected is %v", got, p.Connected())
		}
	}
	batch(inStream, broker.Taken)
	batch(inCore, broker.Taken)
	if _, err := js.UpdateStream(&natsgo.StreamConfig{Name: testStream, Subjects: []string{"md.>"}, MaxMsgsPerSubject: 1, AllowDirect: true, MaxMsgSize: 500}); err != nil {
		t.Fatal(err)
	}
	batch(inStream, broker.TooLarge)
	less := o.Clone()
	less.MaxPayload = 500
	if err := s.ReloadOptions(less); err != nil {
		t.Fatal(err)
	}
	// A connection that knows the former limit is ended by the server; then the new one is known.
	batch(inStream, broker.TooLarge)
	batch(inCore, broker.TooLarge)
	if log.Count("ticks are refused") != 1 || log.Count("max_payload") == 0 {
		t.Error("the log does not say once what to do")
	}
}

// A topic whose subject the stream does not have is refused until it has it.
func TestSubjectOfNoStream(t *testing.T) {
	t.Parallel()
	s, _ := startServer(t, t.TempDir(), -1)
	js, err := dialServer(t, s).JetStream()
	if err != nil {
		t.Fatal(err)
	}
	config := &natsgo.StreamConfig{Name: testStream, Subjects: []string{"md.fx.>"}, MaxMsgsPerSubject: 1}
	if _, err = js.AddStream(config); err != nil {
		t.Fatal(err)
	}
	p, log := newPublisherOf(t, fmt.Sprintf("nats://edge:%s@%s?subject=md.{topic}&stream=%s", secret, s.Addr(), testStream))
	batch := func() []broker.Fate {
		t.Helper()
		ver := time.Now().UnixMicro()
		return fates(t, p, broker.Tick{Topic: "fx:1", Value: []byte(`{"p":1}`), Ver: ver}, broker.Tick{Topic: "X", Value: []byte(`{"p":1}`), Ver: ver},
			broker.Tick{Topic: "Y", Value: []byte("1")}, broker.Tick{Topic: "fx:2", Value: []byte("1")})
	}
	for range 2 {
		if got := batch(); !slices.Equal(got, []broker.Fate{broker.Taken, broker.Unserved, broker.Unserved, broker.Taken}) {
			t.Errorf("the fates are %v", got)
		}
	}
	if log.Count("ticks are refused") != 1 || log.Count("add the subjects of the topics to the stream") != 1 || log.Count("publisher down") != 0 {
		t.Error("the log does not say once what to do")
	}
	config.Subjects = append(config.Subjects, "md.X")
	if _, err := js.UpdateStream(config); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); batch()[1] != broker.Taken; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is refused still")
		}
	}
}

// Who asks a publisher is not told what it may not publish.
func TestForbiddenIsNotAnswered(t *testing.T) {
	t.Parallel()
	s, o := startServer(t, "", -1)
	permit(t, s, o, []string{"A"}, nil)
	p, log := newPublisherOf(t, coreURL(s.Addr().String(), secret))
	if got := fates(t, p, broker.Tick{Topic: "A", Value: []byte("1")}, broker.Tick{Topic: "B", Value: []byte("2")}); !slices.Equal(got, []broker.Fate{broker.Forbidden, broker.Taken}) {
		t.Errorf("the fates are %v", got)
	}
	if got := p.(*publisher).responder.answer(question{Subjects: []string{"A", "B"}}).Values; len(got) != 1 || got[0].Subject != "B" {
		t.Errorf("it answers %v", got)
	}
	if log.Count("permit the subjects that docs/FEED.md lists") != 1 || log.Count(secret) != 0 {
		t.Error("the log does not say once what to do, or has the password")
	}
}
