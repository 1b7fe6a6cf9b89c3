// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/panics"
	"tickedge/internal/topics"
)

const (
	// roomMax bounds the topics that wait to be subscribed and read, or are under way.
	roomMax = 2000
	// retriesMax bounds the topics in a second that are asked for again because they were refused.
	retriesMax = 500
	// retriesFull is the same while the server has no room for more subscriptions: a few find out whether it has.
	retriesFull = 16
	// failsMax is how often a topic may fail without a word why before its clients are told.
	failsMax = 4
	// levels is how many times the wait of a refused topic doubles: 1 s, 2, 4, and each 8 s.
	levels = 4
	// tellRefused is the time between two log lines about topics that are refused.
	tellRefused = 10 * time.Second
)

// source is a source of NATS in any mode. What is wanted of it outlives its links: a map of topics, each
// in one state. Lock order: source.mu, then the owner's.
type source struct {
	*upstream
	owner broker.Owner
	log   *slog.Logger

	follower broker.Follower // The same as owner, or nil.

	counters broker.Counters
	refusals [broker.Causes]atomic.Uint64

	mu      sync.Mutex       // A method that takes or returns a *want is called with it held.
	wants   map[string]*want // By subject.
	due     []*want          // To be asked for, in order. Some are not in wants, or not due, any more.
	dues    int              // Wants that are due or busy.
	waiting map[*want]struct{}
	gone    []*want // Subscriptions that are to be ended.
	causes  [broker.Causes]int64
	open    bool // A gap is open.
	behind  int  // Wants that the gap waits for.
	up      bool // The owner was told so.
	full    bool // The server had no room for all that was subscribed last.
	caught  bool // The link has come to the end of what there was when it began.
	link    link // Nil while there is none.
	lastErr string
	told    time.Time // When it was logged that topics are refused.

	place place // Where a stream was read to.

	covered       broker.Prefixes   // What is to be told to the owner, wanted or not.
	coverSubjects []string          // The subscriptions that have it, where topics are subscribed one by one.
	covers        map[string]*cover // By subject: these, and those that are to be ended.
	toldCovers    time.Time         // When it was logged that some are refused.

	wake chan struct{} // Has an element when something is due.
}

// link is a connection that works, in one of the modes.
type link interface {
	lag(now time.Time) time.Duration
	heard() time.Time
	channels() int64
}

// want is one topic that is wanted.
type want struct {
	topic, subject string
	state          state
	behind         bool         // The gap waits for it.
	ticked         bool         // It has had a tick since the mark was taken.
	read           bool         // Its value was read once, or known to be none.
	mark           uint64       // For the owner's Repair.
	seq            uint64       // Of the newest message that the owner was told of, in a stream.
	fails          int          // How often it failed in a row.
	refusals       int          // How often it was refused in a row.
	cause          broker.Cause // Why it is refused.
	retryAt        time.Time
	leader         bool // Its value is to be asked of the stream's leader.
	singly         bool // Its value is to be asked for by itself.
	unconfirmed    bool // Ticks may have been missed, and nobody has answered for its value. It is asked for again.
	trial          bool // It was subscribed again after it was refused, and a word of that may be under way.
	gone           bool // It is not wanted any more.
	owed           bool // A cover has brought a message, which is told when it comes by the topic's own subscription.
	subscription   int  // One above the number of its subscription on the link; 0 is none.
}

// state is how far a topic is on a link.
type state uint8

const (
	due     state = iota // It is to be asked for.
	busy                 // It is being asked for.
	refused              // It was refused, or failed, and is asked for again when its time has come.
	done                 // It is subscribed where it has to be, and its value was read.
)

func newSource(u *upstream, owner broker.Owner, log *slog.Logger) *source {
	follower, _ := owner.(broker.Follower)
	return &source{upstream: u, owner: owner, follower: follower, log: log, wants: make(map[string]*want), waiting: make(map[*want]struct{}),
		open: true, wake: make(chan struct{}, 1)}
}

// Run implements [broker.Source].
func (s *source) Run(ctx context.Context) {
	var wait broker.Backoff
	down := false
	for ctx.Err() == nil {
		began := time.Now()
		err := panics.Try(panics.Feed, func() error {
			return s.runLink(ctx, func(address, how string) {
				down = false
				s.log.Info("feed up", "address", address, "mode", how)
			})
		})
		s.ended()
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > broker.BackoffMax {
			wait.Reset()
		}
		d := wait.Next()
		if errors.Is(err, errLame) {
			d = 0
		}
		if !down {
			down = true
			s.log.Error("feed down", "address", s.shown, "error", err, "hint", hint(err), "retry_in", d.Round(time.Millisecond))
		}
		s.mu.Lock()
		s.lastErr = err.Error() // Behind the log: who sees it finds it there.
		s.mu.Unlock()
		broker.Sleep(ctx, d)
	}
}

var errLame = errors.New("the server is about to shut down, and asks its clients to go to another")

