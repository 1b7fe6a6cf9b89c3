// SPDX-License-Identifier: Apache-2.0

// Package nettest has an address for a server that a test starts, and who supervises it. It is for tests alone.
package nettest

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FreeAddr is an address of the loopback that nothing listens at. Another process may take it in between.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// patience bounds the wait for what a program tells. It is only reached when a test fails.
const patience = 2 * time.Minute

// NotifySocket is where programs that are started from now on, or this one, tell a supervisor how they are.
func NotifySocket(t *testing.T) *net.UnixConn {
	t.Helper()
	name := filepath.Join(t.TempDir(), "notify")
	ln, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	return ln
}

// Supervisor is a stand-in for systemd: programs that are started from now on tell it how they are. What it returns waits for a line
// that begins so, and passes over others.
func Supervisor(t *testing.T) (await func(begin string)) {
	t.Helper()
	ln := NotifySocket(t)
	t.Setenv("WATCHDOG_USEC", "500000")
	var lines, seen []string
	return func(begin string) {
		t.Helper()
		message := make([]byte, 4<<10)
		for {
			for i, line := range lines {
				if strings.HasPrefix(line, begin) {
					lines = lines[i+1:]
					return
				}
			}
			if err := ln.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			n, err := ln.Read(message)
			if err != nil {
				t.Fatalf("it was told %q, and not %s: %v", seen, begin, err)
			}
			lines = strings.Split(string(message[:n]), "\n")
			seen = append(seen, lines...)
		}
	}
}
