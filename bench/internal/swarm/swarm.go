// SPDX-License-Identifier: Apache-2.0

//go:build linux

package swarm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tickedge/bench/internal/hist"
	"tickedge/bench/internal/wire"
)

const (
	// pause is slept between two polls. A poll that waits for frames would be woken
	// up by the sender, which is the one to be measured and pays for that. It also
	// bounds what the swarm adds to staleness.
	pause = 1500 * time.Microsecond
	// lateAfter is the gap between two polls from which on the swarm is late, and its
	// staleness partly its own.
	lateAfter = 20 * time.Millisecond
	// unservedAfter is how long a conn may get no text frame before it shows up as
	// unserved: two windows if they are longer.
	unservedAfter = 5 * time.Second
	// sweepEvery is the time between two sweeps over all conns, which find what did not
	// come.
	sweepEvery = time.Second
	// sweepMax bounds what a sweep looks at in one poll, about 20 µs: a sweep over a
	// million conns at once would be late for all of them.
	sweepMax = 2048

	eventsMax  = 128 // One poll. More are fetched by the next one, without a pause.
	clockEvery = 32  // Events between two looks at the clock, about 100 µs.
	readMax    = 64 << 10
)

// Config is a swarm's part of a run. It goes to other processes as JSON.
type Config struct {
	Addr   netip.AddrPort `json:"addr"`
	Host   string         `json:"host"`   // The Host header.
	Target string         `json:"target"` // The path with its query.
	Events bool           `json:"events"` // They are streams of server-sent events, not WebSockets. Not with Churn.

	First int     `json:"first"` // The number of the first conn, counted over all swarms.
	Conns int     `json:"conns"`
	Rate  float64 `json:"rate"` // Connects per second.

	Topics   int    `json:"topics"` // Per conn.
	Universe int    `json:"universe"`
	Pattern  string `json:"pattern"` // Of topic names.
	Seed     uint64 `json:"seed"`
	// Apart gives each conn the topics that follow those of the conn before it, beginning
	// again with the first one, instead of some drawn from all.
	Apart bool `json:"apart"`

	// Screens are conditions over all topics, of which each conn has one: it asks for a screen instead of topics. They take
	// turns. Not with Events or Churn.
	Screens []string `json:"screens,omitempty"`

	// Churn is how many conns per second are replaced by new ones while holding. As many
	// others exchange a topic for another.
	Churn float64 `json:"churn"`

	Every            time.Duration `json:"every_ns"` // Between two reports.
	HandshakeTimeout time.Duration `json:"handshake_timeout_ns"`
	AckTimeout       time.Duration `json:"ack_timeout_ns"`
}

type state uint8

const (
	unopened state = iota // No descriptor.
	dialing               // Descriptor, connect not finished, EPOLLOUT.
	shaking               // Request sent, answer not complete.
	open                  // Frames may come.
	leaving               // Our close frame is sent, the answer is awaited. Only with Churn.
	closed                // No descriptor, for good unless Churn has ended it.
)

// What is known of an open conn.
const (
	sawText    uint8 = 1 << iota // Its first text frame came.
	acked                        // Its first subscribe was acked.
	awaiting                     // Its last command is not acked, and not given up.
	wentSilent                   // Not even heartbeats came; counted.
)

// conn is one client. fd is ours <=> state is dialing, shaking, open or leaving.
type conn struct {
	partial   []byte // The start of a frame or of the answer whose rest has not come.
	fd        int32
	since     uint32 // When the state began. All times are in ms since the start.
	lastFrame uint32 // When the last frame of any kind came.
	lastText  uint32 // When the last text frame came, or the ack.
	frames    uint32 // Text frames of this phase.
	heartbeat uint32 // In ms, as the hello says; 0 for none.
	asked     uint32 // When its last command was sent.
	window    uint16 // In ms, as the hello says.
	state     state
	known     uint8
}

const connSizeMax = 56 // A million conns in 56 MB, beside 12 bytes for each of their topics.
const _ = uint(connSizeMax - unsafe.Sizeof(conn{}))

// Order tells a running swarm what to do next.
type Order string

const (
	Hold Order = "hold" // Count anew: what comes belongs to the holding phase.
	Stop Order = "stop" // Send the last report, close all conns, return.
)

