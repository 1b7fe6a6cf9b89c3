// SPDX-License-Identifier: Apache-2.0

package push

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"tickedge/bench/yard/bare"
)

// Server is what clients have in common.
type Server struct {
	router  *router
	window  time.Duration
	queue   int // Of each client, in ticks; 0 for none.
	hello   []byte
	dropped atomic.Uint64 // Ticks that found a queue full.
}

// Accept answers a handshake. If it fails it has answered with an error.
type Accept func(w http.ResponseWriter, r *http.Request) (Socket, error)

// MessageMax bounds what a client may send at once.
const MessageMax = messageMax

// Main is the whole program. It ends with a signal.
func Main(name string, accept Accept) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, name, accept); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, name string, accept Accept) error {
	var (
		addr     = flag.String("listen", "127.0.0.1:8080", "`host:port` to listen on")
		window   = flag.Duration("interval", 500*time.Millisecond, "time between two frames of a conn")
		queue    = flag.Int("queue", 256, "ticks that a client's queue holds; with 0 the router writes into its newest rows itself")
		url      = flag.String("redis", "", "`URL` of a Redis to take ticks from; without it they are made up")
		prefix   = flag.String("redis-channel", "channel:prices:", "what the channels begin with, before the topic")
		rate     = flag.Float64("rate", 20000, "made-up ticks per second, of all topics together")
		universe = flag.Int("universe", 1000, "made-up topics")
		pattern  = flag.String("topic-name", "SYM%04d", "`pattern` of their names, filled with numbers from 0")
	)
	flag.Parse()
	names, err := bare.Names(*pattern, *universe)
	if err != nil {
		return err
	}
	if *window <= 0 || !(*rate > 0) || *queue < 0 {
		return fmt.Errorf("-interval and -rate have to be above 0, -queue at least 0")
	}
	hello, err := json.Marshal(helloMessage{
		T: "hello", V: 1, Conn: "00000000", Interval: window.Milliseconds(), MaxTopics: topicsMax,
	})
	if err != nil {
		return err
	}
	s := &Server{router: newRouter(), window: *window, queue: *queue, hello: hello}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return fmt.Errorf("-listen %s: %w", *addr, err)
	}
	if *url == "" {
		go fromMarket(names, *rate, s.router)
	} else if err := fromRedis(ctx, *url, *prefix, s.router); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		if socket, err := accept(w, r); err == nil {
			s.Serve(socket)
		}
	})
	ended := make(chan error, 1)
	go func() {
		server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
		ended <- server.Serve(listener)
	}()
	fmt.Fprintf(os.Stderr, "%s: listening on %s\n", name, *addr)
	select {
	case <-ctx.Done():
		if n := s.dropped.Load(); n > 0 {
			fmt.Fprintf(os.Stderr, "%s: %d ticks found the queue of a client full\n", name, n)
		}
		return nil
	case err := <-ended:
		return err
	}
}
