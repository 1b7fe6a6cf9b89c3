// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// open returns a lab that the test's end closes.
func open(t *testing.T) *Lab {
	t.Helper()
	l, err := New(t.Context(), t.TempDir(), map[string]string{"conns": "50"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// patience is how long a test waits for what must happen soon.
const patience = time.Minute

// shell is a Spec of a script.
func shell(name, script string, ready func() error) Spec {
	return Spec{Name: name, Path: "/bin/sh", Args: []string{"-c", script}, Ready: ready}
}

func gone(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		for deadline := time.Now().Add(patience); exists(pid); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d is left over", pid)
			}
		}
	}
}

func TestEverythingRunsAndEnds(t *testing.T) {
	l := open(t)
	_, url, err := l.Redis()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Ticks(url, 10, 100); err != nil {
		t.Fatal(err)
	}
	edges, err := l.Edge(url, 2, "-loops", "1")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, p := range l.procs {
		pids = append(pids, p.PID)
		if s, err := p.Sample(); err != nil || s.RSS == 0 || s.FDs == 0 {
			t.Errorf("%s: %+v, %v", p.Name, s, err)
		}
	}
	if len(pids) != 4 || len(edges.PIDs()) != 2 || len(edges.Admins) != 2 {
		t.Fatalf("%d processes, edges %+v", len(pids), edges)
	}
	m, err := edges.Metrics()
	if err != nil || m[`edge_feed_connected{source="*"}`] != 2 || m["go_memstats_heap_inuse_bytes"] == 0 {
		t.Errorf("metrics: %v, %v", m, err)
	}
	if err := l.Failed(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	gone(t, pids...)

	text, err := os.ReadFile(filepath.Join(l.Dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got manifest
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Processes) != 4 || got.Flags["conns"] != "50" || got.Kernel == "" || got.Go == "" || got.Commit == "" || got.FileLimit == 0 {
		t.Errorf("manifest: %s", text)
	}
}

// What a publisher says in the end is what Redis has counted.
func TestPublisher(t *testing.T) {
	l := open(t)
	_, url, err := l.Redis()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := Published(url); n != 0 || err != nil {
		t.Errorf("before: %d, %v", n, err)
	}
	p, err := l.Publisher(url, 10, 1000, "-set")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		n, err := Published(url)
		if err != nil || time.Now().After(deadline) {
			t.Fatal(n, err)
		}
		if n > 100 {
			break
		}
	}
	if err := l.Stop(p); err != nil {
		t.Fatal(err)
	}
	var res struct{ Sent uint64 }
	if err := p.Result(&res); err != nil {
		t.Fatal(err)
	}
	if n, err := Published(url); n != res.Sent || err != nil {
		t.Errorf("it says %d, Redis %d, %v", res.Sent, n, err)
	}
	if _, err := Published("redis://127.0.0.1:1"); err == nil {
		t.Error("no error without a Redis")
	}
}

// What a publisher says in the end is what a NATS has counted, and stored.
func TestBrokers(t *testing.T) {
	if !HasTools("nats-server") {
		t.Skip("there is no nats-server (make deps)")
	}
	for _, kind := range BrokerKinds {
		l := open(t)
		b, err := l.Broker(kind)
		if err != nil {
			t.Fatal(err)
		}
		before, err := b.Published()
		if err != nil || b.Streams() && before != 0 || b.Streams() != strings.Contains(b.URL, "jetstream") || (kind == NATSWildcard) != strings.Contains(b.URL, "wildcard=true") {
			t.Fatal(b.URL, err)
		}
		last := l.Path("last")
		p, err := l.Publisher(b.URL, 10, 1000, "-ver", "-last", last)
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			if n, err := b.Published(); err != nil || time.Now().After(deadline) {
				t.Fatal(kind, n, err)
			} else if n > 100 {
				break
			}
		}
		if err := l.Stop(p); err != nil {
			t.Fatal(err)
		}
		var res struct{ Sent, Wanted uint64 }
		if err := p.Result(&res); err != nil {
			t.Fatal(err)
		}
		if n, err := b.Published(); n-before != res.Sent || res.Wanted != res.Sent || err != nil {
			t.Errorf("%s: it says %+v, the server %d, %v", kind, res, n, err)
		}
		text, err := os.ReadFile(last)
		if err != nil || strings.Count(string(text), "\n") != 10 || !strings.Contains(string(text), "GEN-000007\t{") {
			t.Errorf("last values %s, %v", text, err)
		}
	}
	if _, err := open(t).Broker("kafka"); err == nil || !strings.Contains(err.Error(), "want one of redis,nats") {
		t.Error(err)
	}
}

