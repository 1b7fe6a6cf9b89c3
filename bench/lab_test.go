// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tickedge/bench/internal/lab"
)

// labBench runs a mode on real servers for a moment and reads its JSON.
func labBench(t *testing.T, res any, args ...string) {
	t.Helper()
	labBenchBut(t, res, "", args...)
}

// labBenchBut is the same where one problem, if it is the only one, says nothing: that which begins so.
func labBenchBut(t *testing.T, res any, but string, args ...string) {
	t.Helper()
	dir := t.TempDir()
	all := append([]string{args[0], "-conns", "50", "-for", "1s", "-universe", "100", "-rate", "2000", "-json", "-dir", dir}, args[1:]...)
	code, stdout, stderr := bench(all...)
	if code != exitGood && !forgiven(stdout, but) {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), res); err != nil {
		t.Fatal(err)
	}
	if text := reportOf(t, dir); !strings.Contains(text, "# bench "+args[0]) || !strings.Contains(text, ".svg") {
		t.Error(text)
	}
	noneLeft(t, dir)
}

func forgiven(stdout, but string) bool {
	var said struct{ Problems []string }
	_ = json.Unmarshal([]byte(stdout), &said) // What is no JSON is not forgiven.
	return but != "" && len(said.Problems) == 1 && strings.HasPrefix(said.Problems[0], but)
}

// started are the processes of a run so far.
func started(dir string) (pids []int) {
	var manifest struct{ Processes []struct{ PID int } }
	b, _ := os.ReadFile(filepath.Join(dir, "manifest.json"))
	_ = json.Unmarshal(b, &manifest) // It may be half written.
	for _, p := range manifest.Processes {
		pids = append(pids, p.PID)
	}
	return pids
}

func noneLeft(t *testing.T, dir string) {
	t.Helper()
	pids := started(dir)
	if len(pids) == 0 {
		t.Error("nothing was started")
	}
	for _, pid := range pids {
		if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid))); err == nil {
			t.Errorf("process %d is left over", pid)
		}
	}
}

func TestInterruptEndsEverything(t *testing.T) {
	dir := t.TempDir()
	go func() {
		// Redis, a source of ticks, the first server: then it is being measured, or about to be.
		for deadline := time.Now().Add(time.Minute); len(started(dir)) < 3; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Error("no three processes in a minute")
				break
			}
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGINT)
	}()
	code, _, stderr := bench("fanout", "-conns", "20", "-for", "5m", "-servers", "edge", "-dir", dir)
	if code != exitBad || !strings.Contains(stderr, "interrupted; all that was started has been ended") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	noneLeft(t, dir)
}

func TestDensity(t *testing.T) {
	var res density
	labBench(t, &res, "density", "-servers", "edge,gnet,edge-sse")
	if len(res.Servers) != 6 {
		t.Fatalf("%+v", res)
	}
	for _, p := range res.Servers {
		if p.FDs < 0.9 || p.FDs > 1.2 {
			t.Errorf("%s, %s: %v descriptors per conn", p.Server, p.State, p.FDs)
		}
		if (p.State == fanoutState) != (p.Frames > 20) {
			t.Errorf("%s, %s: %d frames", p.Server, p.State, p.Frames)
		}
		if p.Server == edgeName && p.Goroutines == 0 {
			t.Error("nothing was read from the edge's metrics")
		}
	}
}

func TestFanout(t *testing.T) {
	var res fanoutResult
	labBench(t, &res, "fanout", "-rounds", "1")
	if len(res.Servers) != len(targets)+1 {
		t.Fatalf("%+v", res)
	}
	for _, s := range res.Servers {
		if (s.Name == eventsName) != (s.ToEdge != nil && s.RSSToEdge != nil) {
			t.Errorf("%s: to WebSockets %v and %v", s.Name, s.ToEdge, s.RSSToEdge)
		}
		if r := s.Rounds[0]; r.Staleness.Rows == 0 || (s.Name != feedName) != (r.Frames > 25) {
			t.Errorf("%s: %+v", s.Name, r)
		}
	}
}

