// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"

	"tickedge/internal/broker/redis/redistest"
)

var longLog = flag.Bool("long-log", false, "1,000 clients at 20,000 ticks a second see no gap over a second for a minute, with a log that nobody reads")

// destination is where a log goes.
type destination struct {
	name  string
	end   *os.File      // For the edge.
	lines *bufio.Reader // What it says, until it is held.
	gone  bool
	hold  func(t *testing.T) // From here on nobody reads it.
}

// pipeOf is a pipe with little room.
func pipeOf(t *testing.T) (read, write *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close(); write.Close() })
	if _, err := unix.FcntlInt(write.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	return read, write
}

// terminal is a terminal, of which the test is the screen and the keyboard.
func terminal(t *testing.T) (screen, end *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetUint32(int(screen.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		end, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close(); end.Close() })
	return screen, end
}

func destinations(t *testing.T) []*destination {
	stalled, stalledEnd := pipeOf(t)
	gone, goneEnd := pipeOf(t)
	screen, screenEnd := terminal(t)
	return []*destination{
		{"a pipe whose reader has stopped", stalledEnd, bufio.NewReader(stalled), false, func(*testing.T) {}},
		{"a pipe whose reader has gone", goneEnd, bufio.NewReader(gone), true, func(*testing.T) { gone.Close() }},
		{"a terminal on hold", screenEnd, bufio.NewReader(screen), false, func(t *testing.T) {
			if _, err := screen.Write([]byte{'S' & 0x1f}); err != nil { // Ctrl-S.
				t.Error(err)
			}
		}},
	}
}

// load is what the edge has to do meanwhile.
type load struct {
	clients int
	ticks   string        // A second.
	every   time.Duration // The time between two connections that come and go, each of which is a line.
	binary  string
}

// startLogging starts an edge whose log goes to a destination, and holds that when the edge listens.
func startLogging(t *testing.T, to *destination, by load) *edge {
	t.Helper()
	e := &edge{t: t, done: make(chan struct{})}
	e.cmd = exec.Command(by.binary, "-demo", "-demo-symbols", "AAPL,MSFT", "-demo-rate", by.ticks, "-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0",
		"-drain", "1s", "-log-format", "json", "-log-level", "debug")
	e.cmd.Stderr = to.end
	e.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1")
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	to.end.Close()
	go func() {
		_ = e.cmd.Wait() // The code says it all.
		e.code = e.cmd.ProcessState.ExitCode()
		close(e.done)
	}()
	t.Cleanup(func() { _ = e.cmd.Process.Kill(); <-e.done })
	for e.addr == "" || e.admin == "" {
		text, err := to.lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		var line struct{ Msg, Addr string }
		_ = json.Unmarshal(text, &line)
		switch line.Msg {
		case "admin port open":
			e.admin = line.Addr
		case "listening":
			e.addr = line.Addr
		}
	}
	to.hold(t)
	return e
}

// hearer is a client that notes when its updates come.
type hearer struct {
	updates atomic.Int64
	last    atomic.Int64 // In Unix nanoseconds.
	gap     atomic.Int64 // The longest between two.
	end     error
}

func (l *hearer) hear(ws *websocket.Conn) {
	for {
		_, b, err := ws.Read(context.Background())
		if err != nil {
			l.end = err
			return
		}
		var m struct{ T string }
		if json.Unmarshal(b, &m) != nil || m.T != "update" {
			continue
		}
		now := time.Now().UnixNano()
		if last := l.last.Swap(now); last != 0 {
			l.gap.Store(max(l.gap.Load(), now-last))
		}
		l.updates.Add(1)
	}
}

// hearers connects clients.
func hearers(e *edge, n int, query string) (all []*hearer, ended *sync.WaitGroup) {
	ended = new(sync.WaitGroup)
	for range n {
		l := new(hearer)
		ws := e.dial(query).ws
		ended.Go(func() { l.hear(ws) })
		all = append(all, l)
	}
	return all, ended
}

