// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"tickedge/bench/internal/procfs"
	"tickedge/bench/internal/swarm"
)

const (
	// stopTimeout bounds the wait for the last reports.
	stopTimeout = 30 * time.Second
	// closeTimeout, for each conn and on top of stopTimeout, bounds the wait for the
	// conns to be closed. One takes about 20 µs, and many times that where the CPU is
	// emulated.
	closeTimeout = time.Millisecond
)

// holdRun is one run of the mode hold. Owned by one goroutine.
type holdRun struct {
	cfg    *holdConfig
	stderr io.Writer
	crew   *crew

	members []progress // Of each swarm.

	all    *swarm.Report // The whole run.
	held   *swarm.Report // The holding phase.
	second *swarm.Report // Since the last line of progress.

	began, connected, holding, ended time.Time
	lastLine                         time.Time
	parentCPU                        [3]time.Duration // Of this process if it has no swarm: at the last line, at the ends of holding.
	hosts                            [3]*hostSample   // Before, when held, after.
	unservedWorst                    int
	problems                         []string

	// watch may be nil. It is called outside of what counts as holding: before the
	// first connect, before holding, and after it with all conns still open; no more
	// after an error.
	watch    func(moment int) error
	watchErr error
}

// progress is how far one swarm is.
type progress struct {
	gauges   swarm.Gauges // The latest.
	ready    bool
	reported bool          // Since the last line of progress.
	told     bool          // Its last report came, or it is over.
	over     bool          // It has ended, and all its conns are closed.
	cpu      time.Duration // While holding.
}

