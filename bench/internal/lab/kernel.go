// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"tickedge/bench/internal/procfs"
)

// Kernel is the kernel's memory of this host at one moment, in bytes. Sockets are in it
// with both ends if the clients are on the same host.
type Kernel struct {
	Slab   int64 // Sockets, files, inodes, and what else the kernel keeps.
	TCPMem int64 // Buffers of TCP sockets.
}

// ReadKernel samples the kernel's memory.
func ReadKernel() (k Kernel, err error) {
	var slabErr error
	k.TCPMem, err = procfs.TCPMem()
	k.Slab, slabErr = procfs.Slab()
	return k, errors.Join(err, slabErr)
}

// pageTimeout bounds what a page of an admin port may take, if it does not measure.
const pageTimeout = 5 * time.Second

// page reads a page of an admin port.
func page(addr, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), pageTimeout)
	defer cancel()
	return pageWithin(ctx, addr, path)
}

func pageWithin(ctx context.Context, addr, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s says %s: %.100s", path, resp.Status, b)
	}
	return b, err
}

// Page reads a page of the admin port of a server's first edge, for as long as it takes or
// until ctx ends.
func (s *Server) Page(ctx context.Context, path string) ([]byte, error) {
	b, err := pageWithin(ctx, s.Admins[0], path)
	if err != nil {
		err = fmt.Errorf("lab: %w", err)
	}
	return b, err
}

// Metrics are what an edge says of itself, or several together. Names are as they stand
// there, labels included.
type Metrics map[string]float64

// Sum adds up a metric over all its labels.
func (m Metrics) Sum(of string) (sum float64) {
	for name, value := range m {
		if base, _, _ := strings.Cut(name, "{"); base == of {
			sum += value
		}
	}
	return sum
}

// Count is Sum of what is counted.
func (m Metrics) Count(of string) uint64 { return uint64(m.Sum(of)) }

// By adds up a metric by the values of one of its labels.
func (m Metrics) By(of, label string) map[string]float64 {
	by := map[string]float64{}
	for name, value := range m {
		if labels, ok := strings.CutPrefix(name, of+"{"); ok {
			_, text, _ := strings.Cut(labels, label+`="`)
			text, _, _ = strings.Cut(text, `"`)
			by[text] += value
		}
	}
	return by
}

// Metrics reads /metrics of all edges of a server and adds them up. Other servers have
// none.
func (s *Server) Metrics() (Metrics, error) {
	all := Metrics{}
	each, err := s.EachMetrics()
	for _, m := range each {
		for name, value := range m {
			all[name] += value
		}
	}
	return all, err
}

// EachMetrics reads /metrics of each edge of a server.
func (s *Server) EachMetrics() (each []Metrics, err error) {
	for _, admin := range s.Admins {
		text, err := page(admin, "/metrics")
		if err != nil {
			return each, fmt.Errorf("lab: metrics: %w", err)
		}
		m := Metrics{}
		for l := range strings.Lines(string(text)) {
			name, value, ok := strings.Cut(strings.TrimSpace(l), " ")
			if v, err := strconv.ParseFloat(value, 64); ok && err == nil && !strings.HasPrefix(name, "#") {
				m[name] += v
			}
		}
		each = append(each, m)
	}
	return each, nil
}

// exists reports whether a process is there, be it only to be waited for.
func exists(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil
}
