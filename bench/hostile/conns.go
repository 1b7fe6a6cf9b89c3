// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// stuckMax bounds the wait until the edge gives up peers that take nothing: half a
	// minute of pings and a quarter for the pong, or the time that written bytes may
	// stay unacknowledged; with some patience.
	stuckMax = 2 * time.Minute
	// trickle is how much a trickling reader takes at a time, and trickleEvery how often:
	// a hundredth of what it is sent.
	trickle      = 64
	trickleEvery = 100 * time.Millisecond
	// heapMax is by how much the heap may be larger after a flood of topics than after the
	// first one, in MiB. The names of one, with all that belongs to them, are 30 MiB.
	heapMax = 16.0
)

// deaf is why an edge may give up a peer that acknowledges nothing. Which limit comes
// first depends on what the kernel still takes.
var deaf = []string{"slow_consumer", "no_pong", "peer_reset"}

const fillDemand = "all topics gone, heap as after the first time"

func subscribing(names []string) string {
	return `{"op":"subscribe","topics":["` + strings.Join(names, `","`) + `"]}`
}

func subscribe(names []string) []byte { return message(subscribing(names)) }

// allTopics subscribes all topics that tick, which are as many as a conn may have.
func allTopics() []byte { return subscribe(list(universe, topicName)) }

func topicInputs(p *plan) []input {
	return []input{{
		fmt.Sprintf("%d conns of one address ask for 256 fresh names each", newNamesConns),
		newNamesDemand, "SECURITY.md, All limits", newNames,
	}, {
		fmt.Sprintf("%d conns subscribe 256 fresh names of 64 bytes and go, %d times", p.fill, p.fills),
		fillDemand, "OPERATIONS.md, Redis", fillTopics,
	}}
}

func connInputs(p *plan) []input {
	third := (p.churn + 2) / 3
	stuck := func(reasons ...string) string { return fmt.Sprintf("%d × %s", p.stuck, strings.Join(reasons, " or ")) }
	return []input{
		{fmt.Sprintf("%d conns come and go: a third each by close, FIN and RST", p.churn),
			fmt.Sprintf("%d × gone; %d × peer_close, %d × peer_gone or peer_reset", p.churn, third, p.churn-third),
			"OPERATIONS.md", churn},
		{fmt.Sprintf("%d conns reset while they are written to", p.resets),
			fmt.Sprintf("%d × peer_reset or peer_gone", p.resets), "OPERATIONS.md", resetDuringWrites},
		{fmt.Sprintf("%d half-open conns without topics: a socket filter (SO_ATTACH_FILTER) drops all that comes", p.stuck),
			stuck(deaf...), "OPERATIONS.md", halfOpen(nil)},
		{fmt.Sprintf("%d half-open conns with all topics", p.stuck),
			stuck(deaf...), "OPERATIONS.md", halfOpen(allTopics())},
		{fmt.Sprintf("%d conns with all topics that never read, until the window is 0", p.stuck),
			stuck("slow_consumer"), "OPERATIONS.md", neverRead},
		{fmt.Sprintf("%d conns with all topics that read %d bytes per %v", p.stuck, trickle, trickleEvery),
			stuck("slow_consumer"), "OPERATIONS.md", trickling},
	}
}

// fillTopics has crowds subscribe names that nobody has had. They are not to stay.
func fillTopics(r *run) string {
	var heaps []float64 // MiB, after each time.
	for fill := range r.fills {
		if what := crowd(r.fill, 32, func(i int) string { return fillWith(r, fill, i) }); what != fmt.Sprintf("%d × goes on", r.fill) {
			return what
		}
		if r.short {
			break // The half minute for which topics linger is waited for at the end.
		}
		if err := r.edge.settled(true); err != nil {
			return err.Error()
		}
		heap, err := r.edge.heap()
		if err != nil {
			return err.Error()
		}
		heaps = append(heaps, heap/(1<<20))
		fmt.Fprintf(r.log, "        MiB of heap after each time: %.1f\n", heaps)
		if grown := heap/(1<<20) - heaps[0]; grown > heapMax {
			return fmt.Sprintf("heap larger by %.1f MiB than after the first time", grown)
		}
	}
	return fillDemand
}

// fillWith subscribes as many fresh names as a conn may have. They are taken, or there
// are too many topics already, or too many come at once.
func fillWith(r *run, fill, i int) string {
	rng := rand.New(rand.NewPCG(r.seed+uint64(fill), uint64(i)))
	names := list(universe, func(int) string {
		return fmt.Sprintf("%016x%016x%016x%016x", rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64())
	})
	what := r.edge.open("", i, 0, func(p *peer) string { return p.send(append(subscribe(names), alive...)) })
	if what == "ack, goes on" || strings.HasSuffix(what, "rejected 413, goes on") || strings.HasSuffix(what, "rejected 429, goes on") {
		return "goes on"
	}
	return what
}

