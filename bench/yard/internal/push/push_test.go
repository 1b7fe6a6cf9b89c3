// SPDX-License-Identifier: Apache-2.0

package push

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fakeSocket is a client that says what it is told to and notes what it gets.
type fakeSocket struct {
	says  chan string
	got   chan string
	ended chan struct{}
	over  atomic.Bool
}

func (s *fakeSocket) Read() ([]byte, error) {
	select {
	case text := <-s.says:
		return []byte(text), nil
	case <-s.ended:
		return nil, io.EOF
	}
}

func (s *fakeSocket) Write(text []byte, _ time.Duration) error {
	s.got <- string(text)
	return nil
}

func (s *fakeSocket) Close() {
	if s.over.CompareAndSwap(false, true) {
		close(s.ended)
	}
}

func (s *fakeSocket) next(t *testing.T) string {
	t.Helper()
	select {
	case text := <-s.got:
		return text
	case <-time.After(time.Minute): // Of the bubble's time.
		t.Fatal("nothing came")
		return ""
	}
}

// serve runs f with a server and a client of it that has got its hello, with a queue
// and without.
func serve(t *testing.T, f func(*testing.T, *Server, *fakeSocket)) {
	for _, queue := range []int{256, 0} {
		t.Run(fmt.Sprintf("queue %d", queue), func(t *testing.T) { serveOne(t, queue, f) })
	}
}

func serveOne(t *testing.T, queue int, f func(*testing.T, *Server, *fakeSocket)) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{router: newRouter(), window: 500 * time.Millisecond, queue: queue, hello: []byte("hello")}
		socket := &fakeSocket{says: make(chan string), got: make(chan string, 10), ended: make(chan struct{})}
		s.Serve(socket)
		if got := socket.next(t); got != "hello" {
			t.Errorf("first message %s", got)
		}
		f(t, s, socket)
		socket.Close()
		synctest.Wait()
		for name, topic := range s.router.topics {
			if len(topic.clients) > 0 {
				t.Errorf("%s still has a client", name)
			}
		}
	})
}

func TestClientConflates(t *testing.T) {
	serve(t, func(t *testing.T, s *Server, socket *fakeSocket) {
		s.router.route("A", []byte(`{"p":1}`))
		socket.says <- `{"op":"subscribe","topics":["A","B"],"id":"x"}`
		for _, want := range []string{
			`{"t":"ack","id":"x","op":"subscribe","topics":2}`,
			`,"d":[{"s":"A","n":1,"v":{"p":1}}]}`,
		} {
			if got := socket.next(t); !strings.HasSuffix(got, want) {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		for i := range 100 {
			s.router.route("B", fmt.Appendf(nil, `{"p":%d}`, i))
			s.router.route("C", []byte(`{}`))
			synctest.Wait()
		}
		if got := socket.next(t); !strings.HasSuffix(got, `,"d":[{"s":"B","n":100,"v":{"p":99}}]}`) || !strings.HasPrefix(got, `{"t":"update"`) {
			t.Errorf("update %s", got)
		}
		socket.says <- `{"op":"unsubscribe","topics":["B"]}`
		if got := socket.next(t); got != `{"t":"ack","op":"unsubscribe","topics":1}` {
			t.Errorf("ack %s", got)
		}
		s.router.route("B", []byte(`{}`))
		time.Sleep(5 * time.Second) // Windows in which nothing changes.
		if len(socket.got) > 0 {
			t.Errorf("unasked for: %s", <-socket.got)
		}
	})
}

func TestBadCommands(t *testing.T) {
	serve(t, func(t *testing.T, _ *Server, socket *fakeSocket) {
		for cmd, want := range map[string]string{
			`{"op":"dance","id":7}`:               `{"t":"error","id":7,"code":400,"reason":"unknown op \"dance\""}`,
			`{"op":`:                              `{"t":"error","code":400,"reason":"malformed: unexpected end of JSON input"}`,
			`{"op":"subscribe","topics":["",""]}`: `{"t":"ack","op":"subscribe","topics":0,"rejected":[`,
		} {
			socket.says <- cmd
			if got := socket.next(t); !strings.HasPrefix(got, want) {
				t.Errorf("%s: got %s, want %s", cmd, got, want)
			}
		}
		names, _ := json.Marshal(strings.Split(strings.TrimSuffix(strings.Repeat("T%,", topicsMax+1), ","), ","))
		cmd := `{"op":"subscribe","topics":` + string(names) + `}`
		for i := range topicsMax + 1 {
			cmd = strings.Replace(cmd, "%", fmt.Sprint(i), 1)
		}
		socket.says <- cmd
		if got := socket.next(t); !strings.Contains(got, fmt.Sprintf(`"topics":%d,"rejected":[{"topic":"T256","code":413,`, topicsMax)) {
			t.Errorf("one topic too many: %s", got)
		}
	})
}

// A full queue loses its oldest tick, not the newest, and nobody waits.
func TestOfferDropsTheOldest(t *testing.T) {
	const queue = 256
	var dropped atomic.Uint64
	c := &client{ticks: make(chan *tick, queue), dropped: &dropped}
	for n := range uint64(queue + 10) {
		c.offer(&tick{n: n})
	}
	if first := <-c.ticks; first.n != 10 || dropped.Load() != 10 {
		t.Errorf("the first is %d, %d dropped, want 10 and 10", first.n, dropped.Load())
	}
}
