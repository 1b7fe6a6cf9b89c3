//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strconv"
	"time"

	"tickedge/bench/internal/lab"
)

const (
	// everyFrame is the share of its frames that each client has to get, so that one
	// that the ends of the holding time cut off does not count.
	everyFrame = 0.95
	// findWithin is how near the search comes, as a share. Machines wander by more.
	findWithin = 0.05
	// findLeast ends a search that finds nothing.
	findLeast = 100
	// ticksPatience bounds the time from the start of the source of ticks to the first
	// one at each edge.
	ticksPatience = 20 * time.Second
)

// scaleConfig is what the flags of scale say.
type scaleConfig struct {
	labConfig
	edges   int // 0 takes as many as the file limit demands.
	find    bool
	findFor time.Duration
}

func runScale(args []string, stdout, stderr io.Writer) int {
	c := &scaleConfig{labConfig: labConfig{mode: "scale", conns: 100_000, hold: 5 * time.Minute}}
	f := newLabFlags(&c.labConfig)
	f.IntVar(&c.edges, "edges", 0, "edges, all on one port; 0 takes as many as the file limit demands")
	f.IntVar(&c.workers, "workers", 0, "processes to spread the conns over; 0 chooses")
	f.BoolVar(&c.find, "find", true, "if not every client gets every frame, find out how many clients do")
	f.DurationVar(&c.findFor, "find-for", 20*time.Second, "how long to hold each time in search of that")
	return c.run(f, args, stdout, stderr, func() error {
		if c.edges < 0 {
			return fmt.Errorf("-edges %d: want 0 or more, such as -edges 6", c.edges)
		}
		if c.findFor < 10*c.window {
			return fmt.Errorf("-find-for %v: want ten windows or more, such as -find-for %v", c.findFor, max(20*time.Second, 10*c.window))
		}
		return nil
	}, func(s *session) (outcome, error) { return s.scale(c) })
}

// scale holds all conns, and then fewer, until it is known how many of them this host
// can give every frame.
func (s *session) scale(c *scaleConfig) (outcome, error) {
	// Its own number of loops, as below, makes no difference that matters.
	room, err := s.lab.EdgeConns(s.edgeArgs...)
	if err != nil {
		return nil, err
	}
	if err := s.ticks(0); err != nil {
		return nil, err
	}
	res := &scaleResult{Topics: s.topics, Universe: s.universe, Rate: s.rate, WindowMS: s.window.Milliseconds()}
	hold := func(conns int, hold time.Duration) (*scalePoint, error) {
		edges := c.edges
		if edges == 0 {
			edges = edgesFor(conns, room)
		}
		s.progress("scale: %d conns at %d edges for %v", conns, edges, hold)
		return s.scalePoint(conns, edges, hold)
	}
	if res.All, err = hold(s.conns, s.labConfig.hold); err != nil {
		return nil, err
	}
	res.Problems = res.All.Problems
	res.conclude()
	if res.All.EveryFrame {
		res.Most = res.All
		return res, nil
	}
	if !c.find {
		return res, nil
	}
	f := search{bad: s.conns}
	// As many as those frames would be enough for, and some room.
	next := min(int(0.9*res.All.Frames*s.window.Seconds()), f.next())
	for ; !f.done(); next = f.next() {
		p, err := hold(next, c.findFor)
		if err != nil {
			return nil, err
		}
		res.Tried = append(res.Tried, p)
		if p.EveryFrame {
			f.good, res.Most = next, p
		} else {
			f.bad = next
		}
	}
	return res, nil
}

// search looks for the most conns that are good: good of them are, or 0 if none is
// known to be, and bad of them are not.
type search struct{ good, bad int }

func (f search) done() bool {
	return f.bad <= findLeast || f.good > 0 && float64(f.bad-f.good) <= findWithin*float64(f.bad)
}

// next is what to try next. It goes down by a fifth, and up by no more than a quarter:
// what was measured under full load is nearer to the truth than half of the way.
func (f search) next() int {
	if f.good == 0 {
		return f.bad * 4 / 5
	}
	return min((f.good+f.bad)/2, f.good*5/4+1)
}

// edgesFor is how many edges it takes on one port for conns, if one has room for so
// many. The kernel spreads conns by a hash, so their number at one edge is binomial. It
// is kept six standard deviations below the room, beyond which one edge in 10^9 comes.
func edgesFor(conns, room int) int {
	for n := 1; ; n++ {
		mean := float64(conns) / float64(n)
		if mean+6*math.Sqrt(mean*(1-1/float64(n))) <= float64(room) || mean < 1 {
			return n
		}
	}
}

// scalePoint holds so many conns at so many new edges. Ticks begin when all conns are
// open: a host that is too small for them would take minutes to open the last ones
// beside what it owes to the first, which is what the mode storm looks at.
func (s *session) scalePoint(conns, edges int, hold time.Duration) (*scalePoint, error) {
	args := []string{"-interval", s.window.String(), "-loops", strconv.Itoa(max(1, runtime.NumCPU()/edges))}
	server, err := s.lab.Edge(s.redis, edges, append(args, s.edgeArgs...)...)
	if err != nil {
		return nil, err
	}
	part := *s.labConfig
	part.hold = hold
	of := *s
	of.labConfig = &part
	var kernel [2]lab.Kernel
	var each []lab.Metrics // Of the edges, at the end.
	var source *lab.Proc
	res, err := of.hold(server, conns, s.topics, func(moment int) (err error) {
		switch moment {
		case atStart:
			kernel[0], err = lab.ReadKernel()
		case atHold:
			source, err = s.tickAt(server)
		case atEnd:
			if kernel[1], err = lab.ReadKernel(); err == nil {
				each, err = server.EachMetrics()
			}
		}
		return err
	})
	if source != nil {
		err = errors.Join(err, s.lab.Stop(source))
	}
	if err := errors.Join(err, s.lab.StopServer(server)); err != nil {
		return nil, err
	}
	return scalePointOf(res, s.window, kernel, each), nil
}

// tickAt starts the source of ticks and returns when they come to each edge.
func (s *session) tickAt(server *lab.Server) (*lab.Proc, error) {
	source, err := s.lab.Ticks(s.redis, s.universe, s.rate)
	if err != nil {
		return nil, err
	}
	return source, until(s.ctx, ticksPatience, 20*time.Millisecond, func() (bool, error) {
		each, err := server.EachMetrics()
		return !slices.ContainsFunc(each, func(m lab.Metrics) bool { return m.Sum("edge_feed_ticks_total") == 0 }), err
	}, func() error {
		return fmt.Errorf("no tick came to one of the edges for %v; the log of the source: %s", ticksPatience, source.Log)
	})
}
