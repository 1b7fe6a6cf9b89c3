// SPDX-License-Identifier: Apache-2.0

package tickedge

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// wire passes connections on to an edge, and shows what it says: its frames are not masked.
type wire struct {
	net.Listener
	to string

	mu   sync.Mutex
	ends []net.Conn
	said [][]byte // By connection.
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l, to: to}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() { w.pass(client) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.cut()
		group.Wait()
	})
	return w
}

func (w *wire) pass(client net.Conn) {
	defer client.Close()
	edge, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer edge.Close()
	w.mu.Lock()
	number := len(w.said)
	w.ends, w.said = append(w.ends, client), append(w.said, nil)
	w.mu.Unlock()
	var group sync.WaitGroup
	group.Go(func() {
		_, _ = io.Copy(edge, client) // Whatever ended it ends the other way too.
		edge.Close()
	})
	b := make([]byte, 64<<10)
	for {
		n, err := edge.Read(b)
		w.mu.Lock()
		w.said[number] = append(w.said[number], b[:n]...)
		w.mu.Unlock()
		if _, failed := client.Write(b[:n]); err != nil || failed != nil {
			client.Close()
			group.Wait()
			return
		}
	}
}

// cut ends all connections without a word.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, end := range w.ends {
		end.Close()
	}
}

// count is how often a text was said on a connection.
func (w *wire) count(number int, text string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if number >= len(w.said) {
		return 0
	}
	return bytes.Count(w.said[number], []byte(text))
}

// A connection that was cut is resumed: of a hundred topics come those that have ticked since, and all are live.
func TestResumeAtAnEdge(t *testing.T) {
	leaks(t)
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("SYM%04d", i))
	}
	e := startEdge(t, "127.0.0.1:0", "-demo-symbols", strings.Join(names, ","), "-demo-rate", "20", "-interval", "100ms")
	w := newWire(t, e.addr)
	sub := subscribe(t, quick(t, "ws://"+w.Addr().String(), Options{}), names...)
	everyone(t, sub, "values", live, names...)
	if rows := w.count(0, `"s":"SYM`); rows < len(names) {
		t.Fatalf("%d rows of %d topics", rows, len(names))
	}
	tokens := func() int { return w.count(0, `{"t":"resume","token":"`) - w.count(0, `{"t":"resume","token":"-"`) }
	for deadline := time.Now().Add(patience); tokens() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no token comes")
		}
	}
	next(t, sub, "another value", func(u Update) bool { return live(u) && u.New }) // The token was taken in by then.
	w.cut()
	everyone(t, sub, "reconnecting", func(u Update) bool { return u.State == Reconnecting }, names...)
	for topic, u := range everyone(t, sub, "live again", live, names...) {
		if u.Topic != topic {
			t.Errorf("%s: %+v", topic, u)
		}
	}
	if w.count(1, `"resumed":true`) == 0 || w.count(1, `"resumed":false`) > 0 {
		t.Error("it was not resumed")
	}
	if rows := w.count(1, `"s":"SYM`); rows >= len(names) {
		t.Errorf("%d rows came of %d topics that were there", rows, len(names))
	}
}
