// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	pricesv1 "tickedge/gen/tickedge/prices/v1"
)

// The long form of TestStreamsLeaveNothing is: go test ./internal/rpc -run LeaveNothing -v -streams 5000 -idle 1m
var (
	manyStreams = flag.Int("streams", 500, "streams of TestStreamsLeaveNothing")
	idleTime    = flag.Duration("idle", 0, "how long nothing may come back after TestStreamsLeaveNothing; with it some clients vanish without a word")
)

// silent is a connection of a client that can vanish: what it sends is lost, and nothing comes any more.
type silent struct {
	net.Conn
	gone atomic.Bool
	over chan struct{} // Closed with the connection.
	once sync.Once
}

func (s *silent) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if s.gone.Load() {
		<-s.over
		return 0, net.ErrClosed
	}
	return n, err
}

func (s *silent) Write(p []byte) (int, error) {
	if s.gone.Load() {
		return len(p), nil
	}
	return s.Conn.Write(p)
}

func (s *silent) Close() error {
	s.once.Do(func() { close(s.over) })
	return s.Conn.Close()
}

// ways are how the connections of a test end, one after the other.
var ways = []string{"reset", "closed", "streams cancelled", "abandoned"}

// descriptors is how many files this process has open; 0 where that is not known.
func descriptors() int {
	open, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	return len(open)
}

// However streams end, nothing is left of them: no goroutine, no descriptor, no subscription, no place in a limit.
func TestStreamsLeaveNothing(t *testing.T) {
	const perConn = 50
	ways := ways
	if *idleTime == 0 {
		ways = ways[:3] // The server takes seconds to find the last.
	}
	w := start(t, func(cfg *Config, _ *share) {
		if *idleTime > 0 {
			cfg.Limits.PingInterval, cfg.Limits.PongTimeout = time.Second, 20*time.Second
		}
	})
	goroutines, files := runtime.NumGoroutine(), descriptors()
	conns := make(chan *silent, *manyStreams)
	dial := grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		s := &silent{Conn: c, over: make(chan struct{})}
		conns <- s
		return s, nil
	})
	var streams []*client
	var clients []*grpc.ClientConn
	for i := range *manyStreams {
		if i%perConn == 0 {
			clients = append(clients, w.dialConn(dial))
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*waitMax) // The server knows it, and it is to end no stream here.
		t.Cleanup(cancel)
		s, err := pricesv1.NewPricesClient(clients[len(clients)-1]).Stream(ctx)
		must(t, err)
		streams = append(streams, &client{t, s, cancel})
	}
	var all sync.WaitGroup
	for i, c := range streams {
		all.Go(func() {
			c.subscribe(1, fmt.Sprint("T", i%100), fmt.Sprint("U", i))
			for range 2 { // Hello and ack.
				if _, err := c.Recv(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := w.Stats(); n.Streams != int64(*manyStreams) || w.table.Subscriptions() != 2*int64(*manyStreams) {
		t.Errorf("%+v and %d subscriptions", n, w.table.Subscriptions())
	}
	t.Logf("%d streams of %d connections: %d goroutines, %d descriptors", len(streams), len(clients), runtime.NumGoroutine(), descriptors())
	var held []*silent
	for i, c := range clients {
		conn := <-conns
		held = append(held, conn)
		switch ways[i%len(ways)] {
		case "reset":
			_ = conn.Conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		case "closed":
			_ = c.Close()
		case "abandoned":
			conn.gone.Store(true)
		}
	}
	for i, c := range streams {
		if ways[i/perConn%len(ways)] == "streams cancelled" {
			c.cancel()
		}
	}
	w.until(func() bool { return w.counts.streams.Load() == 0 }, "the end of the streams")
	t.Logf("all have ended: %v", w.Stats().Ended)
	for _, c := range clients {
		_ = c.Close()
	}
	for _, c := range held {
		_ = c.Close()
	}
	for _, c := range streams {
		c.cancel()
	}
	w.baseline(goroutines)
	w.until(func() bool { return descriptors() <= files }, "the end of all descriptors")
	w.staysIdle(goroutines, files)
}

// staysIdle checks that nothing comes back for as long as the flag says.
func (w *world) staysIdle(goroutines, files int) {
	w.t.Helper()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for end := time.Now().Add(*idleTime); time.Now().Before(end); <-look.C {
		if g, f, n := runtime.NumGoroutine(), descriptors(), w.table.Subscriptions(); g > goroutines || f > files || n != 0 {
			w.t.Fatalf("%d goroutines, %d descriptors and %d subscriptions, want at most %d, %d and 0", g, f, n, goroutines, files)
		}
	}
	w.t.Logf("for %v: %d goroutines of %d, %d descriptors of %d, no subscription", *idleTime, runtime.NumGoroutine(), goroutines, descriptors(), files)
}
