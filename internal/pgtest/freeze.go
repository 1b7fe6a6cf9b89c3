// SPDX-License-Identifier: Apache-2.0

package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Freeze stops all processes of the server: connections stay, and nothing answers.
func (s *Server) Freeze(tb testing.TB) { s.signal(tb, syscall.SIGSTOP) }

// Thaw has them go on.
func (s *Server) Thaw(tb testing.TB) { s.signal(tb, syscall.SIGCONT) }

func (s *Server) signal(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "postmaster.pid"))
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	parent, err := strconv.Atoi(first)
	if err != nil {
		tb.Fatalf("pgtest: postmaster.pid: %v", err)
	}
	// The parent is stopped first, and goes on last: no child begins in between.
	if sig == syscall.SIGSTOP {
		_ = syscall.Kill(parent, sig)
	} else {
		defer func() { _ = syscall.Kill(parent, sig) }()
	}
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range all {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // It has ended.
		}
		_, rest, ok := strings.Cut(string(stat), ") ")
		var state string
		var of int
		if _, err := fmt.Sscan(rest, &state, &of); !ok || err != nil || of != parent {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			_ = syscall.Kill(pid, sig)
		}
	}
}
