// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"net"
	"testing"

	"tickedge/internal/app"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/logtest"
)

// Another program can run edges inside itself, two at a time, and ends them when it likes.
func TestRunsInsideAnotherProgram(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	codes := make(chan int, 2)
	for range cap(codes) {
		c, err := Parse([]string{"-demo", "-loops", "1", "-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-drain", "0s"})
		if err != nil {
			t.Fatal(err)
		}
		log, said := logtest.New(t)
		go func() { codes <- Run(ctx, c, log) }()
		redistest.Eventually(t, "the edge listens and has its feed", func() bool {
			return said.Count("msg=listening") == 1 && said.Count("feed up") == 1
		})
	}
	stop()
	for range cap(codes) {
		if code := <-codes; code != app.OK {
			t.Errorf("code %d", code)
		}
	}
}

// What -health-path says follows the feed, is no from the moment when the edge is to stop, and
// holds up nobody who ends it for another reason.
func TestReadinessIsKept(t *testing.T) {
	c, err := Parse([]string{"-demo", "-admin=", "-health-path", "/well"})
	if err != nil {
		t.Fatal(err)
	}
	for _, asked := range []bool{true, false} {
		log, _ := logtest.New(t)
		e := &edge{cfg: c, log: log}
		e.work, e.endWork = context.WithCancel(context.Background())
		ctx, stop := context.WithCancel(t.Context())
		for _, start := range []func() error{e.startDemo, e.startFeed} {
			if err := start(); err != nil {
				t.Fatal(err)
			}
		}
		if e.isReady.Load() {
			t.Error("ready before it was looked at")
		}
		e.keepReady(ctx)
		redistest.Eventually(t, "the edge is ready", e.isReady.Load)
		if asked {
			stop()
			redistest.Eventually(t, "it is so no more", func() bool { return !e.isReady.Load() })
		}
		e.close()
		if e.isReady.Load() {
			t.Error("ready after its end")
		}
		stop()
	}
}

// The address of the board is one that works.
func TestBoardURL(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"0.0.0.0:80": "http://localhost:80/", "[::]:80": "http://localhost:80/", "127.0.0.1:80": "http://localhost:80/",
		"10.0.0.5:80": "http://10.0.0.5:80/", "[::1]:80": "http://[::1]:80/",
	} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := boardURL(tcp); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
