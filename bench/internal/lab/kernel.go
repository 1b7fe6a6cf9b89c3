//go:build linux

package lab

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"tickedge/bench/internal/procfs"
)

// Kernel is the kernel's memory of this host at one moment. Sockets are in it with
// both ends if the clients are on the same host.
type Kernel struct {
	Slab    int64 `json:"slab_bytes"`    // Sockets, files, inodes, and what else the kernel keeps.
	TCPMem  int64 `json:"tcp_mem_bytes"` // Buffers of TCP sockets.
	Sockets int64 `json:"tcp_sockets"`   // In use.
}

// ReadKernel samples the kernel's memory.
func ReadKernel() (Kernel, error) {
	mem, err := procfs.TCPMem()
	if err != nil {
		return Kernel{}, fmt.Errorf("lab: %w", err)
	}
	kb, err := strconv.ParseInt(strings.TrimSuffix(labelled("/proc/meminfo", "Slab"), " kB"), 10, 64)
	if err != nil {
		return Kernel{}, fmt.Errorf("lab: Slab in /proc/meminfo: %w", err)
	}
	k := Kernel{Slab: kb << 10, TCPMem: mem}
	fields := strings.Fields(labelled("/proc/net/sockstat", "TCP"))
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == "inuse" {
			k.Sockets, err = strconv.ParseInt(fields[i+1], 10, 64)
		}
	}
	return k, err
}

var client = http.Client{Timeout: 5 * time.Second}

// get reads a page of an admin port.
func get(addr, path string) (string, error) {
	resp, err := client.Get("http://" + addr + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s says %s: %.100s", path, resp.Status, b)
	}
	return string(b), err
}

// CPUProfile lets the first edge of a server note where it spends its CPU, for whole
// seconds, and returns the profile: a file for go tool pprof.
func (s *Server) CPUProfile(ctx context.Context, seconds int) ([]byte, error) {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", s.Admins[0], seconds)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("lab: profile: %w", err)
	}
	resp, err := http.DefaultClient.Do(req) // As long as it takes: ctx ends it.
	if err != nil {
		return nil, fmt.Errorf("lab: profile: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.100s", resp.Status, b)
	}
	if err != nil {
		err = fmt.Errorf("lab: profile: %w", err)
	}
	return b, err
}

// Metrics reads /metrics of all edges of a server and adds them up. Names are as they
// stand there, labels included. Other servers have none.
func (s *Server) Metrics() (map[string]float64, error) {
	all := map[string]float64{}
	for _, admin := range s.Admins {
		text, err := get(admin, "/metrics")
		if err != nil {
			return all, fmt.Errorf("lab: metrics: %w", err)
		}
		for l := range strings.Lines(text) {
			name, value, ok := strings.Cut(strings.TrimSpace(l), " ")
			if v, err := strconv.ParseFloat(value, 64); ok && err == nil && !strings.HasPrefix(name, "#") {
				all[name] += v
			}
		}
	}
	return all, nil
}

// exists reports whether a process is there, be it only to be waited for.
func exists(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil
}