// Swarm is a number of conns. Owned by the goroutine in Run.
type Swarm struct {
	cfg   Config
	names []string        // Of all topics.
	known map[string]bool // The same, with screens.
	conns []conn
	ids   []uint32 // Topics of conn i: ids[i*cfg.Topics : (i+1)*cfg.Topics].
	last  []uint64 // For each of them n+1 of its last row; 0 for none.

	epoll  int
	buf    []byte           // What is read, after the partial of its conn.
	out    []byte           // What is being built for sending.
	unsent map[int32][]byte // Conns whose socket did not take everything. Nearly always empty.
	msg    wire.Message
	rng    *rand.Rand

	start   time.Time
	now     time.Duration // Since start.
	wall    int64         // Unix microseconds.
	drained time.Duration // When a poll last left nothing behind.
	began   time.Duration // When the phase began.
	cpu     time.Duration // Of the process, at the last report.

	phase   Phase
	opened  int // Conns that are not unopened.
	pending int // Conns that are dialing or shaking.
	waiting int // Conns that are open and awaiting.
	rep     *Report
	gauges  Gauges // Open and Acked are kept up to date, Unserved is as of the last sweep.

	sweepAt  time.Duration // When the next sweep begins.
	swept    int           // Conns that this sweep has looked at.
	unserved int           // Those of them that are unserved.

	vacant  []int32 // Conns that churn has ended and that are to be opened anew.
	churned int     // Conns that churn has ended, and others it came to end and found closed.
	renewed int     // Conns that churn has opened.
}

// New prepares a swarm; nothing is opened yet.
func New(cfg Config) (*Swarm, error) {
	if cfg.Topics < 1 || cfg.Topics > min(TopicsMax, cfg.Universe) {
		return nil, fmt.Errorf("swarm: %d topics per conn out of %d, want 1 to %d", cfg.Topics, cfg.Universe, TopicsMax)
	}
	if cfg.Events && cfg.Churn > 0 {
		return nil, errors.New("swarm: streams of events can't exchange topics, so there is no churn of them")
	}
	if len(cfg.Screens) > 0 && (cfg.Events || cfg.Churn > 0) {
		return nil, errors.New("swarm: neither streams of events nor conns that are replaced ask for screens")
	}
	names, err := Names(cfg.Pattern, cfg.Universe)
	if err != nil {
		return nil, fmt.Errorf("swarm: topic names: %w", err)
	}
	s := &Swarm{
		cfg:    cfg,
		names:  names,
		conns:  make([]conn, cfg.Conns),
		ids:    make([]uint32, cfg.Conns*cfg.Topics),
		last:   make([]uint64, cfg.Conns*cfg.Topics),
		buf:    make([]byte, max(wire.FrameMax+16, wire.HeadMax)+readMax),
		unsent: map[int32][]byte{},
		phase:  Connecting,
		rep:    NewReport(Connecting),
	}
	if len(cfg.Screens) > 0 {
		s.known = make(map[string]bool, len(names))
		for _, name := range names {
			s.known[name] = true
		}
	}
	pcg := rand.NewPCG(0, 0)
	s.rng = rand.New(pcg)
	for i := range s.conns {
		// By the number of the conn, so that the split into swarms changes nothing.
		pcg.Seed(cfg.Seed, uint64(cfg.First+i))
		if cfg.Apart {
			follow(s.topics(i), cfg.Universe, cfg.First+i)
		} else {
			pick(s.topics(i), cfg.Universe, s.rng)
		}
	}
	if s.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("swarm: epoll_create: %w", err)
	}
	return s, nil
}

func (s *Swarm) topics(i int) []uint32 {
	return s.ids[i*s.cfg.Topics : (i+1)*s.cfg.Topics]
}

// Run opens the conns and keeps them until it is ordered to stop or orders is closed.
// Once per cfg.Every it emits a report, from the goroutine that polls: emit must not
// block.
func (s *Swarm) Run(orders <-chan Order, emit func(*Report)) error {
	defer unix.Close(s.epoll)
	defer s.closeAll()
	s.start = time.Now()
	s.cpu = processCPU()
	due := s.cfg.Every
	events := make([]unix.EpollEvent, eventsMax)
	for {
		s.clock()
		select {
		case o, ok := <-orders:
			stop := !ok || o == Stop
			if stop {
				s.swept, s.unserved = 0, 0
				s.sweep(len(s.conns))
				s.rates()
			}
			s.flush(emit, stop)
			if stop {
				return nil
			}
			s.hold()
		default:
		}
		s.churn()
		s.connect()
		n, err := unix.EpollWait(s.epoll, events, 0)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("swarm: epoll_wait: %w", err)
		}
		for k := range max(n, 0) {
			if k%clockEvery == clockEvery-1 {
				s.clock()
			}
			s.event(events[k].Fd, events[k].Events)
		}
		s.rep.Polls++
		if s.swept == len(s.conns) && s.now >= s.sweepAt {
			s.swept, s.unserved, s.sweepAt = 0, 0, s.now+sweepEvery
		}
		s.sweep(sweepMax)
		if s.now >= due {
			s.flush(emit, false)
			due = s.now + s.cfg.Every
		}
		if n < eventsMax {
			s.measureGap()
			rest()
		}
	}
}

