// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tickedge/internal/logtest"
	"tickedge/internal/nettest"
)

// supervisor is a stand-in for systemd: what it is told comes line by line.
type supervisor struct {
	t  *testing.T
	ln *net.UnixConn

	lines []string
}

func newSupervisor(t *testing.T) *supervisor {
	t.Helper()
	ln := nettest.NotifySocket(t)
	t.Setenv("WATCHDOG_USEC", "")
	t.Setenv("WATCHDOG_PID", "")
	old := lookEvery
	t.Cleanup(func() { lookEvery = old })
	lookEvery = time.Millisecond
	return &supervisor{t: t, ln: ln}
}

// next is the next line that is no sign of life.
func (s *supervisor) next() string {
	s.t.Helper()
	for {
		if line := s.any(); line != "WATCHDOG=1" {
			return line
		}
	}
}

func (s *supervisor) any() string {
	s.t.Helper()
	if len(s.lines) == 0 {
		message := make([]byte, 1<<12)
		if err := s.ln.SetReadDeadline(time.Now().Add(patience)); err != nil {
			s.t.Fatal(err)
		}
		n, err := s.ln.Read(message)
		if err != nil {
			s.t.Fatal(err)
		}
		s.lines = strings.Split(string(message[:n]), "\n")
	}
	line := s.lines[0]
	s.lines = s.lines[1:]
	return line
}

func (s *supervisor) wants(lines ...string) {
	s.t.Helper()
	for _, want := range lines {
		if got := s.next(); got != want {
			s.t.Fatalf("it was told %q, want %q", got, want)
		}
	}
}

// A supervisor hears why the program is not ready, once that it is, what is odd, and that it stops. There is nothing after that.
func TestSupervisorIsTold(t *testing.T) {
	s := newSupervisor(t)
	t.Setenv("WATCHDOG_USEC", "4000")
	var state atomic.Pointer[string]
	set := func(text string) { state.Store(&text) }
	set("no feed")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	end := FindSupervisor(slog.New(slog.DiscardHandler)).Watch(ctx, func() (string, error) {
		switch text := *state.Load(); text {
		case "":
			return "", nil
		case "odd":
			return text, nil
		default:
			return "", errors.New(text)
		}
	}, nil)
	s.wants("STATUS=not ready: no feed")
	set("no keys\nREADY=1")
	s.wants("STATUS=not ready: no keys READY=1")
	set("")
	s.wants("READY=1", "STATUS=ready")
	set("odd")
	s.wants("STATUS=ready; odd")
	set("gone")
	s.wants("STATUS=not ready: gone")
	set("")
	s.wants("STATUS=ready") // And not READY=1 another time.
	stop()
	s.wants("STOPPING=1", "STATUS=stopping")
	set("odd")
	for range 3 { // A sign of life comes behind a look.
		if got := s.any(); got != "WATCHDOG=1" {
			t.Errorf("at the end it was told %q", got)
		}
	}
	end()
}

// A supervisor hears of a reload and its end, but not before the program is ready, nor when it stops: READY=1 would be untrue.
func TestSupervisorHearsOfReloads(t *testing.T) {
	s := newSupervisor(t)
	var up atomic.Bool
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	of, reloads := FindSupervisor(slog.New(slog.DiscardHandler)), 0
	end := of.Watch(ctx, func() (string, error) {
		if !up.Load() {
			return "", errors.New("no feed")
		}
		return "", nil
	}, nil)
	defer end()
	s.wants("STATUS=not ready: no feed")
	of.Reload(func() { reloads++ })
	up.Store(true)
	s.wants("READY=1", "STATUS=ready")
	for begin := time.Now(); !of.ready.Load(); {
		if time.Since(begin) > patience {
			t.Fatal("it does not know that it has told so")
		}
		runtime.Gosched()
	}
	of.Reload(func() {
		reloads++
		s.wants("RELOADING=1")
		usec, isMonotonic := strings.CutPrefix(s.next(), "MONOTONIC_USEC=")
		if n, err := strconv.ParseUint(usec, 10, 64); !isMonotonic || err != nil || n == 0 {
			t.Errorf("the time of the reload is %s", usec)
		}
	})
	s.wants("READY=1")
	stop()
	s.wants("STOPPING=1", "STATUS=stopping")
	of.Reload(func() { reloads++ })
	(*Supervisor)(nil).Reload(func() { reloads++ })
	end()
	if s.waits() || reloads != 4 {
		t.Errorf("there is more to hear, or %d reloads were made of 4", reloads)
	}
}

