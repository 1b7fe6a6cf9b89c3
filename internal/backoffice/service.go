// SPDX-License-Identifier: Apache-2.0

package backoffice

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/guard"
)

// Service does what is asked for, whatever protocol it came by. All doors in front of it have its limits together. Its methods may
// be called from any goroutine.
type Service struct {
	edge   Edge
	access atomic.Pointer[access]
	first  *access // Of those.
	log    *slog.Logger
	clock  broker.Clock
	wait   time.Duration // See waitTime.
	slots  chan struct{}

	wrong    *guard.PrefixLimit // Wrong keys of an address.
	wrongAll *guard.PrefixLimit // Those of all.
	texts    *guard.PrefixLimit // Announcements.

	mu     sync.Mutex
	counts map[Count]uint64
	ending context.Context // Ends with the port: streams have to.
	end    context.CancelFunc
}

// Count is what requests are counted by. There are as many as routes, times the codes that these answer with.
type Count struct {
	Route string // As in the table of routes, or "other"; of gRPC, the method.
	Code  int    // The status of HTTP, also of gRPC.
}

func newService(first *access, log *slog.Logger) *Service {
	now := time.Now()
	s := &Service{
		first: first, log: log, wait: waitTime, slots: make(chan struct{}, requestsMost), counts: make(map[Count]uint64),
		wrong: guard.NewPrefixLimit(wrongRate, now), wrongAll: guard.NewPrefixLimit(wrongRateAll, now),
		texts: guard.NewPrefixLimit(textRate, now),
	}
	s.access.Store(first)
	s.ending, s.end = context.WithCancel(context.Background())
	return s
}

// Requests is how many requests were answered.
func (s *Service) Requests() map[Count]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[Count]uint64, len(s.counts))
	for c, n := range s.counts {
		all[c] = n
	}
	return all
}

// Fault is why something is not done.
type Fault struct {
	Status int    // Of HTTP.
	Detail string // For people.
	Retry  bool   // It may be done in a second.

	challenge string // What goes with 401.
}

func (f *Fault) Error() string { return f.Detail }

// Request is one request: bounded, of somebody who may, counted, and with a line in the audit.
type Request struct {
	service           *Service
	route, what, from string
	begin             time.Time
	who               string // Empty until he is known.
	holds             bool   // One of the slots.
	audit             []any
}

// Begin returns a request. What is asked is for the audit. [Request.End] must be called.
func (s *Service) Begin(route, what, from string) *Request {
	return &Request{service: s, route: route, what: what, from: from, begin: time.Now()}
}

// Enter gives the request one of the slots, if there is one.
func (q *Request) Enter() *Fault {
	select {
	case q.service.slots <- struct{}{}:
		q.holds = true
		return nil
	default:
		return &Fault{Status: 503, Detail: "as many requests are answered as may be at a time", Retry: true}
	}
}

// Note adds to what the audit says: names and numbers, never values.
func (q *Request) Note(attrs ...any) { q.audit = append(q.audit, attrs...) }

// NoteResults adds how many values had which result.
func (q *Request) NoteResults(counts map[string]int) {
	for _, of := range []string{taken, outdated, superseded, invalid, waiting, refused, denied} {
		if n := counts[of]; n > 0 {
			q.Note(of, n)
		}
	}
}

// End counts the request by its answer.
func (q *Request) End(code int) {
	s := q.service
	if q.holds {
		<-s.slots
	}
	s.mu.Lock()
	s.counts[Count{q.route, code}]++
	s.mu.Unlock()
	if q.who != "" {
		s.log.Info("audit", append([]any{"who", q.who, "from", q.from, "what", q.what,
			"code", code, "took", time.Since(q.begin).Round(time.Microsecond)}, q.audit...)...)
	}
}
