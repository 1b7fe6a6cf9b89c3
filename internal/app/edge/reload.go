// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tickedge/internal/auth"
	"tickedge/internal/panics"
)

const (
	// settleTime is between two looks at a file that is being written. What is read twice alike is whole.
	settleTime = 200 * time.Millisecond
	// readAgain is how often a configuration is read whose files change meanwhile.
	readAgain = 20
	// adjustTime bounds the wait until all loops go by what is new.
	adjustTime = 2 * time.Second
)

// reloadMin keeps looks at files from being felt.
const reloadMin = 100 * time.Millisecond

// validateReload looks at how often files are looked at.
func (c *Config) validateReload() error {
	if c.reloadEvery != 0 && c.reloadEvery < reloadMin {
		return fmt.Errorf("-reload-every is %v, want %v to 1h0m0s, or 0 for SIGHUP only", c.reloadEvery, reloadMin)
	}
	return upToAnHour("-reload-every", c.reloadEvery)
}

// running is what an edge goes by now, of what may change.
type running struct {
	maxConns          int
	backlog           int64
	drainDelay, drain time.Duration
	verifier          *auth.Verifier
}

// running may be called from any goroutine.
func (e *edge) running() *running {
	if r := e.now.Load(); r != nil {
		return r
	}
	return &running{e.cfg.loop.MaxConns, e.cfg.loop.Backlog, e.cfg.drainDelay, e.cfg.drain, e.verifier}
}

// reloads is what the metrics say of reloads. The zero value is that of an edge that has just started.
type reloads struct {
	failing                    atomic.Bool
	applied, unchanged, failed atomic.Uint64
	good                       atomic.Int64 // Unix time in milliseconds.
}

// reloader reads the configuration anew, and applies what may change. Owned by its goroutine.
type reloader struct {
	*edge
	last     *Config           // Of which everything is applied that may be.
	values   map[string]value  // Of the flags, as the edge runs with them.
	files    map[string]string // The content of the files that were read last, or that it can't be read, by their names.
	complain string            // What was said of these files.
}

func newReloader(e *edge) *reloader {
	files := e.cfg.content
	return &reloader{edge: e, last: e.cfg, values: e.cfg.values(files), files: files}
}

// startReloads has the configuration read anew at each signal, and when files of it have changed, until ctx ends.
func (e *edge) startReloads(ctx context.Context) {
	e.reloads.good.Store(time.Now().UnixMilli())
	if e.cfg.reloadEvery == 0 && e.cfg.hangups == nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(e.work, cancel) // Of an edge that has failed only this ends.
	r := newReloader(e)
	e.working.Go(func() { panics.Keep(ctx, panics.Ready, e.log, r.run) })
}

func (r *reloader) run(ctx context.Context) {
	every := r.cfg.reloadEvery
	look := time.NewTimer(every)
	defer look.Stop()
	if every == 0 {
		look.Stop()
	}
	var changing map[string]string // What was found at the last look, and not two times yet.
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.cfg.hangups:
			changing = nil
			r.reload(ctx, byHangup)
		case <-look.C:
			found := readFiles(slices.Collect(maps.Keys(r.files)))
			switch {
			case maps.Equal(found, r.files) && !r.reloads.failing.Load():
				changing = nil
			case maps.Equal(found, changing):
				changing = nil
				r.reload(ctx, "its files")
			default:
				changing = found
				look.Reset(min(every, settleTime))
				continue
			}
			look.Reset(every)
		}
	}
}

// byHangup is what the log says of a reload that somebody has asked for.
const byHangup = "SIGHUP"

var errMoving = errors.New("the files change while they are read, so nothing was taken of them")

// reload reads the configuration and applies it, or keeps everything. by is what it is read for.
func (r *reloader) reload(ctx context.Context, by string) {
	r.cfg.supervisor.Reload(func() {
		err := errMoving
		for n := 0; n < readAgain && errors.Is(err, errMoving) && ctx.Err() == nil; n++ {
			err = r.try(ctx, by)
		}
		if err != nil && ctx.Err() == nil { // Who ends it while it reads has no use for a complaint.
			r.refuse(err, by)
		}
	})
}

// refuse says once what is wrong with the files as they are, but always to who has asked.
func (r *reloader) refuse(err error, by string) {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	if r.reloads.failing.Swap(true) && r.complain == text && by != byHangup {
		return
	}
	r.complain = text
	r.reloads.failed.Add(1)
	r.log.Error("the configuration can't be read anew, and stays as it was", "error", text, "by", by,
		"hint", "correct that; edge -check says whether it is right, and a restart would fail until it is")
}

// try reads the configuration, makes ready what can fail, and applies it.
func (r *reloader) try(ctx context.Context, by string) error {
	names := r.last.files()
	if err := readable(names); err != nil {
		return err
	}
	first := newConfig(commands...)
	_ = first.read(r.cfg.args) // It says which files there are; what is wrong is told below.
	names = append(names, first.files()...)
	if err := readable(names); err != nil {
		return err
	}
	before := readFiles(names)
	if by == byHangup { // Who has asked may still be writing.
		select {
		case <-time.After(settleTime):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	next, err := Parse(r.cfg.args)
	var p *plan
	if err == nil {
		p, err = r.plan(next, before)
	}
	if !maps.Equal(before, readFiles(names)) {
		return errMoving
	}
	r.files = before
	if err != nil {
		return err
	}
	r.carryOut(ctx, p, by)
	return nil
}

// carryOut applies what can't fail any more, and says what was done.
func (r *reloader) carryOut(ctx context.Context, p *plan, by string) {
	for _, apply := range p.apply {
		apply()
	}
	if err := p.adjust(ctx); err != nil {
		r.log.Warn("not all event loops go by the new configuration yet, and will in their next turn", "error", err)
	}
	r.last = p.next
	for _, c := range p.applied {
		r.values[c.flag] = c.to
	}
	counter := &r.reloads.unchanged
	if len(p.applied) > 0 {
		counter = &r.reloads.applied
	}
	counter.Add(1)
	failed := r.reloads.failing.Swap(false)
	r.complain = ""
	r.reloads.good.Store(time.Now().UnixMilli())
	switch {
	case len(p.applied) > 0:
		r.log.Info("the configuration was read anew", "changed", p.changes(), "by", by)
	case len(p.restart) == 0 && (failed || by == byHangup):
		r.log.Info("the configuration was read anew, and nothing has changed", "by", by)
	}
	if len(p.restart) > 0 {
		r.log.Warn("these need a restart: "+strings.Join(p.restart, ", "), "by", by, "hint", "they are as before until then")
	}
}

// reloadMetrics are those of reloads.
var reloadMetrics = []metric{
	{"reload_successful", "1 if the configuration could be read when that was tried last, or it was not tried since the start.", "", one(func(s *scrape) float64 { return oneIf(!s.reloads.failing.Load()) })},
	{"reload_timestamp_seconds", "When the configuration was read last without an error, as Unix time.", "", one(func(s *scrape) float64 { return float64(s.reloads.good.Load()) / 1000 })},
	{"reloads_total", "Times the configuration was read anew, by what became of it.", "result", by(func(s *scrape) map[string]uint64 {
		return map[string]uint64{"applied": s.reloads.applied.Load(), "unchanged": s.reloads.unchanged.Load(), "failed": s.reloads.failed.Load()}
	})},
}
