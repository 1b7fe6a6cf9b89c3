// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"tickedge/bench/internal/fakeedge"
	"tickedge/bench/internal/swarm"
	"tickedge/bench/internal/wire"
)

// TestMain lets the test's binary be a worker, as /proc/self/exe is what workers run.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workerMode {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// bench runs a command and returns what it wrote.
func bench(args ...string) (code int, stdout, stderr string) {
	var out, err strings.Builder
	code = run(args, &out, &err)
	return code, out.String(), err.String()
}

func TestHoldCleanServer(t *testing.T) {
	for _, workers := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d_workers", workers), func(t *testing.T) {
			addr := fakeedge.Clean(t, 50*time.Millisecond, 100*time.Millisecond)
			code, stdout, stderr := bench("hold", "-addr", addr.String(), "-conns", "30", "-for", "1200ms", "-json",
				"-pid", fmt.Sprint(os.Getpid()), "-workers", fmt.Sprint(workers))
			if code != exitGood {
				t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
			}
			var res result
			if err := json.Unmarshal([]byte(stdout), &res); err != nil {
				t.Fatal(err)
			}
			if !res.Good || res.Open != 30 || res.Acked != 30 || res.Connected != 30 || res.Client.Workers != workers {
				t.Errorf("%+v", res)
			}
			// 20 frames per conn and second for 1.2 s, however busy the machine is.
			if res.Frames < 30*5 || res.Rows != 10*res.Frames || res.PerConn.Median < 4 || res.PerConn.Max > 40 {
				t.Errorf("%d frames, %d rows, per conn %+v", res.Frames, res.Rows, res.PerConn)
			}
			if res.Update.P50 < 99 || res.Snapshot.P50 < 3.5e6 || res.Snapshot.Rows != 300 {
				t.Errorf("updates %+v, snapshots %+v", res.Update, res.Snapshot)
			}
			if s := res.Servers[0]; s.After.RSS == 0 || s.After.FDs == 0 || s.Error != "" {
				t.Errorf("server %+v", s)
			}
			if !strings.Contains(stderr, "hold    conns 30 frames/s") {
				t.Errorf("progress: %s", stderr)
			}
		})
	}
}

func TestHoldStreams(t *testing.T) {
	addr := fakeedge.Scripted(t, func(c *fakeedge.Conn) {
		c.Event("snapshot", fakeedge.Rows("snapshot", c.Stream(), 1, 0))
		c.Gone()
	})
	code, stdout, stderr := bench("hold", "-sse", "-addr", addr.String(), "-conns", "6", "-topics", "2", "-for", "100ms", "-workers", "2", "-json")
	var res result
	if err := json.Unmarshal([]byte(stdout), &res); err != nil || code != exitGood || res.Acked != 6 || res.Snapshot.Rows != 12 {
		t.Errorf("exit code %d, %v\n%s%s", code, err, stdout, stderr)
	}
}

