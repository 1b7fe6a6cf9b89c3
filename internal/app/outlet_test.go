// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// reader is the other side of an outlet. While it is stalled it takes nothing, and what it was given waits.
type reader struct {
	bytes.Buffer
	stalled chan struct{} // Nil, or closed when it goes on.
	fails   error
	most    int // Bytes that it takes of a write that fails.
}

func (r *reader) Write(p []byte) (int, error) {
	if r.stalled != nil {
		<-r.stalled
	}
	if r.fails != nil {
		n, _ := r.Buffer.Write(p[:min(r.most, len(p))])
		return n, r.fails
	}
	return r.Buffer.Write(p)
}

// outletTo runs a test with an outlet whose goroutine ends with it.
func outletTo(t *testing.T, r *reader, test func(o *outlet)) {
	synctest.Test(t, func(t *testing.T) {
		if r.stalled != nil {
			r.stalled = make(chan struct{}) // Of the bubble.
		}
		o := newOutlet(r)
		LogConfig{Level: "info", Format: "json"}.Logger(o)
		defer close(o.wake)
		test(o)
	})
}

// A reader that has stalled holds up nobody. What finds no room is dropped and counted, and when the
// reader goes on, a line in the form of the log says how many, in the place where they would have been.
func TestReaderThatStalls(t *testing.T) {
	r := &reader{stalled: make(chan struct{})}
	outletTo(t, r, func(o *outlet) {
		before := LinesDropped()
		line := strings.Repeat("x", 99) + "\n"
		const lines = 20_000
		taken := 0
		for i := range lines {
			if _, err := fmt.Fprintf(o, "%05d%s", i, line[5:]); err == nil {
				taken++
			} else if !errors.Is(err, errFull) {
				t.Fatal(err)
			}
		}
		if want := outletMax / len(line); taken < want-1 || taken > want+1 {
			t.Errorf("%d lines were taken, want %d bytes of them", taken, outletMax)
		}
		if n := LinesDropped() - before; n != uint64(lines-taken) {
			t.Errorf("%d lines are counted, want %d", n, lines-taken)
		}
		synctest.Wait()
		close(r.stalled)
		synctest.Wait()
		fmt.Fprintln(o, "later")
		synctest.Wait()
		got := strings.Split(strings.TrimSuffix(r.String(), "\n"), "\n")
		if len(got) != taken+2 || got[len(got)-1] != "later" {
			t.Fatalf("%d lines, want %d, what was dropped, and later", len(got), taken)
		}
		for i := range taken {
			if want := fmt.Sprintf("%05d%s", i, line[5:len(line)-1]); got[i] != want {
				t.Fatalf("line %d is %.20q…", i, got[i])
			}
		}
		if notice := got[taken]; !strings.Contains(notice, fmt.Sprintf(`"dropped":%d,`, lines-taken)) || !strings.Contains(notice, `"level":"WARN"`) {
			t.Errorf("it is told as %s", notice)
		}
	})
}

// A line that finds no room because of the one before it, which is under way, does not shut the log.
func TestRoomIsFoundAgain(t *testing.T) {
	r := &reader{stalled: make(chan struct{})}
	outletTo(t, r, func(o *outlet) {
		fmt.Fprintln(o, strings.Repeat("x", outletMax-2))
		synctest.Wait() // It is taken, and nothing waits.
		if _, err := fmt.Fprintln(o, "dropped"); err == nil {
			t.Error("it is taken")
		}
		close(r.stalled)
		synctest.Wait()
		if _, err := fmt.Fprintln(o, "later"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := r.String(); !strings.Contains(got, `"dropped":1,`) || !strings.HasSuffix(got, "\nlater\n") {
			t.Errorf("it says …%q", got[max(0, len(got)-300):])
		}
	})
}

// A line that can't be written, as the disk is full, is counted and costs nothing else. When writing works
// again it is told, on a line of its own.
func TestWritesThatFail(t *testing.T) {
	r := &reader{fails: errors.New("no space left on device"), most: 4}
	outletTo(t, r, func(o *outlet) {
		before := LinesDropped()
		for range 3 {
			fmt.Fprintln(o, "one of three")
			synctest.Wait()
		}
		if n := LinesDropped() - before; n != 3 {
			t.Errorf("%d lines are counted, want 3", n)
		}
		r.fails = nil
		fmt.Fprintln(o, "later")
		synctest.Wait()
		got := strings.Split(r.String(), "\n")
		n := len(got)
		if n < 3 || got[n-2] != "later" || !strings.HasPrefix(got[n-3], "{") || !strings.Contains(got[n-3], `"dropped":3,"error":"no space left on device"`) {
			t.Errorf("it says:\n%s", r.String())
		}
	})
}

// A file on a full disk is one of those, and the process goes on.
func TestFullDisk(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("only where there is a /dev/full")
	}
	defer f.Close()
	before := LinesDropped()
	o := newOutlet(f)
	fmt.Fprintln(o, "line")
	o.drain(patience)
	close(o.wake)
	if n := LinesDropped() - before; n != 1 {
		t.Errorf("%d lines are counted, want 1", n)
	}
}

// Lines go out whole, together as far as a pipe takes them as one, and those that are longer by themselves.
func TestPieces(t *testing.T) {
	var sizes pieces
	o := &outlet{to: &sizes}
	o.write([]byte(strings.Repeat("x", 3999) + "\n" + strings.Repeat("y", 95) + "\n" + "z\n" + strings.Repeat("w", 9999) + "\n" + "v\n"))
	if got := fmt.Sprint(sizes); got != "[4096 2 10000 2]" {
		t.Errorf("pieces of %s bytes", got)
	}
}

type pieces []int

func (p *pieces) Write(b []byte) (int, error) {
	*p = append(*p, len(b))
	return len(b), nil
}

// The end waits for the last lines, those that were swallowed included, and not for a reader that has
// stalled.
func TestEndOfTheLog(t *testing.T) {
	r := &reader{}
	outletTo(t, r, func(o *outlet) {
		log := LogConfig{Level: "info", Format: "text"}.Logger(o)
		for range throttleBurst + 3 {
			log.Info("flood")
		}
		o.end()
		if got := r.String(); strings.Count(got, "msg=flood") != throttleBurst+1 || !strings.Contains(got, "swallowed=3\n") {
			t.Errorf("before the end it said\n%s", got)
		}
	})
	r = &reader{stalled: make(chan struct{})}
	outletTo(t, r, func(o *outlet) {
		fmt.Fprintln(o, "line")
		begin := time.Now()
		o.end()
		if took := time.Since(begin); took != lastWords {
			t.Errorf("the end took %v", took)
		}
		close(r.stalled)
		synctest.Wait()
	})
}

// Logging into an outlet costs no more allocations than into a file.
func TestOutletAllocatesNothing(t *testing.T) {
	o := newOutlet(io.Discard)
	defer close(o.wake)
	line := []byte("a line\n")
	o.Write(line)
	o.drain(patience)
	if n := testing.AllocsPerRun(1000, func() { o.Write(line) }); n > 0.1 { // Its buffers grow.
		t.Errorf("%v allocations a line", n)
	}
}
