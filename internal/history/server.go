// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/bars"
	"tickedge/internal/guard"
	"tickedge/internal/trade"
	"tickedge/internal/web"
)

// Path begins the paths of history: a symbol follows.
const Path = "/history/"

// ServerConfig says what a [Server] answers with, and to whom.
type ServerConfig struct {
	Store Store
	Live  Live // Nil if no bars are made here.
	// Waiting is [Writer.Waiting] of the writer that Live gives closed bars to; nil if there is none.
	Waiting func(symbol, interval string) []bars.Bar
	// Symbol returns a symbol of the table, nil for one that is not there: then what the store has is answered with.
	Symbol    func(name string) *trade.Symbol
	Intervals []*bars.Interval

	Verifier *auth.Verifier // Nil: no token is wanted.
	Private  *auth.Private
	Origins  *auth.Origins
	Trusted  guard.Trusted // Proxies whose X-Forwarded-For is believed.

	Rate     guard.Rate    // Requests of an address; zero is DefaultRate.
	Requests int           // That are answered at a time: 64, unless something else is set. An address has a quarter.
	Conns    int           // Connections that Serve accepts at a time: 1,000, unless something else is set. An address has a quarter.
	Time     time.Duration // For an answer to be found: 5 s, unless something else is set.
	Packed   int           // Bytes of packed bars that are kept for pages to come: 32 MiB, unless something else is set.
	Log      *slog.Logger
}

// DefaultRate is how many requests an address may make.
var DefaultRate = guard.Rate{PerSecond: 50, Burst: 200}

// Server answers GET /history/{symbol}. It is an [http.Handler]; Serve has the limits of connections too.
type Server struct {
	cfg       ServerConfig
	intervals string
	rate      *guard.PrefixLimit
	wrong     *guard.PrefixLimit
	slots     chan struct{}
	blocks    *blocks

	mu     sync.Mutex
	counts map[int]uint64
	busy   map[guard.Prefix]int // How many requests of an address are answered now.
}

// NewServer returns a server. The error says what the configuration lacks.
func NewServer(c ServerConfig) (*Server, error) {
	switch {
	case c.Store == nil || c.Symbol == nil || c.Origins == nil || c.Log == nil:
		return nil, errors.New("history: the server lacks a store, symbols, origins or a log")
	case len(c.Intervals) == 0:
		return nil, errors.New("history: the server has no intervals")
	case !c.Rate.Valid():
		return nil, fmt.Errorf("history: the rate of requests is %+v, want two numbers from 1 to %d", c.Rate, guard.RateMax)
	}
	if c.Rate == (guard.Rate{}) {
		c.Rate = DefaultRate
	}
	c.Requests, c.Conns, c.Time = cmp.Or(c.Requests, 64), cmp.Or(c.Conns, 1000), cmp.Or(c.Time, 5*time.Second)
	s := &Server{cfg: c, slots: make(chan struct{}, c.Requests), counts: make(map[int]uint64), busy: make(map[guard.Prefix]int)}
	s.blocks = newBlocks(c.Packed)
	s.rate, s.wrong = guard.NewPrefixLimit(c.Rate, time.Now()), guard.NewPrefixLimit(auth.WrongTokens, time.Now())
	var names []string
	for _, tf := range c.Intervals {
		names = append(names, tf.Name)
	}
	s.intervals = strings.Join(names, ", ")
	return s, nil
}

// Serve answers at a listener until ctx ends, and then finishes what was asked. The error is nil at the end of ctx.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	err := web.Port{Handler: s, Conns: s.cfg.Conns, Trusted: s.cfg.Trusted, Log: s.cfg.Log}.Serve(ctx, ln)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	return nil
}

// enter takes one of the slots for an address, until leave. Who reads slowly has one for as long, so an address has a quarter of
// them at most.
func (s *Server) enter(client guard.Prefix) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[client] >= max(cap(s.slots)/4, 1) {
		return false
	}
	select {
	case s.slots <- struct{}{}:
		s.busy[client]++
		return true
	default:
		return false
	}
}

func (s *Server) leave(client guard.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	<-s.slots
	if s.busy[client]--; s.busy[client] == 0 {
		delete(s.busy, client)
	}
}

// Answers is how many requests were answered, by status.
func (s *Server) Answers() map[int]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

func (s *Server) counted(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[status]++
}