func TestHoldServerThatMisbehaves(t *testing.T) {
	addr := fakeedge.Scripted(t, func(c *fakeedge.Conn) {
		topics := c.Open()
		for n := 3; n > 0; n-- {
			c.Text(fakeedge.Rows("update", topics, n, 0))
		}
		time.Sleep(2 * time.Second) // Into the holding time, which begins after the first second.
		c.Close(4001, "slow consumer")
		c.Gone()
	})
	code, stdout, _ := bench("hold", "-addr", addr.String(), "-conns", "4", "-topics", "2", "-for", "15s", "-workers", "2")
	if code != exitBad {
		t.Errorf("exit code %d, want %d", code, exitBad)
	}
	for _, want := range []string{
		"violation   16 × n went down", "lost        4 × close 4001 slow consumer", "NOT GOOD: 4 conns lost; 16 violations", "  conn ",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}

func TestHoldServerThatRefuses(t *testing.T) {
	addr := fakeedge.Scripted(t, func(c *fakeedge.Conn) { c.Raw("HTTP/1.1 503 Service Unavailable\r\n\r\n") })
	code, stdout, _ := bench("hold", "-addr", addr.String(), "-conns", "4", "-for", "5m")
	if code != exitBad || !strings.Contains(stdout, "refused     4 × HTTP 503") || !strings.Contains(stdout, "no conn was opened") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

func TestHoldTimeoutsAreFlags(t *testing.T) {
	deaf := fakeedge.Scripted(t, func(c *fakeedge.Conn) { c.Gone() })
	code, stdout, _ := bench("hold", "-addr", deaf.String(), "-conns", "2", "-for", "5m", "-handshake-timeout", "250ms")
	if code != exitBad || !strings.Contains(stdout, "refused     2 × no answer within 250ms") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	mute := fakeedge.Scripted(t, func(c *fakeedge.Conn) {
		c.Accept(fakeedge.Frame(wire.OpText, fakeedge.Hello))
		c.Gone()
	})
	code, stdout, _ = bench("hold", "-addr", mute.String(), "-conns", "2", "-for", "100ms", "-ack-timeout", "250ms")
	if code != exitBad || !strings.Contains(stdout, "violation   2 × command not acked in time") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
}

// A swarm that has told all it knows may still be closing its conns.
func TestLastReportIsNotTheEnd(t *testing.T) {
	cfg, err := parseHold([]string{"-conns", "10", "-workers", "2"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	r := newHoldRun(cfg, io.Discard)
	last := swarm.NewReport(swarm.Holding)
	last.Done = true
	for from := range 2 {
		r.take(news{from: from, report: last})
	}
	told, over := func(m *progress) bool { return m.told }, func(m *progress) bool { return m.over }
	if !r.every(told) || r.every(over) {
		t.Errorf("%+v", r.members)
	}
	r.take(news{from: 0})
	r.take(news{from: 1})
	if !r.every(over) || len(r.problems) > 0 {
		t.Errorf("%+v, problems %v", r.members, r.problems)
	}
}

func TestHoldNoServer(t *testing.T) {
	code, _, stderr := bench("hold", "-addr", "127.0.0.1:1")
	if code != exitBad || !strings.Contains(stderr, "no edge at 127.0.0.1:1") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestWorkerThatDies(t *testing.T) {
	cfg, err := parseHold([]string{"-conns", "4", "-workers", "2"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	shares, err := cfg.swarms()
	if err != nil {
		t.Fatal(err)
	}
	shares[1].Topics = 0 // Which its swarm refuses.
	w, err := startWorker(shares[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := w.receive(func(*swarm.Report) {}); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("a worker that failed: %v", err)
	}
}

func TestWrongFlagsNameTheRightForm(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "usage: bench MODE"},
		{"nonsense", `no mode "nonsense"`},
		{"hold 127.0.0.1:8080", "flags are given as -name value"},
		{"hold -nonsense", "not defined: -nonsense"},
		{"hold -for 5", "-for"},
		{"hold -for 0s", "such as -for 30s"},
		{"hold -addr localhost", "such as -addr 127.0.0.1:8080"},
		{"hold -path ws", "such as -path /ws"},
		{"hold -conns 0", "such as -conns 10000"},
		{"hold -connect-rate NaN", "such as -connect-rate 2000"},
		{"hold -universe 0", "such as -universe 1000"},
		{"hold -topics 11 -universe 10", "such as -topics 10"},
		{"hold -topic-name SYM", "such as -topic-name SYM%04d"},
		{"hold -interval 5ms", "such as -interval 500ms"},
		{"hold -pid 12,edge", "such as -pid 4711"},
		{"hold -handshake-timeout 0s", "such as -handshake-timeout 10s"},
		{"hold -ack-timeout -1s", "such as -ack-timeout 10s"},
		{"hold -workers 2 -conns 1", "-workers 0 chooses"},
	} {
		code, _, stderr := bench(strings.Fields(c.args)...)
		if code != exitUsage || !strings.Contains(stderr, c.want) {
			t.Errorf("bench %s: exit code %d, want %d and %q:\n%s", c.args, code, exitUsage, c.want, stderr)
		}
	}
}

// Help that was asked for is no error: it goes to stdout.
func TestHelp(t *testing.T) {
	helps := map[string]string{"-h": "handshake", "-help": "handshake", "--help": "handshake", "help": "handshake"}
	for _, m := range modes {
		helps[m.name+" -h"] = "usage: bench " + m.name
	}
	for args, want := range helps {
		if code, stdout, stderr := bench(strings.Fields(args)...); code != exitGood || stderr != "" || !strings.Contains(stdout, want) {
			t.Errorf("bench %s: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

func TestSharesCoverAllConns(t *testing.T) {
	each, err := connsPerProcess()
	if err != nil {
		t.Fatal(err)
	}
	for _, conns := range []int{1, 50000, connsMax} {
		cfg, err := parseHold([]string{"-conns", fmt.Sprint(conns), "-interval", "1s", "-ack-timeout", "42s"}, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		shares, err := cfg.swarms()
		if err != nil {
			t.Fatal(err)
		}
		next, rate := 0, 0.0
		for _, s := range shares {
			if s.First != next || s.Conns > each || s.Target != "/ws?interval=1000" || s.AckTimeout != 42*time.Second {
				t.Errorf("share %+v", s)
			}
			next += s.Conns
			rate += s.Rate
		}
		if next != conns || rate < 1999 || rate > 2001 {
			t.Errorf("%d shares of %d conns at %v per second", len(shares), next, rate)
		}
	}
}

func TestWorkersForConns(t *testing.T) {
	for _, c := range []struct{ conns, each, cores, want int }{
		{1, 19900, 2, 1},
		{19900, 19900, 2, 1},
		{19901, 19900, 2, 2},         // The file limit demands it.
		{1_000_000, 1_000_000, 1, 1}, // A guest with one core, or two.
		{1_000_000, 1_000_000, 2, 1},
		{1_000_000, 1_000_000, 16, 8}, // The other half is the server's.
		{100_000, 1_000_000, 64, 5},   // A core for each, but no use for them.
		{1000, 1_000_000, 64, 1},
	} {
		if got := workersFor(c.conns, c.each, c.cores); got != c.want {
			t.Errorf("%d conns, %d each, %d cores: %d workers, want %d", c.conns, c.each, c.cores, got, c.want)
		}
	}
}

// BenchmarkHold tells what a frame of ten rows costs bench itself, in workers of its
// own, so that the server in this process does not count.
func BenchmarkHold(b *testing.B) {
	addr := fakeedge.Clean(b, 200*time.Millisecond, 0)
	for b.Loop() {
		cfg, err := parseHold([]string{"-addr", addr.String(), "-conns", "2000", "-for", "5s", "-workers", "2"}, io.Discard)
		if err != nil {
			b.Fatal(err)
		}
		shares, err := cfg.swarms()
		if err != nil {
			b.Fatal(err)
		}
		r := newHoldRun(cfg, io.Discard)
		if err := r.run(shares); err != nil {
			b.Fatal(err)
		}
		frames := r.held.Frames()
		b.ReportMetric(float64(r.held.CPU.Microseconds())/float64(frames), "client-µs/frame")
		b.ReportMetric(float64(frames)/5, "frames/s")
	}
}
