// SPDX-License-Identifier: Apache-2.0

package history_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tickedge/internal/bars"
	"tickedge/internal/history"
	"tickedge/internal/history/historytest"
	"tickedge/internal/logtest"
)

var (
	minute = historytest.Interval("1m")
	second = historytest.Interval("1s")
	btc    = historytest.Symbol("COINBASE:BTC-USD", 2, 8)
)

const patience = 2 * time.Minute

// running starts a writer, which the end of the test ends.
func running(t *testing.T, s history.Store, c history.WriterConfig) (w *history.Writer, end func()) {
	t.Helper()
	c.Log, _ = logtest.New(t)
	w = history.NewWriter(s, c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		last, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		w.Run(ctx, last)
	}()
	end = func() { cancel(); <-done }
	t.Cleanup(end)
	return w, end
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func stored(t *testing.T, s history.Store, tf string) []bars.Bar {
	t.Helper()
	got, err := s.Bars(within(t), historytest.Whole(btc.Name, tf))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestWriterStoresInBatches(t *testing.T) {
	store := new(historytest.Fake)
	w, _ := running(t, store, history.WriterConfig{Batch: 100, Delay: time.Hour})
	list := historytest.Run(btc, minute, 0, 1000)
	for _, b := range list {
		if err := w.Put(within(t), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(within(t)); err != nil {
		t.Fatal(err)
	}
	historytest.Same(t, "stored", stored(t, store, "1m"), list)
	if n := store.Puts(); n > 20 {
		t.Errorf("%d batches of 1000 bars", n)
	}
	if s := w.Stats(); s.Stored != 1000 || s.Waiting != 0 || s.Room != 200_000 {
		t.Errorf("%+v", s)
	}
	if got := w.Waiting(btc.Name, "1m"); len(got) != 0 {
		t.Errorf("%d bars wait after a flush", len(got))
	}
}

// A bar that waits alone is stored without a flush.
func TestWriterStoresAfterADelay(t *testing.T) {
	put := make(chan struct{})
	told := sync.OnceFunc(func() { close(put) }) // What took too long is put again.
	store := &historytest.Fake{OnPut: func(context.Context, []bars.Bar) error { told(); return nil }}
	w, _ := running(t, store, history.WriterConfig{Delay: time.Millisecond})
	if err := w.Offer(historytest.Bar(btc, minute, 0)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-put:
	case <-time.After(patience):
		t.Fatal("it is not stored")
	}
}

// While the store fails bars are kept, the newest of each key, and no more than there is room for.
func TestWriterWhileTheStoreFails(t *testing.T) {
	var away atomic.Bool
	away.Store(true)
	failed := make(chan struct{}, 1000)
	store := &historytest.Fake{OnPut: func(context.Context, []bars.Bar) error {
		if away.Load() {
			failed <- struct{}{}
			return errors.New("no room on the disk")
		}
		return nil
	}}
	w, _ := running(t, store, history.WriterConfig{Most: 10, Batch: 4, Delay: time.Millisecond, Retry: time.Millisecond})
	list := historytest.Run(btc, minute, 0, 12)
	for i, b := range list[:10] {
		if err := w.Offer(b); err != nil {
			t.Fatalf("bar %d: %v", i, err)
		}
	}
	<-failed
	if err := w.Offer(list[10]); !errors.Is(err, history.ErrFull) {
		t.Errorf("an eleventh bar: %v", err)
	}
	short, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.Put(short, list[10]); !errors.Is(err, context.Canceled) {
		t.Errorf("an eleventh bar that waits: %v", err)
	}
	for rev := range int64(5) { // A revision needs no room.
		list[3].Rev, list[3].Count = rev+1, list[3].Count+1
		if err := w.Offer(list[3]); err != nil {
			t.Fatal(err)
		}
	}
	old := list[3]
	old.Count--
	if err := w.Offer(old); err != nil {
		t.Fatal(err)
	}
	historytest.Same(t, "waiting", w.Waiting(btc.Name, "1m"), list[:10])
	if s := w.Stats(); s.Waiting != 10 || s.Room != 0 || s.Dropped != 1 || s.Failures == 0 || s.Behind == 0 || s.LastError != "no room on the disk" || s.Stored != 0 {
		t.Errorf("%+v", s)
	}
	waits := make(chan error, 1)
	go func() { waits <- w.Put(within(t), list[11]) }()
	<-failed
	away.Store(false)
	if err := <-waits; err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(within(t)); err != nil {
		t.Fatal(err)
	}
	historytest.Same(t, "in the end", stored(t, store, "1m"), append(list[:10:10], list[11]))
	if s := w.Stats(); s.Behind != 0 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

// A flush waits for a bar that has come while an older one of its key was on its way.
func TestFlushWaitsForWhatCameDuringAPut(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	puts := 0
	store := &historytest.Fake{OnPut: func(context.Context, []bars.Bar) error {
		switch puts++; puts {
		case 1:
			close(entered)
			<-leave
		case 2, 3, 4: // A flush that does not wait is over by now.
			return errors.New("now and then")
		}
		return nil
	}}
	w, _ := running(t, store, history.WriterConfig{Delay: time.Millisecond})
	b := historytest.Bar(btc, minute, 0)
	if err := w.Offer(b); err != nil {
		t.Fatal(err)
	}
	<-entered
	b.Rev, b.Count = 1, b.Count+1
	if err := w.Offer(b); err != nil {
		t.Fatal(err)
	}
	flushed := make(chan error, 1)
	go func() { flushed <- w.Flush(within(t)) }()
	for w.Flushing() == 0 {
		time.Sleep(time.Millisecond)
	}
	historytest.Same(t, "waiting", w.Waiting(btc.Name, "1m"), []bars.Bar{b})
	close(leave)
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	historytest.Same(t, "after the flush", stored(t, store, "1m"), []bars.Bar{b})
}

// The end stores what waits, and says so of what comes later. Who waits is let go.
func TestWriterEnds(t *testing.T) {
	store := new(historytest.Fake)
	w, end := running(t, store, history.WriterConfig{Delay: time.Hour, Batch: 3})
	list := historytest.Run(btc, minute, 0, 8)
	for _, b := range list {
		if err := w.Offer(b); err != nil {
			t.Fatal(err)
		}
	}
	end()
	historytest.Same(t, "at the end", stored(t, store, "1m"), list)
	if err := w.Offer(list[0]); !errors.Is(err, history.ErrWriterClosed) {
		t.Errorf("after the end: %v", err)
	}
	if err := w.Flush(within(t)); err != nil {
		t.Errorf("nothing waits: %v", err)
	}
	flawed := list[0]
	flawed.Low = 0
	if err := w.Offer(flawed); err == nil || w.Stats().Flawed != 1 {
		t.Errorf("a bar that no store takes: %v", err)
	}
}

func TestWriterEndsWithoutItsStore(t *testing.T) {
	store := &historytest.Fake{OnPut: func(ctx context.Context, _ []bars.Bar) error { return errors.New("away") }}
	w, end := running(t, store, history.WriterConfig{Most: 1, Delay: time.Hour})
	if err := w.Offer(historytest.Bar(btc, minute, 0)); err != nil {
		t.Fatal(err)
	}
	waits := make(chan error, 2)
	go func() { waits <- w.Flush(within(t)) }()
	go func() { waits <- w.Put(within(t), historytest.Bar(btc, minute, 60_000)) }()
	for w.Stats().Failures == 0 { // Flush hurries it.
		time.Sleep(time.Millisecond)
	}
	end()
	for range 2 {
		if err := <-waits; !errors.Is(err, history.ErrWriterClosed) {
			t.Errorf("%v", err)
		}
	}
}

// Whatever fails in between, the newest of each key is in the store after a flush.
func TestWriterRandom(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	var fail atomic.Uint32
	store := &historytest.Fake{OnPut: func(context.Context, []bars.Bar) error {
		if fail.Add(1)%3 != 0 {
			return errors.New("now and then")
		}
		return nil
	}}
	w, _ := running(t, store, history.WriterConfig{Most: 50, Batch: 7, Delay: time.Millisecond, Retry: time.Microsecond})
	want := make([]bars.Bar, 40)
	for i := range want {
		want[i] = historytest.Bar(btc, second, int64(i)*1000)
	}
	put := make([]bool, len(want))
	for step := range 1000 {
		i := rng.IntN(len(want))
		if put[i] {
			want[i].Rev++
		}
		put[i] = true
		want[i].Count = int64(step)
		if err := w.Put(within(t), want[i]); err != nil {
			t.Fatal(err)
		}
		if rng.IntN(50) == 0 {
			if err := w.Flush(within(t)); err != nil {
				t.Fatal(err)
			}
			var now []bars.Bar
			for i := range want {
				if put[i] {
					now = append(now, want[i])
				}
			}
			historytest.Same(t, "after a flush", stored(t, store, "1s"), now)
		}
	}
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}