func TestStartThatFails(t *testing.T) {
	never := func() error { return errors.New("no answer") }
	l := open(t)
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{shell("dies", "echo port in use; exit 3", never), "exit status 3"},
		{shell("says", "echo port in use; exit 3", never), "port in use"},
		// Somebody else answers at its port, after it has ended.
		{shell("other", "exit 4", func() error { <-l.procs[len(l.procs)-1].done; return nil }), "exit status 4"},
		{Spec{Name: "absent", Path: "/nonexistent"}, "no such file"},
	} {
		if _, err := l.Start(c.spec); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.spec.Name, err, c.want)
		}
	}
	if len(l.procs) != 0 {
		t.Errorf("%d processes are still known", len(l.procs))
	}
	if _, err := l.Edge("redis://127.0.0.1:1", 1, "-nonsense"); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("an edge with a wrong flag: %v", err)
	}
}

func TestInterruptEndsAWait(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l, err := New(ctx, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	pid := 0
	_, err = l.Start(shell("deaf", "sleep 60", func() error {
		pid = l.procs[0].PID
		cancel()
		return errors.New("never")
	}))
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	gone(t, pid)
	if _, err := l.Start(shell("late", "sleep 60", nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("a start after the interrupt: %v", err)
	}
}

func TestProcessThatEndsByItself(t *testing.T) {
	l := open(t)
	p, err := l.Start(shell("short", "exit 5", nil))
	if err != nil {
		t.Fatal(err)
	}
	<-p.done
	if err := l.Failed(); err == nil || !strings.Contains(err.Error(), "exit status 5") {
		t.Errorf("failed: %v", err)
	}
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "ended by itself") {
		t.Errorf("close: %v", err)
	}
}

// TestKilledBenchLeavesNothing kills a process that has a lab, as nothing in it can
// clean up then.
func TestKilledBenchLeavesNothing(t *testing.T) {
	if os.Getenv("LAB_TEST_CHILD") != "" {
		l, err := New(context.Background(), os.Getenv("LAB_TEST_CHILD"), nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := l.Start(shell("child", "exec sleep 60", nil))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.WriteFile("pid", []byte(strconv.Itoa(p.PID))); err != nil {
			t.Fatal(err)
		}
		select {} // Until it is killed.
	}
	dir := t.TempDir()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestKilledBenchLeavesNothing$")
	cmd.Env = append(os.Environ(), "LAB_TEST_CHILD="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for deadline := time.Now().Add(patience); pid == 0; time.Sleep(5 * time.Millisecond) {
		b, _ := os.ReadFile(filepath.Join(dir, "pid"))
		pid, _ = strconv.Atoi(string(b))
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			t.Fatal("the child did not start anything")
		}
	}
	if !exists(pid) {
		t.Errorf("process %d is not there", pid)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	gone(t, pid)
}

func TestBuildSaysWhatIsWrong(t *testing.T) {
	l := open(t)
	if _, err := l.Build("docs"); err == nil || !strings.Contains(err.Error(), "no Go files") {
		t.Error(err)
	}
}

func TestReadKernel(t *testing.T) {
	k, err := ReadKernel()
	if err != nil || k.Slab < 1<<20 {
		t.Errorf("%+v, %v", k, err)
	}
}
