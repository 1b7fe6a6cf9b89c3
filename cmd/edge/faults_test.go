// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	allFaults = flag.Bool("all-faults", false, "all cells of the table of faults, which take some five minutes, and not a third of them")
	faultSeed = flag.Uint64("fault-seed", rand.Uint64(), "`number` that decides which third that is")
)

var longFaults = flag.Bool("long-faults", false, "faults that last as long as an operator's, 10 s and not 3 s, and no patience with the machine: it has to be quiet")

const (
	faultTimeout = time.Second // -feed-timeout
	beat         = time.Second // -heartbeat
	// What docs/FEED.md promises. Down is noticed by the watchdog and told at each
	// client's next visit. Current again means: an attempt that was under way when the
	// fault ended and fails, the longest pause between two attempts, and a second for
	// subscribing, fetching and a window.
	downWithin    = faultTimeout + time.Second
	currentWithin = faultTimeout + 5*time.Second + time.Second
)

// slack is what a machine may add to any time of these tests, besides twice what it did to this
// process. With -long-faults the times of docs/FEED.md are held to; without it, what has to come
// about has to, however busy the machine is.
func slack() time.Duration {
	if *longFaults {
		return 2 * time.Second
	}
	return patience
}

// fault is something that comes between publishers and edges.
type fault struct {
	name string
	told notice
	// lossy holds if the broker may forget ticks that it has handed out. Only versions keep
	// rows from going back then.
	lossy bool
	// emptied holds if the broker loses what it held.
	emptied bool
	// gaps are what an edge counts.
	gaps gaps
	// forgotten holds if nobody knows the values of what was missed. Topics are stale then, until they tick.
	forgotten bool
	// second are flags of the second edge, beside those for versions.
	second []string
	// moreTime is what docs/FEED.md grants on top of currentWithin.
	moreTime time.Duration
	// prepare starts a broker. strike does the harm, has the quiet topics tick while the
	// edges can't hear it, and returns when the harm is over.
	prepare func(t *testing.T) (up *upstream, strike func(*faultRun))
	// why says in place of prepare why there is nothing to do.
	why string
}

// gaps are what an edge counts of a fault.
type gaps uint8

const (
	someGaps gaps = iota // It may have missed something.
	gapless              // It can know that it has missed nothing.
	anyGaps              // It depends on where the edge is connected.
)

// notice is what clients are told of a fault.
type notice uint8

const (
	nothing   notice = iota // The feed stays up.
	inPassing               // That it is up; it may have been down too shortly for a visit.
	atLength                // That it is down, and up again.
)

// After a fault every client holds the newest value of each of its topics within the
// time that is documented, and none has seen a value go back. During the fault clients
// hear something at least once a second or so, and are told that the feed is down.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, f := range someFaults(t) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.run(t)
		})
	}
}

// faultShare is how many of the cells are played, one of so many.
const faultShare = 3

// someFaults are all cells with -all-faults or -long-faults, and else a part of them that is drawn anew each time.
func someFaults(t *testing.T) []fault {
	all := faults()
	if *allFaults || *longFaults {
		return all
	}
	random := rand.New(rand.NewPCG(*faultSeed, 0))
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	t.Logf("%d of %d cells; the same ones again with -fault-seed %d", len(all)/faultShare, len(all), *faultSeed)
	return all[:len(all)/faultShare]
}

// upstream is the broker of one fault.
type upstream struct {
	target
	url   string   // The edges' way to it.
	flags []string // More flags of the edges.
	// joined is told of each edge that has started, by its number. Nil is nobody.
	joined func(i int, e *edge)
}

// target is how publishers reach a broker. It is not what is under test, but for a broker that
// only our publisher makes whole.
type target interface {
	// write writes values of topics once, all of them or, with an error, some. The commands of first
	// go before them in the same transaction.
	write(ctx context.Context, topics []int, values []string, first [][]any) error
	// stored is the number that the broker holds of a topic. It is false if the broker holds nothing.
	stored(ctx context.Context, topic int) (seq uint64, held bool, err error)
}

// faultRun is one fault, two edges on its broker, one of which knows versions, and the
// clients of both.
type faultRun struct {
	t          *testing.T
	fault      *fault
	publishers *publishers
	edges      []*edge
	listeners  []*listener
	late       *lateness
	struck     time.Time
}

const clientsPerEdge, topicsPerClient = 10, 10

func (f *fault) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	up, strike := f.prepare(t)
	r := &faultRun{t: t, fault: f, publishers: newPublishers(up), late: new(lateness)}
	wg.Go(func() { r.late.run(ctx) })

	all := every(1, 0)
	r.tick(all)
	for i := range 2 {
		r.edges = append(r.edges, r.launch(i))
		r.listenAll(i)
	}
	r.eventually("all clients have all values", time.Now(), patience, func() bool {
		if f.forgotten && !r.current(all) { // There is no value before the first tick that is heard.
			r.tick(all)
			time.Sleep(100 * time.Millisecond)
		}
		return r.current(all)
	})
	gaps := r.gaps()
	stop, stopped := make(chan struct{}), make(chan struct{})
	wg.Go(func() {
		defer close(stopped)
		r.publishers.run(ctx, stop)
	})
	r.eventually("ticks come to all clients", time.Now(), patience, func() bool {
		return r.each(func(l *listener) bool { return l.updates > 0 })
	})
	r.struck = time.Now()
	strike(r)
	healed := time.Now()
	if f.forgotten {
		if f.told != nothing {
			r.toldUp(healed) // Nobody would keep what ticks before an edge is back.
		}
		r.forgotten()
	}
	took := r.eventually("quiet topics are current", healed, currentWithin+f.moreTime, func() bool { return r.current(quiet()) })
	if f.told != nothing {
		r.toldUp(healed)
	}
	close(stop)
	<-stopped
	if f.lossy || f.emptied {
		r.tick(all) // What was lost is not there before the next tick, which some topics have not had.
	}
	r.stored(all)
	r.eventually("all topics are current", time.Now(), 2*time.Second, func() bool { return r.current(all) })
	for i, e := range r.edges {
		if now := sum(t, e, "edge_feed_gaps_total"); f.gaps != anyGaps && now > gaps[i] == (f.gaps == gapless) {
			t.Errorf("edge_feed_gaps_total is %v, and was %v before the fault", now, gaps[i])
		}
	}
	silence := r.judge()
	t.Logf("%s: %v; current %v after its end; no client without a frame for more than %v; this process was up to %v late",
		f.name, healed.Sub(r.struck).Round(time.Millisecond), took.Round(time.Millisecond), silence.Round(time.Millisecond), r.late.get().Round(time.Millisecond))
}

