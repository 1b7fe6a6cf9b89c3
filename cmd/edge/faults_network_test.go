// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"tickedge/internal/broker/redis/redistest"
)

// ownNetwork is set in the process that TestNetworkFault starts.
const ownNetwork = "EDGE_TEST_OWN_NETWORK"

// The addresses of edges and Redis, at the two ends of one cable.
const (
	edgeIP  = "10.77.0.1"
	redisIP = "10.77.0.2"
)

var networkFault = fault{name: "network", told: atLength, prepare: networkLost}

// The same with the packets of a real network that are lost on their way. The test runs
// itself again in a network namespace of its own, so nothing of the host is touched.
// Where that is not permitted, "packets dropped" of TestFaults covers what it can.
func TestNetworkFault(t *testing.T) {
	t.Parallel()
	if os.Getenv(ownNetwork) != "" {
		networkFault.run(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestNetworkFault$", "-test.v", "-test.timeout=3m",
		fmt.Sprintf("-long-faults=%t", *longFaults))
	cmd.Env = append(os.Environ(), ownNetwork+"=1", binaryEnv+"="+binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	switch said := string(out); {
	case errors.Is(err, syscall.EPERM):
		t.Skipf("a network namespace is not permitted (run the test as root): %v", err)
	case strings.Contains(said, "--- SKIP: TestNetworkFault"):
		t.Skip(said)
	case err != nil || !strings.Contains(said, "--- PASS: TestNetworkFault"):
		t.Errorf("%v\n%s", err, said)
	default:
		t.Log(said)
	}
}

// networkLost starts a Redis in a namespace of its own and connects it with this one by
// a cable. Publishers are on the host of Redis and use a Unix socket.
func networkLost(t *testing.T) (*upstream, func(*faultRun)) {
	ip(t, "link", "set", "lo", "up")
	socket := filepath.Join(t.TempDir(), "redis.sock")
	server := exec.Command("redis-server", "--port", "6379", "--bind", "0.0.0.0", "--protected-mode", "no",
		"--unixsocket", socket, "--save", "", "--dir", t.TempDir())
	server.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	pid := fmt.Sprint(server.Process.Pid)
	there := func(args ...string) {
		t.Helper()
		execute(t, "nsenter", append([]string{"-t", pid, "-n", "ip"}, args...)...)
	}
	ip(t, "link", "add", "edge0", "type", "veth", "peer", "name", "redis0", "netns", pid)
	ip(t, "addr", "add", edgeIP+"/30", "dev", "edge0")
	ip(t, "link", "set", "edge0", "up")
	there("addr", "add", redisIP+"/30", "dev", "redis0")
	there("link", "set", "redis0", "up")
	// Rules are asked in order, and that of the host's own addresses is the first. Behind
	// it no other could stop packets that come in.
	there("rule", "add", "pref", "100", "lookup", "local")
	there("rule", "del", "pref", "0")

	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, Protocol: 2, DisableIdentity: true, MaxRetries: -1})
	t.Cleanup(func() { client.Close() })
	redistest.Eventually(t, "redis-server answers", func() bool { return client.Ping(t.Context()).Err() == nil })
	return &upstream{url: "redis://" + redisIP + ":6379", target: &redisTarget{client: client}}, func(r *faultRun) {
		there("rule", "add", "pref", "1", "from", edgeIP, "blackhole")
		there("rule", "add", "pref", "2", "to", edgeIP, "blackhole")
		r.tick(quiet())
		r.toldDown()
		r.lasts()
		there("rule", "del", "pref", "1")
		there("rule", "del", "pref", "2")
	}
}

// ip changes the network of this process's namespace. Where that does not work, the test
// is left out.
func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Skipf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func execute(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
