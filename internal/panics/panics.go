// SPDX-License-Identifier: Apache-2.0

// Package panics is what becomes of a panic: an error of the goroutine that was at work, which
// is counted and logged, and costs a connection, a link or an attempt, and not all clients of
// the process. docs/OPERATIONS.md has a table of what ends where.
package panics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
)

// Part is a part of the edge that goes on after a panic.
type Part uint8

const (
	Conn      Part = iota // Handling a client's connection.
	Feed                  // A link to Redis, or a question to sentinels and nodes.
	Tokens                // Fetching the keys of tokens.
	Admin                 // A request to the admin port.
	Collector             // Fitting the garbage collector.
	Demo                  // The simulated market.
	History               // A request for history.
	Ready                 // Whether clients should be sent here, for -health-path.
	Alerts                // A request about alerts.
	Screens               // Screens: a condition, or what looks after them.
	Traces                // Exporting spans.
	Parts                 // Their number.
)

var partNames = [Parts]string{Conn: "conn", Feed: "feed", Tokens: "tokens", Admin: "admin", Collector: "collector", Demo: "demo", History: "history", Ready: "ready", Alerts: "alerts", Screens: "screens", Traces: "traces"}

func (p Part) String() string { return partNames[p] }

// counts are those of the process, as is a panic that nobody stops.
var counts [Parts]atomic.Uint64

// Count is how many panics of a part there were.
func Count(p Part) uint64 { return counts[p].Load() }

const (
	// textMax bounds what a panic says: it may quote what a peer has sent.
	textMax = 512
	// stackMax bounds a stack in the log. The innermost frames come first, and say most.
	stackMax = 4 << 10
)

// Hint is what an operator can do about a panic.
const Hint = "this is a bug of the edge: please report it, with the stack"

// Error is a panic.
type Error struct {
	text  string
	Stack string // Its innermost frames.
}

func (e *Error) Error() string { return "panic: " + e.text }

// Caught makes an error of what recover has returned, in the function that was deferred, and
// counts it.
//
// A fault in the topic table is not caught but ends the process. All conns and links share
// the table, and its locks may be held for ever now: what is left would hang, and not even
// say so.
func Caught(part Part, p any) *Error {
	if inTable(p) {
		text := fmt.Sprintf("a fault in the topic table: %v\n\n%s", p, debug.Stack())
		Ending()
		go panic(text) // Here, a library that calls us might catch it.
		select {}
	}
	return CaughtIn(part, p)
}

// CaughtIn is Caught for what the topic table calls, if that leaves the table as it was.
func CaughtIn(part Part, p any) *Error {
	counts[part].Add(1)
	return &Error{cut(fmt.Sprint(p), textMax), cut(string(debug.Stack()), stackMax)}
}

var beforeEnd atomic.Pointer[func()]

// BeforeEnd has f called before a panic ends the process, where that is known: the log has its last
// lines to write. The last caller decides.
func BeforeEnd(f func()) { beforeEnd.Store(&f) }

// Ending is to be called before a panic that nobody is to catch.
func Ending() {
	if f := beforeEnd.Load(); f != nil {
		(*f)()
	}
}

// tablePackage begins the names of the functions of the topic table.
const tablePackage = "tickedge/internal/topics."

// inTable reports whether a panic is a fault inside the topic table. A panic of its own
// words is none: it is said before anything is changed, of a caller who broke a rule.
func inTable(p any) bool {
	if _, fault := p.(runtime.Error); !fault {
		return false
	}
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	for {
		frame, more := frames.Next()
		if strings.HasPrefix(frame.Function, tablePackage) {
			return true
		}
		if !more {
			return false
		}
	}
}

func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// Try runs f and makes an error of a panic in it.
func Try(part Part, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = Caught(part, p)
		}
	}()
	return f()
}

// Attrs are the attributes of a log line about err: its stack, if it is a panic.
func Attrs(err error) []any {
	var f *Error
	if errors.As(err, &f) {
		return []any{"stack", f.Stack}
	}
	return nil
}

const (
	// After a panic, a part is started again within keepMin, and then within twice that each
	// time, up to keepMax. One that has run for longer than keepMax is taken to work again.
	keepMin = time.Second
	keepMax = time.Minute
)

// Keep runs f until it returns, and starts it again if it panics, until ctx ends.
func Keep(ctx context.Context, part Part, log *slog.Logger, f func(context.Context)) {
	wait := time.Duration(0)
	for {
		began := time.Now()
		err := Try(part, func() error { f(ctx); return nil })
		if err == nil || ctx.Err() != nil {
			return
		}
		if time.Since(began) > keepMax {
			wait = 0
		}
		wait = min(max(2*wait, keepMin), keepMax)
		log.Error("a part of the edge has failed and is started again", append([]any{
			"part", part.String(), "error", err, "retry_in", wait, "hint", Hint}, Attrs(err)...)...)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}
