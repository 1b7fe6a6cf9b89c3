// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"tickedge/internal/panics"
	"tickedge/internal/sdnotify"
)

// Supervisor is who has started the program and wants to know how it is: systemd with Type=notify. Nil is nobody.
type Supervisor struct {
	socket *sdnotify.Socket
	signs  time.Duration // At most between two signs of life; 0 if none is asked for.
	log    *slog.Logger
	ready  atomic.Bool // It was told so, and nothing since that says otherwise.
}

// lookEvery is between two looks at whether the program is ready. Tests change it.
var lookEvery = 250 * time.Millisecond

// FindSupervisor reads from the environment who wants to know how this process is.
func FindSupervisor(log *slog.Logger) *Supervisor {
	socket, err := sdnotify.Open(os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		log.Warn("nobody is told when the program is ready", "error", err)
	}
	if socket == nil {
		return nil
	}
	signs, err := watchdog(os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID"), os.Getpid())
	if err != nil {
		log.Warn("there are no signs of life for a watchdog", "error", err)
	}
	return &Supervisor{socket: socket, signs: signs, log: log}
}

// watchdog returns how often there is to be a sign of life: twice in the time after which a supervisor takes the program for dead.
func watchdog(usec, of string, pid int) (every time.Duration, err error) {
	if usec == "" || of != "" && of != strconv.Itoa(pid) {
		return 0, nil
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || n < 2 || n > int64(time.Hour*24*365/time.Microsecond) {
		return 0, fmt.Errorf("WATCHDOG_USEC is %q, want microseconds: see WatchdogSec= of the unit", usec)
	}
	return time.Duration(n) * time.Microsecond / 2, nil
}

// Watch tells the supervisor that the program is ready when it is, that it is stopping when ctx ends, and what ready says in between,
// and gives signs of life as long as alive has no error, until what it returns is called. Nil for alive is that the process runs.
func (s *Supervisor) Watch(ctx context.Context, ready func() (warning string, err error), alive func(context.Context) error) (end func()) {
	if s == nil {
		return func() {}
	}
	work, cancel := context.WithCancel(context.Background())
	done, w := make(chan struct{}), &watched{Supervisor: s, ready: ready, alive: alive}
	go func() {
		defer close(done)
		panics.Keep(work, panics.Ready, s.log, func(work context.Context) { w.run(work, ctx) })
	}()
	return func() {
		cancel()
		<-done
	}
}

// Reload tells the supervisor that the program reads its configuration anew, and when it has. Of one that is not ready yet, or is
// stopping, it is told nothing.
func (s *Supervisor) Reload(reload func()) {
	if s != nil && s.ready.Load() {
		s.say(sdnotify.Reloading())
		defer s.say(sdnotify.Ready)
	}
	reload()
}

// say does not tell why it can't: who watches does.
func (s *Supervisor) say(states ...string) { _ = s.socket.Send(states...) }

// watched is what a supervisor knows of a program.
type watched struct {
	*Supervisor
	ready func() (warning string, err error)
	alive func(context.Context) error

	isReady, stopping, failed bool
	status                    string
	signed                    time.Time // The last sign of life.
}

func (w *watched) run(work, stop context.Context) {
	look := time.NewTicker(w.period())
	defer look.Stop()
	stopped := stop.Done()
	w.look()
	for {
		select {
		case <-work.Done():
			if stop.Err() != nil {
				w.stop() // Both may have ended at once.
			}
			return
		case <-stopped:
			w.stop()
			stopped = nil
		case <-look.C:
		}
		w.look()
		w.sign(work)
	}
}

// period is short enough for signs of life.
func (w *watched) period() time.Duration {
	if w.signs == 0 {
		return lookEvery
	}
	return min(lookEvery, max(w.signs/2, time.Millisecond))
}

func (w *watched) stop() {
	if !w.stopping {
		w.stopping = true
		w.Supervisor.ready.Store(false)
		w.send(sdnotify.Stopping, sdnotify.Status("stopping"))
	}
}

// look tells what has changed since the last look.
func (w *watched) look() {
	if w.stopping {
		return
	}
	warning, err := w.ready()
	status, states := "ready", []string(nil)
	switch {
	case err != nil:
		status = "not ready: " + err.Error()
	case warning != "":
		status = "ready; " + warning
	}
	if err == nil && !w.isReady {
		w.isReady, states = true, append(states, sdnotify.Ready)
	}
	if status != w.status || states != nil {
		w.status = status
		w.send(append(states, sdnotify.Status(status))...)
		w.Supervisor.ready.Store(w.isReady)
	}
}

// sign gives a sign of life, if it is time for one and there is life.
func (w *watched) sign(work context.Context) {
	if w.signs == 0 || time.Since(w.signed) < w.signs/2 {
		return
	}
	if w.alive != nil {
		ctx, cancel := context.WithTimeout(work, w.signs)
		defer cancel()
		if err := w.alive(ctx); err != nil {
			if work.Err() == nil {
				w.log.Warn("the watchdog gets no sign of life", "error", err)
			}
			return
		}
	}
	w.signed = time.Now()
	w.send(sdnotify.Alive)
}

// send tells the log once that it can't.
func (w *watched) send(states ...string) {
	if err := w.socket.Send(states...); err != nil && !w.failed {
		w.failed = true
		w.log.Warn("the supervisor does not hear how the program is", "error", err, "hint", "see NotifyAccess= of the unit")
	}
}