// launch starts an edge by its number.
func (r *faultRun) launch(i int) *edge {
	r.t.Helper()
	flags := [][]string{nil, append(r.fault.second, "-tick-version-field", "seq")}[i]
	up := r.publishers.up
	flags = slices.Concat([]string{"-source", up.url, "-feed-timeout", faultTimeout.String(), "-heartbeat", beat.String()}, up.flags, flags)
	e := start(r.t, flags...)
	if up.joined != nil {
		up.joined(i, e)
	}
	return e
}

// listenAll opens the clients of an edge.
func (r *faultRun) listenAll(edge int) {
	r.t.Helper()
	for client := range clientsPerEdge {
		r.listen(edge, client*2*topicsPerClient+edge*topicsPerClient)
	}
}

// listen opens a client of an edge, for the topics from first on.
func (r *faultRun) listen(edge, first int) *listener {
	r.t.Helper()
	l := r.edges[edge].listen(every(1, 0)[first : first+topicsPerClient])
	l.versioned = edge == 1
	r.listeners = append(r.listeners, l)
	return l
}

// tick has topics tick once, and returns when the broker has taken it.
func (r *faultRun) tick(topics []int, first ...[]any) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.publishers.tick(ctx, topics, first...); err != nil {
		r.t.Error(err) // Not Fatal: some faults tick beside the test.
	}
}

// lasts waits until the fault has lasted as long as faults last in these tests, and
// demands that heartbeats told of it.
func (r *faultRun) lasts() {
	r.t.Helper()
	d := 3 * time.Second
	if *longFaults {
		d = 10 * time.Second
	}
	time.Sleep(time.Until(r.struck.Add(d)))
	r.eventually("heartbeats say that the feed is down", r.struck, d, func() bool {
		return r.each(func(l *listener) bool { return l.beat == "down" })
	})
}

// eventually waits until ok, fails if that takes longer than it may, and returns how
// long it took.
func (r *faultRun) eventually(what string, from time.Time, within time.Duration, ok func() bool) time.Duration {
	r.t.Helper()
	for !ok() {
		if late := slack() + 2*r.late.get(); time.Since(from) > within+late {
			r.t.Fatalf("not within %v, and %v for a busy machine: %s\n%s", within, late, what, r.missing())
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(from)
}

// current reports whether all clients hold the newest values of those of topics that
// they have.
func (r *faultRun) current(topics []int) bool {
	for _, l := range r.listeners {
		l.mu.Lock()
		ok := true
		for _, topic := range l.topics {
			if slices.Contains(topics, topic) && l.held[topic] != r.publishers.seq[topic].Load() {
				ok = false
			}
		}
		l.mu.Unlock()
		if !ok {
			return false
		}
	}
	return true
}

// missing says what some clients lack, and what they were told.
func (r *faultRun) missing() string {
	var b strings.Builder
	for i, l := range r.listeners {
		l.mu.Lock()
		lacks := 0
		for _, topic := range l.topics {
			if held, newest := l.held[topic], r.publishers.seq[topic].Load(); held != newest {
				if lacks++; lacks == 1 {
					fmt.Fprintf(&b, "client %d holds %d of %s, the newest is %d\n", i, held, topicName(topic), newest)
				}
			}
		}
		fmt.Fprintf(&b, "client %d lacks %d values and was told %v\n", i, lacks, l.feeds)
		l.mu.Unlock()
	}
	return b.String()
}

// stored demands that the broker holds what was published last, unless it holds nothing of any topic.
func (r *faultRun) stored(topics []int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, topic := range topics {
		seq, held, err := r.publishers.up.stored(ctx, topic)
		if err != nil {
			r.t.Fatal(err)
		}
		if want := r.publishers.seq[topic].Load(); held && seq != want {
			r.t.Errorf("the broker holds %d of %s, the last that was published is %d", seq, topicName(topic), want)
		}
	}
}

// toldDown waits until all clients were told that the feed is down, and has two more
// connect, for topics that their edges do not have.
func (r *faultRun) toldDown() {
	r.t.Helper()
	told := func() bool {
		return r.each(func(l *listener) bool {
			return slices.ContainsFunc(l.feeds, func(n feedNotice) bool { return n.state == "down" && n.at.After(r.struck) })
		})
	}
	r.eventually("all clients were told that the feed is down", r.struck, downWithin, told)
	for edge := range r.edges {
		l := r.listen(edge, (1-edge)*topicsPerClient)
		r.eventually("a new client is told that the feed is down", time.Now(), time.Second, told)
		l.mu.Lock()
		if l.opening[0] != "hello" || l.opening[1] != "feed" || !r.sinceStruck(l.feeds[0]) {
			r.t.Errorf("a new client's first messages are %v; the first about the feed is %v", l.opening, l.feeds[0])
		}
		l.mu.Unlock()
	}
}
