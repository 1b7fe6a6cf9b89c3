// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"tickedge/bench/internal/swarm"
)

// workerMode is the hidden mode of a process that runs one swarm for another bench:
// a swarm.Config and then orders come on its stdin, one a line; reports leave on its
// stdout, one JSON object a line. It stops when its stdin ends.
const workerMode = "worker"

// member is one swarm and the way to it.
type member struct {
	orders chan swarm.Order // Room for all orders there can be, so that sending never waits.
}

// news is a report of a member, or the end of the member: nil without an error after
// its last report.
type news struct {
	from   int
	report *swarm.Report
	err    error
}

// crew is all swarms of a run. Owned by the goroutine that reads its news.
type crew struct {
	members []member
	news    chan news
}

// startCrew runs one swarm in this process, or several in a process each: one
// process may neither have enough descriptors nor enough CPU for all conns.
func startCrew(shares []swarm.Config) (*crew, error) {
	c := &crew{news: make(chan news, 64*len(shares))}
	for i, share := range shares {
		m := member{orders: make(chan swarm.Order, 2)}
		emit := func(r *swarm.Report) { c.news <- news{from: i, report: r} }
		if len(shares) == 1 {
			s, err := swarm.New(share)
			if err != nil {
				return nil, err
			}
			go func() { c.news <- news{from: i, err: s.Run(m.orders, emit)} }()
		} else {
			w, err := startWorker(share)
			if err != nil {
				c.stop()
				return nil, err
			}
			go w.forward(m.orders)
			go func() { c.news <- news{from: i, err: w.receive(emit)} }()
		}
		c.members = append(c.members, m)
	}
	return c, nil
}

func (c *crew) hold() {
	for _, m := range c.members {
		m.orders <- swarm.Hold
	}
}

// stop may be called once.
func (c *crew) stop() {
	for _, m := range c.members {
		close(m.orders)
	}
}

// worker is a process with one swarm.
type worker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out io.Reader
}

func startWorker(share swarm.Config) (*worker, error) {
	w := &worker{cmd: exec.Command("/proc/self/exe", workerMode)}
	w.cmd.Stderr = os.Stderr
	// An interrupt is for the parent, which then ends the run in order.
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var err error
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	if w.out, err = w.cmd.StdoutPipe(); err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	if err := json.NewEncoder(w.in).Encode(share); err != nil {
		return nil, fmt.Errorf("worker: send its share: %w", err)
	}
	return w, nil
}

// forward passes orders on. The end of orders ends the worker.
func (w *worker) forward(orders <-chan swarm.Order) {
	defer w.in.Close()
	for o := range orders {
		if _, err := fmt.Fprintln(w.in, o); err != nil {
			return // It is gone; receive says why.
		}
	}
}

// receive passes reports on until the worker ends.
func (w *worker) receive(emit func(*swarm.Report)) error {
	dec := json.NewDecoder(w.out)
	done := false
	for {
		r := swarm.NewReport(swarm.Connecting)
		if err := dec.Decode(r); err != nil {
			break
		}
		done = done || r.Done
		emit(r)
	}
	err := w.cmd.Wait()
	if err == nil && !done {
		return fmt.Errorf("worker %d: ended without a last report", w.cmd.Process.Pid)
	}
	if err != nil {
		return fmt.Errorf("worker %d: %w", w.cmd.Process.Pid, err)
	}
	return nil
}

// runWorker is the worker's side.
func runWorker(stdin io.Reader, stdout, stderr io.Writer) int {
	fail := func(err error) int {
		fmt.Fprintln(stderr, "bench worker:", err)
		return exitBad
	}
	in := bufio.NewReader(stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return fail(fmt.Errorf("read the share: %w", err))
	}
	var share swarm.Config
	if err := json.Unmarshal(line, &share); err != nil {
		return fail(fmt.Errorf("read the share: %w", err))
	}
	s, err := swarm.New(share)
	if err != nil {
		return fail(err)
	}
	orders := make(chan swarm.Order)
	go func() {
		defer close(orders)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			orders <- swarm.Order(line[:len(line)-1])
		}
	}()
	out := json.NewEncoder(stdout)
	if err := s.Run(orders, func(r *swarm.Report) { _ = out.Encode(r) }); err != nil {
		return fail(err)
	}
	return exitGood
}