// newNamesConns ask for twice as many names as one address may have at once.
const newNamesConns = 8

const newNamesDemand = "1,024 and some are let, rejected 429 for the others"

// newNames has one address ask for names that nobody has had.
func newNames(r *run) string {
	begin := time.Now()
	rejected := 0
	for i := range newNamesConns {
		p, err := r.edge.upgraded("")
		if err != nil {
			return err.Error()
		}
		defer p.Close()
		names := list(universe, func(k int) string { return fmt.Sprintf("new/%d/%d/%d", r.seed, i, k) })
		what := p.send(append(subscribe(names), alive...))
		var n int
		switch _, err := fmt.Sscanf(what, "%d × rejected 429, goes on", &n); {
		case err == nil:
			rejected += n
		case what == "rejected 429, goes on":
			rejected++
		case what != "ack, goes on":
			return what
		}
	}
	// The rate, and what was used up before.
	let, most := newNamesConns*universe-rejected, 1024+int(128*(time.Since(begin)+time.Second).Seconds())
	if let > most || let < 1024-universe {
		return fmt.Sprintf("%d are let, want %d at most", let, most)
	}
	return newNamesDemand
}

// churn opens conns and ends each at once, in one of three ways.
func churn(r *run) string {
	before := r.edge.closings()
	third := (r.churn + 2) / 3
	what := crowd(r.churn, 64, func(i int) string {
		return r.edge.open("", i, 0, func(p *peer) string {
			switch i % 3 {
			case 0:
				if what := p.send(closing(1000, "")); what != "close 1000" {
					return what
				}
			case 1:
				p.reset()
			}
			return "gone"
		})
	})
	return fmt.Sprintf("%s; %s, %s", what, r.edge.closed(before, third, patience, "peer_close"),
		r.edge.closed(before, r.churn-third, patience, "peer_gone", "peer_reset"))
}

// resetDuringWrites ends conns as soon as the first rows are on their way.
func resetDuringWrites(r *run) string {
	before := r.edge.closings()
	what := crowd(r.resets, 50, func(i int) string {
		return r.edge.open("?interval=100", i, smallBuffer, func(p *peer) string {
			_, _ = p.Write(allTopics())
			for range 1 + i%8 {
				if err := p.fill(); err != nil {
					return ending(err)
				}
			}
			p.reset()
			return "reset"
		})
	})
	if what != fmt.Sprintf("%d × reset", r.resets) {
		return what
	}
	return r.edge.closed(before, r.resets, patience, "peer_reset", "peer_gone")
}

// stuckPeers opens conns with little room for input, lets each do something, and waits
// until the edge has given all of them up.
func (r *run) stuckPeers(do func(*peer) error, reasons ...string) string {
	before := r.edge.closings()
	for i := range r.stuck {
		p, err := r.edge.upgradedBy("", i, smallBuffer)
		if err != nil {
			return err.Error()
		}
		defer p.reset()
		_ = p.SetDeadline(time.Time{})
		if err := do(p); err != nil {
			return err.Error()
		}
	}
	return r.edge.closed(before, r.stuck, stuckMax, reasons...)
}

// halfOpen is peers whose host has gone without a word. A filter of the socket drops what
// comes for it before TCP sees it, so nothing is ever acknowledged. Unlike a rule of the
// host's packet filter that needs no rights, and concerns nobody else.
func halfOpen(first []byte) func(*run) string {
	return func(r *run) string {
		return r.stuckPeers(func(p *peer) error {
			if _, err := p.Write(first); err != nil {
				return err
			}
			if len(first) > 0 { // Its rows are on their way.
				if err := p.fill(); err != nil {
					return err
				}
			}
			return p.dropAll()
		}, deaf...)
	}
}

// dropAll makes the kernel drop all packets for the socket: a filter that keeps 0 bytes.
func (p *peer) dropAll() error {
	raw, err := p.SyscallConn()
	if err != nil {
		return err
	}
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
	})
	return errors.Join(err, failed)
}

func neverRead(r *run) string {
	return r.stuckPeers(func(p *peer) error {
		_, err := p.Write(allTopics())
		return err
	}, "slow_consumer")
}

func trickling(r *run) string {
	return r.stuckPeers(func(p *peer) error {
		_, err := p.Write(allTopics())
		go func() {
			tick := time.NewTicker(trickleEvery)
			defer tick.Stop()
			var buf [trickle]byte
			for range tick.C {
				if _, err := p.Read(buf[:]); err != nil {
					return // The edge's reset, or our own at the end.
				}
			}
		}()
		return err
	}, "slow_consumer")
}
