// SPDX-License-Identifier: Apache-2.0

// Package app has what all programs have alike beside their flags and their admin port: exit
// codes, signals and the log. The wiring of each program is a package below it.
package app

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"tickedge/internal/panics"
)

// Exit codes.
const (
	OK     = 0
	Failed = 1 // Something failed; the log says what.
	Usage  = 2 // A flag or an environment variable is wrong.
)

// oneIntent is how long after the first signal another one says the same and not that it has to be
// at once: timeout(1) signals the process and then its group, and a Ctrl-C reaches a process from its
// terminal and from a supervisor that passes it on.
var oneIntent = 100 * time.Millisecond

// Main is what the main function of a program calls. ctx ends with the first signal to stop; a
// second one, later than a tenth of a second, ends the process. What run writes to stderr holds it up for nothing, and at its end,
// which is that of the process too, the last lines are tried for a moment. Main does not return.
//
// A signal about standard error is no reason to end, or to stand still: that its reader has gone
// (SIGPIPE), or that it is the terminal of somebody else now (SIGTTOU).
func Main(run func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) (code int)) {
	signal.Ignore(syscall.SIGPIPE, syscall.SIGTTOU)
	stderr := newOutlet(takeStderr())
	panics.BeforeEnd(stderr.end)
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		first := time.Now()
		cancel()
		again := <-signals
		for time.Since(first) < oneIntent {
			again = <-signals
		}
		signal.Stop(signals) // Nothing is in the way of a third one.
		slog.Warn("the process ends at once, as it was told to a second time", "signal", again.String())
		stderr.end()
		_ = syscall.Kill(os.Getpid(), again.(syscall.Signal)) // So that its parent sees what has ended it.
		time.Sleep(lastWords)
		os.Exit(Failed) // That signal was ignored when the process began.
	}()
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, stderr)
	stderr.end()
	os.Exit(code)
}
