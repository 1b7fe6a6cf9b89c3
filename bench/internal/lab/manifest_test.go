// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFacts(t *testing.T) {
	dir := t.TempDir()
	if _, err := Facts(dir); err == nil {
		t.Error("a directory without a manifest has facts")
	}
	const text = `{"time": "2026-03-01T12:00:00+02:00", "git_commit": "abc", "git_dirty": true, "cpu": "Z80", "cores": 2, "memory": "64 kB",
		"kernel": "6.1", "go": "go1.26", "file_limit": 20000, "somaxconn": "4096", "tcp_mem_pages": "1 2 3", "load_before": "0.5"}`
	if err := os.WriteFile(filepath.Join(dir, manifestFile), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	facts, err := Facts(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range facts {
		got[f[0]] = f[1]
	}
	for name, want := range map[string]string{
		"when": "2026-03-01 10:00 UTC", "commit": "abc and changes that are not in it", "machine": "Z80, 2 cores, 64 kB of memory",
		"kernel, Go": "6.1, go1.26", "limits": "20000 open files, somaxconn 4096, tcp_mem 1 2 3 pages", "load before": "0.5",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
}