func runHold(args []string, stdout, stderr io.Writer) int {
	cfg, err := parseHold(args, stdout)
	if err != nil {
		return flagError("hold", err, stderr)
	}
	shares, err := cfg.swarms()
	if err != nil {
		fmt.Fprintf(stderr, "bench hold: %v\n", err)
		return exitUsage
	}
	r := newHoldRun(cfg, stderr)
	if err := r.run(shares); err != nil {
		fmt.Fprintf(stderr, "bench hold: %v\n", err)
		return exitBad
	}
	res := r.judge()
	if cfg.json {
		err = writeJSON(stdout, res)
	} else {
		err = res.writeText(stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench hold: write the result: %v\n", err)
		return exitBad
	}
	if !res.Good {
		return exitBad
	}
	return exitGood
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func newHoldRun(cfg *holdConfig, stderr io.Writer) *holdRun {
	return &holdRun{
		cfg: cfg, stderr: stderr, members: make([]progress, cfg.workers),
		all: swarm.NewReport(swarm.Connecting), held: swarm.NewReport(swarm.Holding), second: swarm.NewReport(swarm.Connecting),
	}
}

// run connects, holds and stops. An error means that there is nothing to tell.
func (r *holdRun) run(shares []swarm.Config) error {
	r.look(atStart)
	r.hosts[0] = sampleHost(r.cfg.pids)
	for i, err := range r.hosts[0].errs {
		if err != nil {
			return fmt.Errorf("-pid %d: %w", r.cfg.pids[i], err)
		}
	}
	probe, err := net.DialTimeout("tcp", r.cfg.addr, 5*time.Second)
	if err != nil {
		return fmt.Errorf("no edge at %s: %w; start one, or name another with -addr", r.cfg.addr, err)
	}
	probe.Close()

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if r.crew, err = startCrew(shares); err != nil {
		return err
	}
	r.began = time.Now()
	r.lastLine, r.connected, r.parentCPU[0] = r.began, r.began, ownCPU()

	// As long as conns get ready there is hope, however slow the machine is. The first
	// part of the sum is the time between two connects.
	patience := time.Duration(float64(time.Second)/r.cfg.connRate) + r.cfg.handshakeTimeout + r.cfg.ackTimeout + 10*time.Second
	stalled, settled := time.NewTimer(patience), uint64(0)
	if r.until(stalled.C, signals, fmt.Sprintf("not all conns were ready, and for %v none came to be", patience), func() bool {
		if n := r.settled(); n != settled {
			settled = n
			stalled.Reset(patience)
		}
		return r.every(func(m *progress) bool { return m.ready })
	}) {
		r.connected = time.Now()
		if r.gauges().Open == 0 {
			r.problem("no conn was opened, so nothing was held")
		} else {
			r.look(atHold)
			r.hosts[1] = sampleHost(r.cfg.pids)
			r.holding, r.parentCPU[1] = time.Now(), ownCPU()
			r.crew.hold()
			r.until(time.After(r.cfg.hold), signals, "", func() bool { return r.gauges().Open == 0 })
			r.hosts[2] = sampleHost(r.cfg.pids)
			r.look(atEnd)
		}
	}
	r.ended, r.parentCPU[2] = time.Now(), ownCPU()
	r.crew.stop()
	r.until(time.After(stopTimeout), nil, "not all swarms sent a last report", func() bool { return r.every(func(m *progress) bool { return m.told }) })
	// The result is known by now. But what is measured next wants the ports and the
	// descriptors, and servers should not be ended before their clients.
	closing := stopTimeout + time.Duration(r.cfg.conns)*closeTimeout
	r.until(time.After(closing), nil, fmt.Sprintf("the conns were not all closed after %v", closing), func() bool { return r.every(func(m *progress) bool { return m.over }) })
	return nil
}

// Moments of a run.
const (
	atStart = iota // Nothing is connected.
	atHold         // Everything is; holding begins.
	atEnd          // Holding has ended, and everything is still connected.
)

func (r *holdRun) look(moment int) {
	if r.watch != nil && r.watchErr == nil {
		r.watchErr = r.watch(moment)
	}
}

// until takes news until done says so. It reports false if the
// time was over before, which is a problem if late names one, or if the run has to
// end early.
func (r *holdRun) until(over <-chan time.Time, signals <-chan os.Signal, late string, done func() bool) bool {
	for !done() {
		select {
		case n := <-r.crew.news:
			if !r.take(n) {
				return false
			}
		case s := <-signals:
			r.problem("stopped by a signal: " + s.String())
			return false
		case <-over:
			if late != "" {
				r.problem(late)
			}
			return false
		}
	}
	return true
}

// take adds one report. It reports false if a swarm failed.
func (r *holdRun) take(n news) bool {
	m := &r.members[n.from]
	if n.report == nil {
		m.told, m.over = true, true
		if n.err != nil {
			r.problem(n.err.Error())
			return false
		}
		return true
	}
	r.all.Merge(n.report)
	r.second.Merge(n.report)
	m.gauges, m.ready, m.told = n.report.Gauges, n.report.Ready, n.report.Done
	if n.report.Phase == swarm.Holding {
		r.held.Merge(n.report)
		m.cpu += n.report.CPU
		r.unservedWorst = max(r.unservedWorst, r.gauges().Unserved)
	}
	// A line of a clock of its own would now and then fall between two reports and
	// tell of a second without frames.
	if m.reported = true; r.every(func(m *progress) bool { return m.reported }) {
		r.line()
		for i := range r.members {
			r.members[i].reported = false
		}
	}
	return true
}

func (r *holdRun) problem(text string) { r.problems = append(r.problems, text) }

func (r *holdRun) gauges() (sum swarm.Gauges) {
	for i := range r.members {
		sum.Add(r.members[i].gauges)
	}
	return sum
}

// settled counts what has become of conns so far.
func (r *holdRun) settled() uint64 {
	return r.all.Connected + r.all.Refused.Total() + r.all.Lost.Total() + uint64(r.gauges().Acked)
}

// every reports whether something holds of all swarms.
func (r *holdRun) every(holds func(m *progress) bool) bool {
	for i := range r.members {
		if !holds(&r.members[i]) {
			return false
		}
	}
	return true
}

// ownCPU is the CPU time of this process so far.
func ownCPU() time.Duration {
	cpu, err := procfs.CPU(os.Getpid())
	if err != nil {
		panic("bench: own CPU time: " + err.Error())
	}
	return cpu
}

// holdCPU is what bench used while holding. A swarm in this process has counted the
// whole process.
func (r *holdRun) holdCPU() time.Duration {
	cpu := r.held.CPU
	if r.cfg.workers > 1 {
		cpu += r.parentCPU[2] - r.parentCPU[1]
	}
	return cpu
}

// line prints one line of progress about the time since the line before.
func (r *holdRun) line() {
	now, g, s := time.Now(), r.gauges(), r.second
	seconds := now.Sub(r.lastLine).Seconds()
	if seconds < 0.9 {
		return // Too short for rates, such as the end of a phase; the next line has it.
	}
	cpu := ownCPU()
	used := s.CPU
	if r.cfg.workers > 1 {
		used += cpu - r.parentCPU[0]
	}
	phase := swarm.Connecting
	if !r.holding.IsZero() {
		phase = swarm.Holding
	}
	p99 := "-"
	if s.Update.N() > 0 {
		p99 = fmt.Sprintf("%.0f", stalenessOf(s.Update).P99)
	}
	fmt.Fprintf(r.stderr, "%4.0fs %-7s conns %d frames/s %.0f rows/s %.0f MB/s %.1f p99 %s ms lost %d violations %d cpu %.0f%%\n",
		now.Sub(r.began).Seconds(), phase, g.Open, float64(s.Frames())/seconds, float64(s.Rows)/seconds,
		float64(s.Bytes)/1e6/seconds, p99, r.all.Lost.Total(), r.all.Violations.Total(), 100*used.Seconds()/seconds)
	r.second, r.lastLine, r.parentCPU[0] = swarm.NewReport(phase), now, cpu
}
