// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/nettest"
)

// proxySays returns what the admin socket of HAProxy answers to a command.
func proxySays(t *testing.T, socket, command string) (lines []string) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil // It does not run yet.
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(conn, command); err != nil {
		t.Fatal(err)
	}
	for text := bufio.NewScanner(conn); text.Scan(); {
		lines = append(lines, text.Text())
	}
	return lines
}

// drained reports whether HAProxy was told to send an edge no new clients.
func drained(t *testing.T, socket string) bool {
	t.Helper()
	const forcedDrain = 0x08 // Of SRV_ADMF_ in HAProxy.
	lines := proxySays(t, socket, "show servers state edges")
	for i, line := range lines {
		columns := strings.Fields(strings.TrimPrefix(line, "# "))
		if at := slices.Index(columns, "srv_admin_state"); at >= 0 && i+1 < len(lines) {
			state, err := strconv.Atoi(strings.Fields(lines[i+1])[at])
			return err == nil && state&forcedDrain != 0
		}
	}
	return false
}

// HAProxy, as in our example, sends an edge fewer clients the more it has, none when it drains, and some to the one that comes after it.
func TestAgentTellsHAProxy(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	agent, addr, admin := nettest.FreeAddr(t), nettest.FreeAddr(t), nettest.FreeAddr(t)
	begin := func() *edge {
		e := start(t, "-redis", redis.URL(), "-proxy-protocol", "-max-conns", "10", "-drain-delay", "1m", "-agent", agent, "-listen", addr, "-admin", admin)
		redistest.Eventually(t, "it is ready", func() bool { code, _ := e.get("/readyz"); return code == http.StatusOK })
		return e
	}
	e := begin()
	socket := filepath.Join(t.TempDir(), "admin")
	_, port, _ := net.SplitHostPort(agent)
	proxyAddr := haproxy(t, []*edge{e}, map[string]string{`\nglobal\n`: "\nglobal\n\tstats socket " + socket + "\n",
		`agent-port 8084 agent-inter 2s`: "agent-port " + port + " agent-inter 100ms", `inter 2s fall 2 slowstart 30s`: "inter 100ms fall 2"})
	weight := func(from, to int) func() bool {
		return func() bool {
			var now, initial int
			lines := proxySays(t, socket, "get weight edges/edge0")
			if len(lines) == 0 {
				return false
			}
			_, err := fmt.Sscanf(lines[0], "%d (initial %d)", &now, &initial)
			return err == nil && initial == 100 && now >= from && now <= to
		}
	}
	redistest.Eventually(t, "nearly all of its weight", weight(80, 100))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 7 {
		redistest.Eventually(t, "a client is let in", func() bool {
			ws, _, err := websocket.Dial(ctx, "ws://"+proxyAddr+"/ws", nil)
			if err == nil {
				t.Cleanup(func() { _ = ws.CloseNow() })
			}
			return err == nil
		})
	}
	redistest.Eventually(t, "the weight of three connections of ten", weight(1, 30))
	if drained(t, socket) {
		t.Error("it drains without a signal")
	}
	e.term("stopping")
	redistest.Eventually(t, "HAProxy to drain it", func() bool { return drained(t, socket) })
	_ = e.cmd.Process.Signal(syscall.SIGKILL)
	<-e.done
	if !drained(t, socket) {
		t.Error("an edge that is gone does not drain")
	}
	begin()
	redistest.Eventually(t, "the next one to have its weight", weight(80, 100))
	redistest.Eventually(t, "no drain is left", func() bool { return !drained(t, socket) })
}
