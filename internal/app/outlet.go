// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// outletMax bounds what waits to be written. It is 4,000 lines or more, which a reader
	// that is alive takes in some hundredths of a second.
	outletMax = 1 << 20
	// pieceMax is what a pipe takes as one, or not at all (PIPE_BUF): lines of several
	// processes that share a pipe are not mixed.
	pieceMax = 4 << 10
)

// lastWords is how long the end of a process may wait for its log.
var lastWords = time.Second

// linesDropped are those of the process, as its standard error is.
var linesDropped atomic.Uint64

// LinesDropped is how many lines the log has lost: as it was not read as fast as they came, or
// as writing them has failed.
func LinesDropped() uint64 { return linesDropped.Load() }

// outlet is the standard error of a program. A reader that has stalled, a full disk, a terminal
// on hold and a reader that has gone must cost the log and nothing else. So what is written to an
// outlet is copied, and one goroutine, which may wait for as long as it takes, writes it on. When
// outletMax bytes are on their way there is no room for more: lines are dropped and counted, and
// when there is room again a line says how many.
//
// Its methods may be called from any goroutine. None of them waits for the other side, but for
// end.
type outlet struct {
	to   io.Writer
	wake chan struct{} // Has an element when there may be something to do.

	mu      sync.Mutex
	lines   []byte // What waits.
	writing int    // Bytes of what the goroutine has taken, and not got rid of yet.
	lost    uint64 // Lines that found no room, since the goroutine has taken the last ones.
	asked   []chan struct{}
	notice  func(lost uint64, why string) []byte // The line that says how many were dropped.
	ending  []func()                             // What has something to say before the end.

	// The goroutine's.
	untold uint64 // Lines dropped of which no line has told.
	why    string // The reason for the last of them.
	torn   bool   // What was written last is a part of a line.
}

func newOutlet(to io.Writer) *outlet {
	o := &outlet{to: to, wake: make(chan struct{}, 1)}
	go o.run()
	return o
}

var errFull = errors.New("the log is not read as fast as lines come")

// Write takes whole lines. Once a line found no room, none does until the goroutine has taken
// those that wait: so the line that tells of it stands where they would have stood.
func (o *outlet) Write(p []byte) (int, error) {
	o.mu.Lock()
	full := o.lost > 0 || len(o.lines)+o.writing+len(p) > outletMax
	if full {
		n := countLines(p)
		o.lost += n
		linesDropped.Add(n)
	} else {
		o.lines = append(o.lines, p...)
	}
	o.mu.Unlock()
	o.signal() // Of a dropped line too: there may be no other to write.
	if full {
		return 0, errFull
	}
	return len(p), nil
}

func (o *outlet) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// countLines counts a line that is not whole as one.
func countLines(p []byte) uint64 {
	n := bytes.Count(p, []byte{'\n'})
	if len(p) > 0 && p[len(p)-1] != '\n' {
		n++
	}
	return uint64(n)
}

// speak says how an outlet is to tell of dropped lines, and what has something to say when the
// process ends.
func (o *outlet) speak(handler func(io.Writer) slog.Handler, ending func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.notice = func(lost uint64, why string) []byte {
		var line bytes.Buffer
		slog.New(handler(&line)).Warn("lines of the log were dropped", "dropped", lost, "error", why,
			"hint", "see who reads standard error, and whether its disk is full; -log-level info has fewer lines than debug")
		return line.Bytes()
	}
	o.ending = append(o.ending, ending)
}

// run is the goroutine that writes. It does not end.
func (o *outlet) run() {
	var taken []byte
	for range o.wake {
		o.mu.Lock()
		taken, o.lines = o.lines, taken[:0]
		lost, asked := o.lost, o.asked
		o.writing, o.lost, o.asked = len(taken), 0, nil
		o.mu.Unlock()

		o.tell() // Of lines that could not be written: those that come now stood behind them.
		o.write(taken)
		if lost > 0 {
			o.untold += lost
			o.why = errFull.Error()
			o.tell()
		}
		for _, done := range asked {
			close(done)
		}
	}
}

// write writes lines, piece by piece.
func (o *outlet) write(lines []byte) {
	for len(lines) > 0 {
		piece := lines
		if len(piece) > pieceMax {
			end := bytes.LastIndexByte(piece[:pieceMax], '\n') + 1
			if end == 0 { // A line longer than that.
				end = bytes.IndexByte(piece, '\n') + 1
			}
			if end > 0 {
				piece = piece[:end]
			}
		}
		if n, err := o.put(piece); err != nil {
			failed := countLines(piece[n:])
			linesDropped.Add(failed)
			o.untold += failed
			o.why = err.Error()
		}
		lines = lines[len(piece):]
		o.mu.Lock()
		o.writing -= len(piece)
		o.mu.Unlock()
	}
}

// put writes to the other side. A line that was torn by a failure ends before it.
func (o *outlet) put(p []byte) (n int, err error) {
	if o.torn {
		if _, err = o.to.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		o.torn = false
	}
	n, err = o.to.Write(p)
	o.torn = n > 0 && p[n-1] != '\n'
	return n, err
}

// tell says how many lines were dropped. If that can't be said now either, it is said later.
func (o *outlet) tell() {
	if o.untold == 0 {
		return
	}
	o.mu.Lock()
	notice := o.notice
	o.mu.Unlock()
	if notice == nil {
		return // Nobody has said yet how the log looks.
	}
	if _, err := o.put(notice(o.untold, o.why)); err == nil {
		o.untold = 0
	}
}

// drain waits until what was written before is written on, for at most the time given.
func (o *outlet) drain(atMost time.Duration) {
	done := make(chan struct{})
	o.mu.Lock()
	o.asked = append(o.asked, done)
	o.mu.Unlock()
	o.signal()
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// end is drain before the end of the process: also for what was held back.
func (o *outlet) end() {
	o.mu.Lock()
	ending := o.ending
	o.mu.Unlock()
	for _, f := range ending {
		f()
	}
	o.drain(lastWords)
}
