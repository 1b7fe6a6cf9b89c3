// SPDX-License-Identifier: Apache-2.0

package sdnotify

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// patience bounds every wait of these tests. It is only reached when one fails.
const patience = time.Minute

func TestSend(t *testing.T) {
	addrs := []string{filepath.Join(t.TempDir(), "notify")}
	if runtime.GOOS == "linux" {
		addrs = append(addrs, fmt.Sprintf("@tickedge-test-%d", os.Getpid()))
	}
	for _, addr := range addrs {
		ln, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: addr, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		s, err := Open(addr)
		if err != nil {
			t.Fatal(err)
		}
		for _, states := range [][]string{{Ready, Status("serving 3 clients")}, {Alive}, {Stopping}} {
			if err := s.Send(states...); err != nil {
				t.Fatal(err)
			}
			if err := ln.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 1<<12)
			n, err := ln.Read(got)
			if want := strings.Join(states, "\n"); err != nil || string(got[:n]) != want {
				t.Errorf("%s: %q, %v, want %q", addr, got[:n], err, want)
			}
		}
	}
}

// Without a supervisor nothing is said; one that is gone, or does not read, costs an error and not the program.
func TestNobodyListens(t *testing.T) {
	if s, err := Open(""); s != nil || err != nil || s.Send(Ready) != nil {
		t.Error(s, err)
	}
	for _, bad := range []string{"notify", "vsock:2:1234", "unix:/run/notify"} {
		if _, err := Open(bad); err == nil || !strings.Contains(err.Error(), "NOTIFY_SOCKET is") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	dir := t.TempDir()
	gone, err := Open(filepath.Join(dir, "gone"))
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Send(Ready); err == nil {
		t.Error("nobody was told, and there is no error")
	}
	name := filepath.Join(dir, "deaf")
	ln, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	deaf, _ := Open(name)
	failed := make(chan error, 1)
	go func() {
		for {
			if err := deaf.Send(Status(strings.Repeat("x", statusMost))); err != nil {
				failed <- err
				return
			}
		}
	}()
	select {
	case <-failed:
	case <-time.After(patience):
		t.Error("a supervisor that does not read holds the program up")
	}
}

func TestStatus(t *testing.T) {
	if got := Status("down:\nREADY=1\x00"); got != "STATUS=down: READY=1 " {
		t.Errorf("%q", got)
	}
	if got := Status(strings.Repeat("€", 300)); len(got) > statusMost+len("STATUS=") || !utf8.ValidString(got) || len(got) < statusMost {
		t.Errorf("%d bytes", len(got))
	}
}
