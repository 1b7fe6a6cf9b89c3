// SPDX-License-Identifier: Apache-2.0

package alertapi

import (
	"context"
	"fmt"
	"maps"
	"net"
	"sync"
	"time"

	"tickedge/internal/web"
)

// Server is REST in front of a [Service]. It is an [http.Handler]; Serve has the limits of connections too.
type Server struct {
	*Service
	readTime time.Duration // That of package web, unless a test sets something else.

	mu     sync.Mutex
	counts map[int]uint64
}

// New returns a server with a service of its own. The error says what the configuration lacks.
func New(c Config) (*Server, error) {
	s, err := NewService(c)
	if err != nil {
		return nil, err
	}
	return &Server{Service: s, counts: make(map[int]uint64)}, nil
}

// Serve answers at a listener until ctx ends, and then finishes what was asked. The error is nil at the end of ctx.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	err := web.Port{Handler: s, Conns: s.cfg.Conns, Trusted: s.cfg.Trusted, ReadTime: s.readTime, Log: s.cfg.Log}.Serve(ctx, ln)
	if err != nil {
		return fmt.Errorf("alertapi: %w", err)
	}
	return nil
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
