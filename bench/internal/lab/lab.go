// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package lab builds and runs the programs that are measured: edges, yardsticks, a
// Redis and a source of ticks. It ends all that it started, however the run ends.
//
//	lab.go       Lab: a run's directory and its processes
//	proc.go      Proc: one process from its start to its end
//	programs.go  how each program is started, and when it is ready; broker.go: the same of brokers
//	build.go     building programs from the source tree
//	manifest.go  manifest.json: what was measured, where and how
//	kernel.go    the kernel's memory; numbers from an edge's /metrics
package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Lab is the directory of a run and the processes that it started. Owned by one
// goroutine.
type Lab struct {
	Dir  string // Logs and the manifest.
	Root string // Of the source tree.

	ctx      context.Context
	given    map[string]string // Programs that are not built, by directory.
	manifest manifest
	procs    []*Proc // In the order of their start.
}

// New makes the run's directory, a new temporary one if dir is empty. flags are what
// the run was asked for, for the manifest. When ctx ends, every wait in the lab does.
func New(ctx context.Context, dir string, flags map[string]string) (*Lab, error) {
	root, err := sourceRoot()
	if err != nil {
		return nil, err
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "bench-"+time.Now().Format("0102-150405")+"-"); err != nil {
			return nil, fmt.Errorf("lab: %w", err)
		}
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	l := &Lab{Dir: dir, Root: root, ctx: ctx, manifest: describe(root, flags)}
	return l, l.writeManifest()
}

// Stop ends one process and forgets it.
func (l *Lab) Stop(p *Proc) error {
	for i, of := range l.procs {
		if of == p {
			l.procs = append(l.procs[:i], l.procs[i+1:]...)
			break
		}
	}
	return p.stop()
}

// Close ends all processes that still run, the last one first. The directory stays.
func (l *Lab) Close() error {
	var all []error
	for len(l.procs) > 0 {
		all = append(all, l.Stop(l.procs[len(l.procs)-1]))
	}
	return errors.Join(append(all, l.writeManifest())...)
}

// Failed names the first process that has ended by itself, nil if there is none.
func (l *Lab) Failed() error {
	for _, p := range l.procs {
		select {
		case <-p.done:
			return p.unexpected()
		default:
		}
	}
	return nil
}

// Path is that of a file in the run's directory.
func (l *Lab) Path(name string) string { return filepath.Join(l.Dir, name) }

// WriteFile puts a file of results into the run's directory.
func (l *Lab) WriteFile(name string, b []byte) error {
	if err := os.WriteFile(l.Path(name), b, 0o644); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}
