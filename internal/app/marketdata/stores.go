// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tickedge/internal/app"
	"tickedge/internal/bars"
	"tickedge/internal/checkpoint"
	checkpointfile "tickedge/internal/checkpoint/file"
	checkpointpostgres "tickedge/internal/checkpoint/postgres"
	"tickedge/internal/flags"
	"tickedge/internal/history"
	"tickedge/internal/history/pebble"
	"tickedge/internal/history/postgres"
	"tickedge/internal/panics"
)

// databaseTimeout bounds a request to the database of checkpoints.
const databaseTimeout = 30 * time.Second

// stores are what the program keeps things in. There is no history without -history.
type stores struct {
	history history.Store
	writer  *history.Writer
	opened  []io.Closer
}

// close closes all, and waits for that until a second after last has ended: a database that does not answer may take longer.
func (s *stores) close(last context.Context, log *slog.Logger) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for i := len(s.opened) - 1; i >= 0; i-- {
			if err := s.opened[i].Close(); err != nil {
				log.Error("a store was not closed well", "error", err)
			}
		}
	}()
	select {
	case <-closed:
		return
	case <-last.Done():
	}
	select {
	case <-closed:
	case <-time.After(time.Second):
		log.Warn("a store does not close, and is left open at the end")
	}
}

func isDatabase(url string) bool {
	return strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
}

// openHistory opens the store of bars.
func (c *Config) openHistory(ctx context.Context, log *slog.Logger) (history.Store, error) {
	if isDatabase(c.history) {
		return postgres.Open(ctx, postgres.Config{URL: c.history, Log: log})
	}
	return pebble.Open(pebble.Config{Dir: filepath.Join(c.history, "bars"), Log: log})
}

// openCheckpoints opens the store of checkpoints: where it is said, or beside the history.
func (c *Config) openCheckpoints(ctx context.Context) (checkpoint.Store, error) {
	at := c.checkpoints
	if at == "" {
		at = c.history
	}
	switch {
	case at == "":
		return noCheckpoints{}, nil
	case isDatabase(at):
		return checkpointpostgres.Open(ctx, at, databaseTimeout)
	case c.checkpoints == "":
		at = filepath.Join(at, "checkpoints")
	}
	return checkpointfile.Open(at)
}

// noCheckpoints keeps nothing: a restart begins anew.
type noCheckpoints struct{}

func (noCheckpoints) Load(context.Context, string) ([]byte, int64, error) { return nil, 0, nil }
func (noCheckpoints) Save(context.Context, string, int64, []byte) error   { return nil }
func (noCheckpoints) Close() error                                        { return nil }

// openStores opens what the program keeps things in, and has bars written.
func (p *program) openStores(ctx context.Context) (err error) {
	if p.out.checkpoints, err = p.cfg.openCheckpoints(ctx); err != nil {
		return err
	}
	p.stores.opened = append(p.stores.opened, p.out.checkpoints)
	if p.cfg.history == "" {
		return nil
	}
	store, err := p.cfg.openHistory(ctx, p.log)
	if err != nil {
		return err
	}
	p.stores.opened = append(p.stores.opened, store)
	hot := history.HotConfig{}
	if isDatabase(p.cfg.history) {
		hot.MaxAge = 500 * time.Millisecond // Others may write too: the topics of bars show the last two beside what there is.
	}
	p.stores.history = history.NewHot(store, hot)
	p.stores.writer = history.NewWriter(p.stores.history, history.WriterConfig{Log: p.log})
	p.write(p.stores.writer, nil)
	p.working.Go(func() {
		panics.Keep(p.work, panics.Feed, p.log, func(ctx context.Context) { p.cfg.retain.Run(ctx, p.stores.history, p.log) })
	})
	return nil
}

// write has bars written that shards tell. A checkpoint stands behind them, and behind what flush waits for, which may be nil.
func (p *program) write(w *history.Writer, flush func(context.Context) error) {
	p.out.bars = append(p.out.bars, writerSink{w, flush})
	p.working.Go(func() {
		last, cancel := context.WithCancel(p.last)
		defer cancel()
		stop := context.AfterFunc(p.work, func() { time.AfterFunc(endTimeout, cancel) })
		defer stop()
		w.Run(p.work, last)
	})
}

// writerSink hands bars to a writer.
type writerSink struct {
	to    *history.Writer
	flush func(context.Context) error
}

// Put keeps a bar where it is if the writer has no room or has ended. What no store takes is counted there.
func (s writerSink) Put(b *bars.Bar) bool {
	err := s.to.Offer(*b)
	return !errors.Is(err, history.ErrFull) && !errors.Is(err, history.ErrWriterClosed)
}

func (s writerSink) Flush(ctx context.Context) error {
	if err := s.to.Flush(ctx); err != nil || s.flush == nil {
		return err
	}
	return s.flush(ctx)
}

// copyHistory is the sub-commands backup and restore: all bars of -history into a file, and back.
func copyHistory(ctx context.Context, command string, args []string, stdout, stderr io.Writer) (code int) {
	c := newConfig()
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return misused(stderr, c, fmt.Errorf("%s: want a file first, such as marketdata %s bars.ndjson.gz -history bars", command, command))
	}
	path, args := args[0], args[1:]
	over := new(bool)
	if command == "restore" {
		over = c.flags.Bool("over", false, "also if the history has bars, which are overwritten unless they were revised more often")
	}
	fail := func(err error) int {
		fmt.Fprintf(stderr, "marketdata %s: %v\n", command, c.flags.Conceal(err, args))
		return app.Failed
	}
	if err := c.flags.Parse(args); err != nil || c.history == "" {
		if !flags.Asked(err) && err == nil {
			err = errors.New("-history is missing: want the folder or the database that the bars are in")
		}
		return misused(stderr, c, c.flags.Conceal(err, args))
	}
	if command == "backup" && !isDatabase(c.history) { // A folder that opening made would take the place of the last backup.
		if _, err := os.Stat(filepath.Join(c.history, "bars")); err != nil {
			return fail(fmt.Errorf("-history has no bars: %w: want the folder that marketdata has", err))
		}
	}
	log := c.log.Logger(stderr)
	store, err := c.openHistory(ctx, log)
	if err != nil {
		return fail(err)
	}
	defer store.Close()
	var n int64
	if command == "backup" {
		n, err = backup(ctx, store, path)
	} else {
		n, err = restore(ctx, store, path, *over)
	}
	if errors.Is(err, history.ErrNotEmpty) {
		err = errors.New("the history has bars already: want an empty one, or -over behind the file, which keeps the newer state of each bar")
	}
	if err != nil {
		return fail(err)
	}
	fmt.Fprintf(stdout, "%d bars\n", n)
	return app.OK
}

// backup writes a file whole or not at all, and reads it again before it has its name.
func backup(ctx context.Context, store history.Store, path string) (n int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if n, err = history.Backup(ctx, store, f); err != nil {
		return 0, err
	}
	if _, err = f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	if read, err := history.Verify(ctx, f); err != nil || read != n {
		return 0, errors.Join(fmt.Errorf("%d bars were written and %d read again", n, read), err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return 0, err
	}
	return n, os.Rename(f.Name(), path)
}

func restore(ctx context.Context, store history.Store, path string, over bool) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return history.Restore(ctx, store, f, over)
}