// Apply implements [broker.Source].
func (s *source) Apply(changes []topics.Change) {
	for _, c := range changes {
		subject := s.subjects.of(c.Topic)
		s.mu.Lock() // Per change: the receiver must get its turn among many of them.
		w := s.wants[subject]
		switch {
		case c.Wanted && w == nil:
			w = &want{topic: c.Topic, subject: subject}
			s.wants[subject] = w
			s.owner.Doubt(w.topic)
			s.enqueue(w)
		case c.Wanted: // It was taken up again before its end was told.
			s.owner.Doubt(w.topic)
			s.again(w)
		case w != nil:
			s.forget(w)
		}
		s.mu.Unlock()
	}
	broker.Signal(s.wake)
}

// enqueue has a want asked for.
func (s *source) enqueue(w *want) {
	w.state = due
	s.dues++
	s.due = append(s.due, w)
}

// again has a want asked for once more, whatever state it is in.
func (s *source) again(w *want) {
	switch w.state {
	case due:
		return
	case busy:
		s.dues--
	case refused:
		delete(s.waiting, w)
	}
	s.enqueue(w)
}

func (s *source) forget(w *want) {
	s.settle(w)
	if w.state == due || w.state == busy {
		s.dues--
	}
	delete(s.waiting, w)
	s.blame(w, broker.NoCause)
	delete(s.wants, w.subject)
	w.gone = true
	if w.subscription != 0 {
		s.gone = append(s.gone, w)
	}
}

// settle notes that no gap waits for a want any more.
func (s *source) settle(w *want) {
	if w.behind {
		w.behind = false
		s.behind--
	}
}

// take returns wants to be asked for, up to limit, which are busy then, with their marks taken. The caller
// holds s.mu.
func (s *source) take(limit int) (taken []*want) {
	for len(s.due) > 0 && len(taken) < limit {
		w := s.due[0]
		s.due[0] = nil
		s.due = s.due[1:]
		if s.wants[w.subject] != w || w.state != due {
			continue
		}
		mark, held := s.owner.Mark(w.topic)
		if !held { // The table has let it go, and will say so.
			w.state = done
			s.dues--
			s.settle(w)
			continue
		}
		if w.unconfirmed && mark != w.mark { // It has had a tick since, which is its newest value.
			w.unconfirmed, w.state, w.fails = false, done, 0
			s.dues--
			continue
		}
		w.state, w.mark, w.ticked = busy, mark, false
		taken = append(taken, w)
	}
	if len(s.due) == 0 {
		s.due = nil
	}
	return taken
}

// isBusy reports whether a want is still the one that is being asked for.
func (s *source) isBusy(w *want) bool { return s.wants[w.subject] == w && w.state == busy }

// finish ends the asking of a want that was served.
func (s *source) finish(w *want) {
	s.dues--
	w.state, w.read, w.leader, w.singly, w.trial, w.unconfirmed, w.fails, w.refusals = done, true, false, false, false, false, 0, 0
	s.blame(w, broker.NoCause)
	s.settle(w)
	s.owner.More()
	s.look()
}

// look tells the owner that values are current, if they are. The caller holds s.mu.
func (s *source) look() {
	if s.link == nil || !s.caught || s.behind > 0 || s.up {
		return
	}
	s.open, s.up = false, true
	s.owner.SetUp(true)
}

// begin notes that a link works. anew says that ticks were missed, or may have been: all that is wanted is
// asked for.
func (s *source) begin(l link, caught, anew bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters[broker.Connects].Add(1)
	missed := false
	for _, w := range s.wants {
		if anew {
			missed = missed || w.read || w.ticked
			w.seq = 0
			if !w.behind {
				s.owner.Doubt(w.topic) // The source may be up before its value is read.
			}
			if w.state == done || w.unconfirmed {
				w.unconfirmed = false
				s.again(w)
			}
		}
		switch {
		case w.state == busy:
			s.again(w)
		case w.state == done:
			s.settle(w)
		}
	}
	if missed {
		s.counters[broker.Gaps].Add(1)
	}
	s.link, s.caught = l, caught
	s.look()
	broker.Signal(s.wake)
}

// ended notes that the link, if there was one, has ended. A gap begins if values were current.
func (s *source) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	begins := !s.open
	s.link, s.caught, s.gone, s.full = nil, false, nil, false
	for _, w := range s.wants {
		w.subscription, w.trial = 0, false
		if w.state == busy {
			s.again(w)
		}
		if begins && w.cause == broker.NoCause && !w.behind {
			w.behind = true
			s.behind++
		}
	}
	for _, c := range s.covers {
		*c = cover{}
	}
	s.planCovers()
	if s.up {
		s.up, s.open = false, true
		s.owner.SetUp(false)
	}
}

// Room implements [broker.Source].
func (s *source) Room() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, roomMax-s.dues)
}

// Stats implements [broker.Source].
func (s *source) Stats() (st broker.Stats) {
	s.counters.AddTo(&st)
	for i := range s.refusals {
		st.Refusals[i] = s.refusals[i].Load()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Held, st.Refused, st.LastError = int64(len(s.wants)), s.causes, s.lastErr
	if s.open {
		st.Behind = int64(s.behind)
	}
	if s.link != nil {
		st.Connected, st.Lag, st.Channels = true, s.link.lag(time.Now()), s.link.channels()
		if s.up {
			st.Heard = s.link.heard()
		}
	}
	return st
}
