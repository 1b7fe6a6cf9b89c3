// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/nettest"
)

// A signal has the configuration read anew: its supervisor hears that, clients stay, and the level of the log follows. What is
// wrong changes nothing.
func TestReloadBySignal(t *testing.T) {
	hears := nettest.Supervisor(t)
	file := filepath.Join(t.TempDir(), "edge.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const origin = "https://app.example.com"
	write("origin: https://another.example.com")
	e := start(t, "-demo", "-config", file, "-reload-every", "0")
	hears("READY=1")
	c := e.dial("")
	c.next("hello")
	if _, res, err := e.try(arrival{origin: origin}); err == nil || res == nil || res.StatusCode != 403 {
		t.Fatalf("%v %v, want 403", res, err)
	}
	hup := func(says string) {
		t.Helper()
		before := strings.Count(e.stderr.String(), says)
		if err := e.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		hears("RELOADING=1")
		hears("READY=1")
		redistest.Eventually(t, says, func() bool { return strings.Count(e.stderr.String(), says) > before })
	}
	write("origin: " + origin + "\nlog-level: debug")
	hup("the configuration was read anew")
	if _, res, err := e.try(arrival{origin: origin}); err != nil {
		t.Fatalf("%v %v", res, err)
	}
	if got := e.metric(`edge_reloads_total{result="applied"}`); got != "1" {
		t.Errorf("%s reloads have changed something", got)
	}
	if !strings.Contains(e.stderr.String(), `"level":"DEBUG"`) {
		t.Error("the log has no lines at debug")
	}
	write("origin: [")
	hup("the configuration can't be read anew")
	if got := e.metric("edge_reload_successful"); got != "0" {
		t.Errorf("edge_reload_successful is %s", got)
	}
	c.send(`{"op":"ping","id":7}`)
	for {
		if m, err := c.read(); err != nil {
			t.Fatal(err)
		} else if m.T == "pong" {
			break
		}
	}
	if code := e.stop(); code != 0 {
		t.Errorf("code %d", code)
	}
}
