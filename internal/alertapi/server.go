// SPDX-License-Identifier: Apache-2.0

package alertapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

// Server is REST in front of a [Service]. It is an [http.Handler]; Serve has the limits of connections too.
type Server struct {
	*Service
	readTime time.Duration // For a head, or a whole request.

	mu     sync.Mutex
	counts map[int]uint64
}

// New returns a server with a service of its own. The error says what the configuration lacks.
func New(c Config) (*Server, error) {
	s, err := NewService(c)
	if err != nil {
		return nil, err
	}
	return &Server{Service: s, readTime: readTime, counts: make(map[int]uint64)}, nil
}

// Times and sizes of a connection.
const (
	readTime   = 5 * time.Second
	answerTime = 30 * time.Second
	idleTime   = time.Minute
	headMax    = 16 << 10
	endTime    = 5 * time.Second
)

// Serve answers at a listener until ctx ends, and then finishes what was asked. The error is nil at the end of ctx.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	h := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.readTime,
		ReadTimeout:       s.readTime,
		WriteTimeout:      answerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headMax,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
		defer cancel()
		if h.Shutdown(last) != nil {
			_ = h.Close()
		}
	})
	err := h.Serve(netutil.LimitListener(ln, s.cfg.Conns))
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) && ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("alertapi: %w", err)
}

// Counts is how many requests were answered, by status.
func (s *Server) Counts() map[int]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.counts)
}

func (s *Server) counted(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[status]++
}