// waits reports whether something is there to be read. Whatever is said was said before.
func (s *supervisor) waits() bool {
	s.t.Helper()
	if len(s.lines) > 0 {
		return true
	}
	if err := s.ln.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		s.t.Fatal(err)
	}
	message := make([]byte, 1<<12)
	n, err := s.ln.Read(message)
	if err == nil {
		s.lines = strings.Split(string(message[:n]), "\n")
	}
	return err == nil
}

// A program that ends at once has said that it stops.
func TestSupervisorIsToldOfASuddenEnd(t *testing.T) {
	s := newSupervisor(t)
	lookEvery = time.Hour
	ctx, stop := context.WithCancel(t.Context())
	end := FindSupervisor(slog.New(slog.DiscardHandler)).Watch(ctx, func() (string, error) { return "", nil }, nil)
	s.wants("READY=1", "STATUS=ready")
	stop()
	end()
	s.wants("STOPPING=1", "STATUS=stopping")
}

// Signs of life are given while there is life, also while the program stops, and to nobody else's watchdog.
func TestWatchdog(t *testing.T) {
	s := newSupervisor(t)
	t.Setenv("WATCHDOG_USEC", "4000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	var dead atomic.Bool
	asked := make(chan struct{}, 1)
	alive := func(ctx context.Context) error {
		if !dead.Load() {
			return nil
		}
		select {
		case asked <- struct{}{}:
		default:
		}
		<-ctx.Done()
		return ctx.Err()
	}
	var out logtest.Log
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	end := FindSupervisor(slog.New(slog.NewTextHandler(&out, nil))).Watch(ctx, func() (string, error) { return "", nil }, alive)
	s.wants("READY=1", "STATUS=ready")
	for range 3 {
		if got := s.any(); got != "WATCHDOG=1" {
			t.Fatalf("%q", got)
		}
	}
	stop()
	s.wants("STOPPING=1", "STATUS=stopping")
	for range 3 {
		if got := s.any(); got != "WATCHDOG=1" {
			t.Fatalf("%q", got)
		}
	}
	dead.Store(true)
	<-asked
	for s.waits() { // Signs of when it was alive.
		s.any()
	}
	<-asked
	end()
	if s.waits() {
		t.Errorf("it was told %q of a program without life", s.any())
	}
	if !strings.Contains(out.String(), "the watchdog gets no sign of life") {
		t.Errorf("the log has %s", out.String())
	}
	for _, c := range []struct {
		usec, of string
		want     time.Duration
		bad      bool
	}{
		{"", "", 0, false}, {"30000000", "", 15 * time.Second, false}, {"30000000", "7", 15 * time.Second, false}, {"30000000", "8", 0, false},
		{"soon", "", 0, true}, {"-5", "", 0, true}, {"0", "", 0, true}, {"9223372036854775807", "", 0, true},
	} {
		if got, err := watchdog(c.usec, c.of, 7); got != c.want || (err != nil) != c.bad {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
	}
}

// Nobody, or somebody who can't be told, is no reason not to run.
func TestNoSupervisor(t *testing.T) {
	newSupervisor(t)
	var out logtest.Log
	log := slog.New(slog.NewTextHandler(&out, nil))
	for addr, want := range map[string]string{"": "", "nonsense": "nobody is told when", filepath.Join(t.TempDir(), "gone"): "does not hear how"} {
		out.Reset()
		t.Setenv("NOTIFY_SOCKET", addr)
		asked := make(chan struct{}, 1<<10)
		end := FindSupervisor(log).Watch(t.Context(), func() (string, error) { asked <- struct{}{}; return "", nil }, nil)
		if want == "does not hear how" {
			<-asked
		}
		end()
		if got := out.String(); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%q: %s", addr, got)
		}
	}
}