// The conns of edge-sse are what they are taken for.
func TestStreamsAreStreams(t *testing.T) {
	l, err := lab.New(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // The test is over.
	c := newLab("fanout", 5, time.Second, "")
	newLabFlags(c)
	s := &session{labConfig: c, lab: l, ctx: t.Context(), stderr: io.Discard}
	if err := s.ticks(0); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{edgeName: "websocket", eventsName: "sse"} {
		found, err := findTargets(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.holdAt(found[0], c, 5, 10, func(server *lab.Server, moment int) error {
			if moment != atEnd {
				return nil
			}
			var opened map[string]float64
			return until(t.Context(), time.Minute, 50*time.Millisecond, func() (bool, error) {
				m, err := server.Metrics()
				opened = m.By("edge_connections_opened_total", "transport")
				return opened[want] == 5, err
			}, func() error { return fmt.Errorf("%s: opened %v", name, opened) })
		}); err != nil {
			t.Error(err)
		}
	}
}

func TestTicks(t *testing.T) {
	var res ticksResult
	labBench(t, &res, "ticks", "-rounds", "1", "-rates", "500,2000")
	if len(res.Rates) != 2 {
		t.Fatalf("%+v", res)
	}
	for _, r := range res.Rates {
		if r.Reached.Median < r.Asked/2 || r.Reached.Median > 2*r.Asked || r.Frames.Median < 25 {
			t.Errorf("%+v", r)
		}
	}
}

func TestStorm(t *testing.T) {
	var res stormResult
	// A storm of seconds may take as long as it is to be compared with the calm.
	labBenchBut(t, &res, "the storm took", "storm", "-storm", "200", "-for", "2s")
	if res.PerSec == 0 || res.Stormy.PerConn.Min == 0 || res.Snapshot.Rows == 0 {
		t.Errorf("%+v", res)
	}
}

func TestSlow(t *testing.T) {
	var res slowResult
	labBench(t, &res, "slow", "-share", "10", "-slow-timeout", "1s", "-for", "6s")
	if res.Evicted != 5 || res.With.RSSMax == 0 || res.With.Staleness.Rows == 0 {
		t.Errorf("%+v", res)
	}
}

func TestHTTP(t *testing.T) {
	var res httpResult
	labBench(t, &res, "http", "-requests", "200", "-clients", "20", "-rounds", "1")
	if res.Requests.Sent < 100 || res.Requests.Opened != 20 || res.Requests.P95 == 0 || res.With.Staleness.Rows == 0 || res.Without.Staleness.Rows == 0 {
		t.Errorf("%+v", res)
	}
	if !lab.HasTools("nginx", "wrk") {
		t.Skip("there is no nginx or no wrk (make deps)")
	}
	if r := res.Rounds; len(r) != 1 || r[0].Edge == 0 || r[0].Nginx == 0 || r[0].Bytes < 20 || res.ToNginx.Median == 0 {
		t.Errorf("beside nginx: %+v", r)
	}
}

func TestFeed(t *testing.T) {
	var res feedResult
	labBench(t, &res, "feed", "-topics", "2", "-interval", "500ms", "-set")
	w := &res.Whole
	if res.Ticks < 100 || res.Hold.Rows == 0 || w.Sent != w.Ticks || w.Lost != 0 || w.Unheard != 0 || res.PerTick == 0 || res.Bytes == 0 || res.BrokerCPU == 0 {
		t.Errorf("%+v", res)
	}
	if len(res.Series) == 0 || res.Thirds[0] == 0 {
		t.Errorf("samples: %+v", res.Series)
	}
}

func TestLabModesWrongFlags(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"density -conns 0", "such as -conns 10000"},
		{"density -rate 0", "such as -rate 20000"},
		{"density 5000", "flags are given as -name value"},
		{"density -servers edge,nginx", `no server "nginx"`},
		{"fanout -rounds 0", "such as -rounds 5"},
		{"fanout -interval 1ms", "such as -interval 500ms"},
		{"ticks -rates 10,fast", "such as -rates 1000,100000"},
		{"ticks -rounds 0", "such as -rounds 5"},
		{"storm -storm 0", "-storm 0: want 1 or more"},
		{"slow -share 0", "such as -share 5"},
		{"slow -for 5s", "or nobody is evicted"},
		{"saturate -servers edge,edge-sse", "opened by density and fanout only"},
		{"handshake -servers edge-sse", "opened by density and fanout only"},
		{"http -requests 0", "such as -requests 5000"},
		{"http -clients 0", "-clients 0: want 1 or more"},
		{"http -request-topics 257", "want 1 to 256"},
		{"fanout -nonsense", "not defined: -nonsense"},
		{"fanout -source kafka", "such as -source nats"},
		{"fanout -source nats", "such as -servers edge,floor,gnet"},
		{"feed -universe 200000", "have 100000 at most"},
		{"feed -for 500ms", "want 1s or more"},
		{"feed -source kafka", "such as -source redis,nats"},
		{"feed -source memory", "bench publish"},
		{"feed -source nats -set", "want -source redis"},
		{"publish -lines 0", "such as -lines 1000"},
		{"publish -clients 0", "such as -clients 4"},
		{"publish -source kafka", "such as -source redis,memory"},
		{"size -before HEAD;ls", "such as -before 2526696"},
		{"size -source redis,", "such as -source redis,memory"},
		{"feed -busy 10", "such as -busy 100000"},
	} {
		code, _, stderr := bench(strings.Fields(c.args)...)
		if code != exitUsage || !strings.Contains(stderr, c.want) {
			t.Errorf("bench %s: exit code %d, want %d and %q:\n%s", c.args, code, exitUsage, c.want, stderr)
		}
	}
}

func TestLabIsClosedAfterAFailure(t *testing.T) {
	code, _, stderr := bench("fanout", "-conns", "10", "-for", "1s", "-rounds", "1", "-servers", "edge", "-edge", "-nonsense", "-dir", t.TempDir())
	if code != exitBad || !strings.Contains(stderr, "nonsense") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestLabIsClosedAfterAPanic(t *testing.T) {
	l, err := lab.New(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.Start(lab.Spec{Name: "sleep", Path: "/bin/sleep", Args: []string{"60"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("the panic was swallowed")
		}
		if _, err := p.Sample(); err == nil {
			t.Error("the process is left over")
		}
	}()
	_, _ = guarded(l, func() (outcome, error) { panic("in a mode") })
}