// visit has n connections come and go, or until ctx ends, which is what fills a log at debug.
func visit(ctx context.Context, addr string, n int, every time.Duration) {
	pace := time.NewTicker(every)
	defer pace.Stop()
	for ; n > 0 && ctx.Err() == nil; n-- {
		c, err := net.DialTimeout("tcp", addr, patience)
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(patience))
			_, _ = c.Write([]byte("GET /none HTTP/1.1\r\nHost: x\r\n\r\n"))
			_, _ = c.Read(make([]byte, 512))
			c.Close()
		}
		select {
		case <-ctx.Done():
		case <-pace.C:
		}
	}
}

// A log that nobody reads costs its lines, which are counted, and nothing else: clients go on getting what
// they are subscribed to, the admin port answers, and SIGTERM drains.
func TestNobodyReadsTheLog(t *testing.T) {
	t.Parallel()
	by, query := load{clients: 5, ticks: "500", every: time.Millisecond, binary: binary}, "?topics=AAPL,MSFT&interval=100"
	if *longLog {
		by, query = load{clients: 1000, ticks: "20000", every: 2 * time.Millisecond, binary: filepath.Join(t.TempDir(), "edge")}, "?topics=AAPL,MSFT"
		if out, err := exec.Command("go", "build", "-o", by.binary, ".").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for _, to := range destinations(t) {
		t.Run(to.name, func(t *testing.T) {
			if !*longLog {
				t.Parallel()
			}
			e := startLogging(t, to, by)
			all, ended := hearers(e, by.clients, query)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			visit(ctx, e.addr, fillPipe, by.every)
			if *longLog {
				go visit(ctx, e.addr, math.MaxInt, by.every)
				awaitDropped(t, e)
				noGaps(t, e, all)
			} else if to.gone {
				awaitDropped(t, e)
			}
			before := make([]int64, len(all))
			for i, l := range all {
				before[i] = l.updates.Load()
			}
			for i, l := range all {
				redistest.Eventually(t, fmt.Sprintf("client %d gets more", i), func() bool { return l.updates.Load() >= before[i]+3 })
			}
			cancel()
			if code := e.stop(); code != 0 {
				t.Errorf("ended with %v, want code 0", e.cmd.ProcessState)
			}
			ended.Wait()
			for i, l := range all {
				if websocket.CloseStatus(l.end) != websocket.StatusServiceRestart {
					t.Errorf("client %d: %v, want 1012", i, l.end)
				}
			}
		})
	}
}

// fillPipe is how many lines are more than a pipe or a terminal takes. Without a reader, those who write them
// would wait from there on. It takes 4,000 and more until some are dropped.
const fillPipe = 150

func awaitDropped(t *testing.T, e *edge) {
	t.Helper()
	redistest.Eventually(t, "lines are dropped and counted", func() bool { return e.metric("edge_log_lines_dropped_total") != "0" })
}

// noGaps is a minute.
func noGaps(t *testing.T, e *edge, all []*hearer) {
	for _, l := range all { // Connecting is not what is measured.
		l.gap.Store(0)
	}
	ticks := e.metric("edge_feed_ticks_total")
	begin := time.Now()
	<-time.After(time.Minute)
	took := time.Since(begin)
	var longest, updates int64
	for _, l := range all {
		longest = max(longest, l.gap.Load(), time.Now().UnixNano()-l.last.Load())
		updates += l.updates.Load()
	}
	before, _ := strconv.ParseFloat(ticks, 64)
	after, _ := strconv.ParseFloat(e.metric("edge_feed_ticks_total"), 64)
	t.Logf("%d clients, %.0f ticks/s, %d updates in all, %s lines dropped: longest gap %v", len(all), (after-before)/took.Seconds(),
		updates, e.metric("edge_log_lines_dropped_total"), time.Duration(longest).Round(time.Millisecond))
	if longest > int64(time.Second) {
		t.Errorf("a gap of %v", time.Duration(longest))
	}
}
