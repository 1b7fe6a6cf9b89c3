// SPDX-License-Identifier: Apache-2.0

// Package logtest is a log for tests.
package logtest

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// Log is what several goroutines, or a process, write and a test reads meanwhile. The
// zero value is empty.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// New returns a logger for everything, debug included, and what it writes, which is
// shown if the test fails.
func New(t testing.TB) (*slog.Logger, *Log) {
	l := new(Log)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", l)
		}
	})
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})), l
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Reset empties it.
func (l *Log) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

// Count returns how often it holds s.
func (l *Log) Count(s string) int { return strings.Count(l.String(), s) }