// rest sleeps for pause without telling the runtime, which would park and wake a
// thread each time: 0.7 of 5.1 µs per frame (bench hold -conns 17000). Until it
// is over, a collection waits, and so do other goroutines if there is one processor
// only. Both can.
func rest() {
	t := unix.NsecToTimespec(int64(pause))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}

// clock looks at the clock. Nothing else in the swarm does.
func (s *Swarm) clock() {
	t := time.Now()
	s.now, s.wall = t.Sub(s.start), t.UnixMicro()
}

func (s *Swarm) ms() uint32 { return uint32(s.now / time.Millisecond) }

// measureGap notes how long it took to come round to all conns that had something.
func (s *Swarm) measureGap() {
	gap := s.now - s.drained
	s.drained = s.now
	s.rep.LongestGap = max(s.rep.LongestGap, gap)
	if gap > lateAfter {
		s.rep.LatePolls++
	}
}

// hold begins the holding phase.
func (s *Swarm) hold() {
	s.phase, s.rep.Phase, s.began = Holding, Holding, s.now
	for i := range s.conns {
		s.conns[i].frames = 0
	}
}

// sweep looks at the next conns, up to most of them and to the last one, for what did
// not come.
func (s *Swarm) sweep(most int) {
	for ; most > 0 && s.swept < len(s.conns); most-- {
		s.inspect(int32(s.swept))
		if s.swept++; s.swept == len(s.conns) {
			s.gauges.Unserved = s.unserved
		}
	}
}

// inspect looks at one conn for what did not come.
func (s *Swarm) inspect(i int32) {
	c, now := &s.conns[i], s.ms()
	after := func(from uint32, limit time.Duration) bool { return now-from > uint32(limit/time.Millisecond) }
	switch c.state {
	case dialing, shaking:
		if after(c.since, s.cfg.HandshakeTimeout) {
			s.refuse(i, "no answer within "+s.cfg.HandshakeTimeout.String(), nil)
		}
	case leaving:
		if after(c.since, s.cfg.HandshakeTimeout) {
			s.unanswered(i)
		}
	case open:
		window := time.Duration(c.window) * time.Millisecond
		if c.known&acked != 0 && after(c.lastText, max(unservedAfter, 2*window)) {
			s.unserved++
		}
		if c.known&awaiting != 0 && after(c.asked, s.cfg.AckTimeout) {
			s.settle(c)
			s.violate(i, NoAck, nil)
		}
		silence := 2*time.Duration(c.heartbeat)*time.Millisecond + unservedAfter
		if c.heartbeat > 0 && c.known&wentSilent == 0 && after(c.lastFrame, silence) {
			c.known |= wentSilent
			s.violate(i, Silent, nil)
		}
	}
}

// ready reports whether every conn was opened and is acked, or will not be.
func (s *Swarm) ready() bool { return s.opened == len(s.conns) && s.pending == 0 && s.waiting == 0 }

// rates puts the frames per conn of this phase into the report, for the conns that
// were open all the time.
func (s *Swarm) rates() {
	s.rep.Rates = new(hist.Hist)
	seconds := (s.now - s.began).Seconds()
	for i := range s.conns {
		if c := &s.conns[i]; c.state == open && c.since <= uint32(s.began/time.Millisecond) && seconds > 0 {
			s.rep.Rates.Add(uint64(1000 * float64(c.frames) / seconds))
		}
	}
}

func (s *Swarm) flush(emit func(*Report), done bool) {
	cpu := processCPU()
	s.rep.CPU, s.cpu = cpu-s.cpu, cpu
	s.rep.Gauges, s.rep.Ready, s.rep.Done = s.gauges, s.ready(), done
	emit(s.rep)
	s.rep = NewReport(s.phase)
}

func processCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic("swarm: getrusage: " + err.Error())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
