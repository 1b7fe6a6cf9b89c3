// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const manifestFile = "manifest.json"

// manifest is what somebody needs to know to judge a result or to get it again.
type manifest struct {
	Time      time.Time         `json:"time"`
	Command   []string          `json:"command"`
	Flags     map[string]string `json:"flags"`
	Commit    string            `json:"git_commit"`
	Dirty     bool              `json:"git_dirty"` // The source tree had changes that are not in Commit.
	Go        string            `json:"go"`
	Kernel    string            `json:"kernel"`
	CPU       string            `json:"cpu"`
	Cores     int               `json:"cores"`
	MemoryKB  string            `json:"memory"`
	FileLimit uint64            `json:"file_limit"`
	TCPMem    string            `json:"tcp_mem_pages"`
	Somaxconn string            `json:"somaxconn"`
	Load      string            `json:"load_before"` // 1, 5 and 15 minutes: what else was running.
	Processes []process         `json:"processes"`
}

type process struct {
	Name    string    `json:"name"`
	PID     int       `json:"pid"`
	Command []string  `json:"command"`
	Started time.Time `json:"started"`
}

// describe fills in what it can find; what it can't stays empty.
func describe(root string, flags map[string]string) manifest {
	m := manifest{
		Time: time.Now(), Command: os.Args, Flags: flags, Go: runtime.Version(), Cores: runtime.NumCPU(),
		CPU: labelled("/proc/cpuinfo", "model name"), MemoryKB: labelled("/proc/meminfo", "MemTotal"),
		TCPMem: line("/proc/sys/net/ipv4/tcp_mem"), Somaxconn: line("/proc/sys/net/core/somaxconn"), Load: line("/proc/loadavg"),
	}
	git := func(args ...string) (string, bool) {
		cmd := exec.Command("git", args...)
		cmd.Dir = root
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err == nil
	}
	m.Commit, _ = git("rev-parse", "HEAD")
	changes, ok := git("status", "--porcelain")
	m.Dirty = !ok || changes != ""
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		m.Kernel = unix.ByteSliceToString(uts.Release[:]) + " " + unix.ByteSliceToString(uts.Machine[:])
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		m.FileLimit = limit.Cur
	}
	return m
}

// writeManifest writes manifest.json with all processes started so far.
func (l *Lab) writeManifest() error {
	b, err := json.MarshalIndent(l.manifest, "", "  ")
	if err != nil {
		return err
	}
	return l.WriteFile(manifestFile, append(b, '\n'))
}

// Facts are what a report tells of the manifest in a run's directory: names, each with
// its text.
func Facts(dir string) ([][2]string, error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("lab: %s in %s: %w", manifestFile, dir, err)
	}
	commit := m.Commit
	if m.Dirty {
		commit += " and changes that are not in it"
	}
	return [][2]string{
		{"when", m.Time.UTC().Format("2006-01-02 15:04 UTC")},
		{"commit", commit},
		{"machine", fmt.Sprintf("%s, %d cores, %s of memory", m.CPU, m.Cores, m.MemoryKB)},
		{"kernel, Go", m.Kernel + ", " + m.Go},
		{"limits", fmt.Sprintf("%d open files, somaxconn %s, tcp_mem %s pages", m.FileLimit, m.Somaxconn, m.TCPMem)},
		{"load before", m.Load},
	}, nil
}

func line(path string) string {
	b, _ := os.ReadFile(path)
	text, _, _ := strings.Cut(string(b), "\n")
	return strings.Join(strings.Fields(text), " ")
}

// labelled is the text behind the first "label:" in a file.
func labelled(path, label string) string {
	b, _ := os.ReadFile(path)
	for l := range strings.Lines(string(b)) {
		if name, text, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(name) == label {
			return strings.TrimSpace(text)
		}
	}
	return ""
}
