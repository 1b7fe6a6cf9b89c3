// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"strings"
	"testing"
	"time"
)

// stream makes an open conn with a framing, and topics, and returns what it is sent.
func (w *world) stream(f Framing, names ...string) (id ConnID, sent func() string) {
	var all strings.Builder
	id = w.shard.Add()
	w.sink.peer(id).reset()
	w.sink.onFrames = func(to ConnID, frames []byte) {
		if to == id {
			all.Write(frames)
		}
	}
	w.sink.deliver(id, w.shard.Open(id, f, uint32(id), 0, nil))
	w.subscribe(id, names...)
	return id, func() string {
		defer all.Reset()
		return all.String()
	}
}

// A message is the same in every framing.
func TestEvents(t *testing.T) {
	for f, end := range map[Framing]func(kind string) string{
		Events:      func(kind string) string { return "\nevent: " + kind + "\n\n" },
		PlainEvents: func(string) string { return "\n\n" },
	} {
		w := newWorld(t, testConfig(), 10, 0)
		w.hold("A")
		w.publish("A", 1)
		_, sent := w.stream(f, "A", "B")
		got := sent()
		for _, want := range []string{
			`data: {"t":"hello","v":1,"conn":"00000000","interval":500,"heartbeat":20000,"max_topics":256}` + end("hello"),
			`data: {"t":"ack","op":"subscribe","topics":2}` + end("ack"),
			`"d":[{"s":"A","n":1,"v":1}]}` + end("snapshot"),
		} {
			if !strings.Contains(got, want) {
				t.Errorf("%d: %q is missing in %q", f, want, got)
			}
		}
		w.publish("B", 7)
		w.advance(500 * time.Millisecond)
		if got := sent(); !strings.HasPrefix(got, `data: {"t":"update","ts":`) || !strings.HasSuffix(got, `"d":[{"s":"B","n":1,"v":7}]}`+end("update")) {
			t.Errorf("%d: %q", f, got)
		}
		w.advance(500 * time.Millisecond)
		if got := sent(); got != "" {
			t.Errorf("%d: nothing has happened, and it is sent %q", f, got)
		}
	}
}

// A client of a stream answers no ping. It is alive while its kernel acknowledges, and dead else.
func TestStreamsAreAliveByAcknowledgement(t *testing.T) {
	cfg := testConfig()
	w := newWorld(t, cfg, 10, 0)
	id, sent := w.stream(Events, "A")
	w.sink.peer(id).acks = true
	sent()
	w.advance(5 * cfg.PingInterval)
	if n := w.sink.evicted[NoPong]; n > 0 {
		t.Fatalf("it was evicted for want of a pong")
	}
	got := sent()
	if n := strings.Count(got, ":\n\n"); n < 3 || n > 7 {
		t.Errorf("%d comments in five intervals: %q", n, got)
	}
	if strings.Count(got, "event: heartbeat\n\n") < 3 {
		t.Errorf("no heartbeats: %q", got)
	}
	w.sink.peer(id).acks = false
	w.advance(2*cfg.PingInterval + cfg.PongTimeout)
	if n := w.sink.evicted[NoPong]; n != 1 {
		t.Errorf("it was evicted %d times", n)
	}
}

// A client of a WebSocket is not alive because its kernel is.
func TestPongsAreNotAcknowledgements(t *testing.T) {
	cfg := testConfig()
	w := newWorld(t, cfg, 10, 0)
	id := w.connect(0)
	w.subscribe(id, "A")
	w.sink.peer(id).acks = true
	w.advance(2*cfg.PingInterval + cfg.PongTimeout)
	if n := w.sink.evicted[NoPong]; n != 1 {
		t.Errorf("it was evicted %d times", n)
	}
}

// The last word has the advice in a form that EventSource follows.
func TestByeOfAStream(t *testing.T) {
	w := newWorld(t, testConfig(), 10, 0)
	id, _ := w.stream(Events, "A")
	want := "data: {\"t\":\"bye\",\"code\":1012,\"reason\":\"draining\",\"retry_ms\":700}\nevent: bye\n\nretry: 1700\n\n"
	if got := string(w.shard.Bye(id, Drain, 700, nil)); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := string(w.shard.Bye(id, TokenExpired, 0, nil)); strings.Contains(got, "retry") {
		t.Errorf("%q", got)
	}
}
