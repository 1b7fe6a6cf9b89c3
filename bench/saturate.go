//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"tickedge/bench/internal/lab"
	"tickedge/bench/internal/procfs"
	"tickedge/bench/internal/swarm"
)

const (
	// sampleConns are looked at in full beside the plain ones: a hundred tell what is
	// in the frames and how old it is, and cost next to nothing.
	sampleConns = 100
	// drainPause is the time between two rounds of reads over all plain conns.
	drainPause = 2 * time.Millisecond
	// lateAcks is how many frames may be acknowledged late, in percent. Linux does that
	// by a timer when nobody has read for 40 ms (TCP_DELACK_MIN), on the CPU where the
	// frame came, which is the server's: it pays for its client then, some 1.5 µs.
	lateAcks = 25
	// saturated is the share of its CPU above which a server can't do more, in
	// percent. The rest is the kernel's.
	saturated = 95
)

func runSaturate(args []string, stdout, stderr io.Writer) int {
	c := &labConfig{mode: "saturate", conns: saturateConns(), hold: 8 * time.Second, edge: "-loops 1"}
	f := newLabFlags(c)
	setDefault(f, "interval", "100ms")
	setDefault(f, "universe", "100")
	setDefault(f, "rate", "5000")
	c.serversFlag(f, edgeName, floorName, gnetName)
	f.IntVar(&c.rounds, roundsFlag, 5, "how often each server is held")
	feedRate := f.Float64("feed-rate", 20_000, "ticks per second of further rounds, for servers with a feed; 0 leaves them out")
	return c.run(f, args, stdout, stderr, func() error {
		if *feedRate != 0 && !(*feedRate > c.rate) {
			return fmt.Errorf("-feed-rate %v: want more ticks per second than -rate %v, or 0", *feedRate, c.rate)
		}
		each, err := connsPerProcess()
		if err == nil && c.conns+sampleConns > each {
			err = fmt.Errorf("-conns %d: want no more than %d here", c.conns, each-sampleConns)
		}
		return err
	}, func(s *session) (outcome, error) { return s.saturate(*feedRate) })
}

// saturateConns is most of the file limit, which server and bench have each, and no
// more than 20,000: with the shortest window of the edge that is more than a core does.
func saturateConns() int {
	each, err := connsPerProcess()
	if err != nil {
		return 500
	}
	const reserve = 500 // Descriptors that an edge keeps for other things.
	return max(1, min(each-reserve, 20_000))
}

// saturate gives servers one CPU each in turns, and more clients than it can serve
// with that.
func (s *session) saturate(feedRate float64) (_ outcome, err error) {
	cpu, others, err := splitCPUs()
	if err != nil {
		return nil, err
	}
	all := cpu
	for i := range all {
		all[i] |= others[i]
	}
	if err := confine(&others); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, confine(&all)) }()
	// The runtime would make do with as many Ps as there are CPUs now. A swarm keeps its
	// own while it rests; the reader of the plain conns and everybody else need theirs.
	runtime.GOMAXPROCS(max(3, runtime.GOMAXPROCS(0)))
	defer runtime.SetDefaultGOMAXPROCS()
	if err := s.ticks(0); err != nil {
		return nil, err
	}
	res := newSaturateResult(s.labConfig, feedRate)
	if err := turns(s.rounds, len(res.Servers), func(round, i int) error {
		of := &res.Servers[i]
		s.progress("saturate: round %d of %d, %s at %.0f ticks/s", round+1, s.rounds, of.Name, of.Rate)
		r, err := s.saturateRound(&cpu, of.target, of.Rate)
		if err == nil {
			of.Rounds[round] = *r
		}
		return err
	}); err != nil {
		return nil, err
	}
	res.conclude()
	return res, nil
}

// saturateRound starts a server, holds conns at it and ends it. A source of ticks runs
// only beside servers that take them: the others would not notice it, on a CPU of their
// own, but bench needs every bit of its own.
func (s *session) saturateRound(cpu *unix.CPUSet, t target, rate float64) (_ *saturateRound, err error) {
	if t.feed {
		ticks, err := s.lab.Ticks(s.redis, s.universe, rate)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.lab.Stop(ticks)) }()
	}
	var server *lab.Server
	set := s.setting
	if t.name != edgeName {
		set.window /= 2 // The edge has a shortest one, and is the slowest here.
	}
	if err := startOn(cpu, func() (err error) {
		server, err = t.start(s.lab, set)
		return err
	}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.lab.StopServer(server)) }()
	conns, err := newPlain(server)
	if err != nil {
		return nil, err
	}
	defer conns.closeAll()
	// All are connected before the first one subscribes: a server with too much to do
	// comes to accept few.
	if err := conns.open(s.ctx, s.conns, s.connRate); err != nil {
		return nil, err
	}
	names, err := swarm.Names(lab.TopicPattern, s.universe)
	if err != nil {
		return nil, err
	}
	if err := conns.subscribe(names, s.topics, s.seed); err != nil {
		return nil, err
	}
	if err := conns.awaitFrames(s.ctx, 3); err != nil { // Hello, ack and rows.
		return nil, err
	}
	return s.saturateHold(server, conns)
}

// saturateHold lets the plain conns be read while those of the sample are held.
func (s *session) saturateHold(server *lab.Server, conns *plainConns) (*saturateRound, error) {
	d := startDrain(conns)
	var begin, end drainMark
	res, err := s.hold(server, sampleConns, s.topics, func(moment int) (err error) {
		switch moment {
		case atHold:
			begin, err = d.mark(server)
		case atEnd:
			end, err = d.mark(server)
		}
		return err
	})
	if err := errors.Join(err, d.stop()); err != nil {
		return nil, err
	}
	return saturateRoundOf(res, begin, end), nil
}

// startDrain reads plain conns in a goroutine of its own, which owns them until the
// end of stop.
func startDrain(conns *plainConns) *drain {
	d := &drain{conns: conns, quit: make(chan struct{}), ended: make(chan error, 1)}
	go func() { d.ended <- d.run() }()
	return d
}

type drain struct {
	conns *plainConns
	quit  chan struct{}
	ended chan error
}

func (d *drain) run() error {
	for {
		select {
		case <-d.quit:
			return nil
		case <-time.After(drainPause):
		}
		if err := d.conns.readAll(); err != nil {
			return err
		}
	}
}

func (d *drain) stop() error {
	close(d.quit)
	return <-d.ended
}

// drainMark is what has come, and what it cost, up to a moment.
type drainMark struct {
	at      time.Time
	frames  uint64        // Text frames of plain conns.
	late    float64       // Acknowledgements sent by a timer; of all sockets of the host.
	full    uint64        // Reads that found frames piled up.
	updates float64       // As an edge counts them, up to 200 ms ago. 0 of others.
	cpu     time.Duration // Of the server.
}

func (d *drain) mark(server *lab.Server) (drainMark, error) {
	// The metrics come first: an edge without CPU to spare takes a while for them.
	m, err := server.Metrics()
	late, lateErr := procfs.DelayedAcks()
	cpu, cpuErr := server.CPU()
	return drainMark{
		at: time.Now(), frames: d.conns.frames.Load(), late: late, full: d.conns.full.Load(),
		updates: m[`edge_frames_sent_total{kind="update"}`], cpu: cpu,
	}, errors.Join(err, lateErr, cpuErr)
}
