// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/panjf2000/gnet/v2"
	gneterrors "github.com/panjf2000/gnet/v2/pkg/errors"
	"golang.org/x/sys/unix"
)

// Accept fails when this process or the host has no descriptor left, when memory is
// short, or when a rule of the host forbids it. Admission is there to prevent the first;
// whatever fails, the conns that are there must live. So a loop whose accept has failed
// takes its listener out of epoll, and tries again a while later. Clients wait in the
// kernel's queue meanwhile.

// acceptPause is how long a loop does not accept after it could not. Two attempts a second
// cost nothing, and clients wait for longer than that.
const acceptPause = 500 * time.Millisecond

// acceptPace is how long a loop waits after a failed accept where its listener can't be
// taken out: it would be called again at once, for ever.
const acceptPace = 10 * time.Millisecond

// gnet ends an engine, and with it all conns of the loop, when errors.Is finds
// ErrAcceptSocket in what its accept has returned. It never finds a value that can't be
// compared, as this one, and so the engine goes on.
func init() { gneterrors.ErrAcceptSocket = failedAccept{"gnet: accept has failed"} }

type failedAccept []string

func (e failedAccept) Error() string { return e[0] }

// engineLog lets one engine log through slog. What gnet says at info is of no interest to an
// operator. By what it says before it returns ErrAcceptSocket, on the goroutine of the loop,
// the loop learns that accept has failed and why.
type engineLog struct {
	log    *slog.Logger
	engine *engine
}

func (g engineLog) say(level slog.Level, format string, args []any) {
	if ctx := context.Background(); g.log.Enabled(ctx, level) {
		g.log.Log(ctx, level, "gnet", "text", fmt.Sprintf(format, args...))
	}
}

func (g engineLog) Debugf(format string, args ...any) { g.say(slog.LevelDebug, format, args) }
func (g engineLog) Infof(format string, args ...any)  { g.say(slog.LevelDebug, format, args) }
func (g engineLog) Warnf(format string, args ...any)  { g.say(slog.LevelWarn, format, args) }
func (g engineLog) Fatalf(format string, args ...any) { g.say(slog.LevelError, format, args) }

func (g engineLog) Errorf(format string, args ...any) {
	if strings.HasPrefix(format, "Accept() failed") && len(args) == 1 {
		if err, ok := args[0].(error); ok {
			g.engine.acceptFailed(err)
			return
		}
	}
	g.say(slog.LevelError, format, args)
}

// acceptFailed stops accepting for a while. The log has one line when the first loop can't
// accept, and one when the last of them can again.
func (e *engine) acceptFailed(err error) {
	s := e.server
	s.acceptFailures.Add(1)
	if !e.failing {
		e.failing = true
		if s.failing.Add(1) == 1 {
			s.cfg.Log.Error("accepting connections fails, so new ones have to wait; those that are here stay",
				"error", err, "hint", acceptHint(err), "retry_every", acceptPause)
		}
	}
	epoll, ok := e.holdListener()
	if !ok {
		time.Sleep(acceptPace)
		return
	}
	e.held <- epoll // The driver has taken the last one, or the listener would not be back.
}

// accepted notes that accept works, and that there is something to turn for.
func (e *engine) accepted(gc gnet.Conn) {
	if e.events.Load() == nil {
		events := gc.EventLoop()
		e.events.Store(&events)
	}
	e.awake.Store(true)
	if e.failing {
		e.failing = false
		if e.server.failing.Add(-1) == 0 {
			e.server.cfg.Log.Info("connections are accepted again")
		}
	}
}

// acceptHint says what an operator can do about a failed accept.
func acceptHint(err error) string {
	switch {
	case errors.Is(err, unix.EMFILE):
		return "this process has no descriptor left: raise its limit of open files (LimitNOFILE=, ulimit -n), or lower -max-conns; edge doctor says how many it can hold"
	case errors.Is(err, unix.ENFILE):
		return "this host has no descriptor left: raise fs.file-max, or find the process that has them (edge doctor, lsof)"
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS):
		return "the kernel has no memory for another socket: lower -max-conns, or give the host or the control group more (edge doctor)"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "a rule of this host forbids it: look into its firewall and its security modules"
	}
	return "see what accept(2) says of this error"
}
