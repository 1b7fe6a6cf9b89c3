// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tickedge/bench/internal/procfs"
)

const (
	// readyTimeout bounds the time from a start until the program is ready. A busy
	// machine may take seconds.
	readyTimeout = 30 * time.Second
	readyEvery   = 10 * time.Millisecond
	// stopTimeout is how long a program has to end after SIGTERM. Then it is killed.
	stopTimeout = 10 * time.Second
)

// Spec says how a program is started.
type Spec struct {
	Name  string
	Path  string
	Args  []string
	Ready func() error // Asked until it returns nil. nil needs no waiting.
}

// Proc is a process that the lab started.
type Proc struct {
	Name string
	PID  int
	Log  string // The file with what it wrote.

	cmd  *exec.Cmd
	done chan struct{} // Closed when the process has ended and has been waited for.
}

// Start runs a program and returns when it is ready. If it does not get ready it has
// been ended, and the error holds the end of its log.
func (l *Lab) Start(s Spec) (*Proc, error) {
	if err := l.ctx.Err(); err != nil {
		return nil, fmt.Errorf("lab: start %s: %w", s.Name, err)
	}
	number := len(l.manifest.Processes) + 1
	p := &Proc{
		Name: s.Name, Log: filepath.Join(l.Dir, fmt.Sprintf("%03d-%s.log", number, s.Name)),
		cmd: exec.Command(s.Path, s.Args...), done: make(chan struct{}),
	}
	log, err := os.Create(p.Log)
	if err != nil {
		return nil, fmt.Errorf("lab: start %s: %w", s.Name, err)
	}
	defer log.Close() // The process has its own descriptor.
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Dir = l.Dir
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid: true, // An interrupt is for bench, which then ends the run in order.
		// If bench itself is killed, the kernel ends the process. The signal comes when
		// the thread that started it ends; threads of Go live as long as the process,
		// unless a goroutine ends that is locked to one. None is here.
		Pdeathsig: syscall.SIGKILL,
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("lab: start %s: %w", s.Name, err)
	}
	p.PID = p.cmd.Process.Pid
	go func() {
		_ = p.cmd.Wait() // ProcessState has it.
		close(p.done)
	}()
	l.procs = append(l.procs, p)
	l.manifest.Processes = append(l.manifest.Processes, process{
		Name: s.Name, PID: p.PID, Command: append([]string{s.Path}, s.Args...), Started: time.Now(),
	})
	err = l.writeManifest() // Now, so that it is there if bench is killed.
	if err == nil {
		err = l.await(p, s.Ready)
	}
	if err != nil {
		tail := p.tail()
		_ = l.Stop(p) // Only the first error matters.
		return nil, fmt.Errorf("lab: start %s: %w%s", s.Name, err, tail)
	}
	return p, nil
}

// await returns nil when ready does.
func (l *Lab) await(p *Proc, ready func() error) error {
	if ready == nil {
		return nil
	}
	deadline := time.After(readyTimeout)
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		err := ready()
		select {
		case <-p.done:
			// Whoever answered, it was not this process.
			return p.unexpected()
		default:
		}
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.unexpected()
		case <-l.ctx.Done():
			return l.ctx.Err()
		case <-deadline:
			return fmt.Errorf("not ready after %v: %w", readyTimeout, err)
		case <-tick.C:
		}
	}
}

// stop ends the process. It is an error if the process had ended before, or did not
// end by itself after SIGTERM.
func (p *Proc) stop() error {
	select {
	case <-p.done:
		return p.unexpected()
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // If it has just ended, done says so.
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	return fmt.Errorf("lab: %s (process %d) did not end within %v of SIGTERM and was killed; its log: %s", p.Name, p.PID, stopTimeout, p.Log)
}

func (p *Proc) unexpected() error {
	return fmt.Errorf("%s (process %d) ended by itself: %v; its log: %s", p.Name, p.PID, p.cmd.ProcessState, p.Log)
}

// Result reads the last line of what the process wrote, which is to be JSON, into res.
func (p *Proc) Result(res any) error {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return fmt.Errorf("lab: result of %s: %w", p.Name, err)
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	if err := json.Unmarshal(lines[len(lines)-1], res); err != nil {
		return fmt.Errorf("lab: result of %s: %w%s", p.Name, err, p.tail())
	}
	return nil
}

// Sample reads CPU, memory and descriptors.
func (p *Proc) Sample() (procfs.Sample, error) {
	s, err := procfs.Read(p.PID)
	if err != nil {
		err = fmt.Errorf("lab: sample %s: %w", p.Name, err)
	}
	return s, err
}

// CPU is the CPU time of all threads so far, to the nanosecond; that of a Sample is cut
// to 10 ms. What interrupts did while a thread ran counts with it, if the kernel does
// not keep books of them (CONFIG_IRQ_TIME_ACCOUNTING).
func (p *Proc) CPU() (time.Duration, error) {
	// The clock of another process, as clock_getcpuclockid(3) makes it up: the id of
	// the process inverted, and 2 for the time that the scheduler gave it.
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^p.PID<<3|2), &t); err != nil {
		return 0, fmt.Errorf("lab: CPU time of %s: %w", p.Name, err)
	}
	return time.Duration(t.Nano()), nil
}

// CPU is that of all processes.
func (s *Server) CPU() (sum time.Duration, err error) {
	for _, p := range s.Procs {
		cpu, err := p.CPU()
		if err != nil {
			return 0, err
		}
		sum += cpu
	}
	return sum, nil
}

// Usage is what a server used in a time.
type Usage struct{ CPU, Took time.Duration }

// Share is that of one core.
func (u Usage) Share() float64 { return u.CPU.Seconds() / u.Took.Seconds() }

// Use measures what a server uses while do runs.
func (s *Server) Use(do func() error) (u Usage, err error) {
	before, err := s.CPU()
	if err != nil {
		return u, err
	}
	began := time.Now()
	if err := do(); err != nil {
		return u, err
	}
	u.Took = time.Since(began)
	after, err := s.CPU()
	u.CPU = after - before
	return u, err
}

// tail is the end of the log, for an error.
func (p *Proc) tail() string {
	b, err := os.ReadFile(p.Log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "\n" + err.Error()
	}
	lines := strings.Split(string(bytes.TrimSpace(b)), "\n")
	const last = 10
	if len(lines) > last {
		lines = lines[len(lines)-last:]
	}
	if text := strings.Join(lines, "\n  "); text != "" {
		return "\n  " + text
	}
	return ""
}
