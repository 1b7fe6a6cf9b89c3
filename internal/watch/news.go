// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"time"

	"tickedge/internal/alert"
	"tickedge/internal/broker"
)

// Of publishing.
const (
	newsEvery   = 500 * time.Millisecond // What another process has stored, and not published.
	newsUsers   = 200                    // At a time.
	newsTimeout = 5 * time.Second
)

// publish brings the news of users to their topics until the broker has them.
func (w *Watch) publish(ctx context.Context) {
	if w.cfg.To == nil {
		return
	}
	var up outages
	var again broker.Backoff
	for ctx.Err() == nil {
		err := w.republish(ctx, &up)
		n := 0
		if err == nil {
			n, err = w.publishSome(ctx)
		}
		wait := newsEvery
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			wait = max(wait, again.Next())
			w.publishFailures.Add(1)
			w.cfg.Log.Warn("users can't be told what has fired: it is tried again until they are", "error", err)
		} else if again.Reset(); n == newsUsers || up.again {
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		case <-w.news:
			t.Stop()
		}
	}
}

// outages knows until when all users are told again: a broker that was away may have lost what they were told.
type outages struct {
	since int64  // Of the broker's present state, when it was told.
	again bool   // There are users left.
	last  string // The last one who was told again.
}

// republish has all users told again when this process has started, and when the broker has come back. What the broker still has it refuses by
// its version.
func (w *Watch) republish(ctx context.Context, o *outages) error {
	for i := range w.cfg.Table.Sources() {
		if s := w.cfg.Table.SourceState(i); s.Up && s.Since > o.since {
			o.since, o.again, o.last = s.Since, true, ""
		}
	}
	if !o.again {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	last, err := w.cfg.Store.Republish(within, o.last, newsUsers)
	if err == nil {
		o.last, o.again = last, last != ""
	}
	return err
}

func (w *Watch) publishSome(ctx context.Context) (int, error) {
	within, cancel := context.WithTimeout(ctx, newsTimeout+storeTimeout)
	defer cancel()
	news, err := w.cfg.Store.Unpublished(within, newsUsers)
	if err != nil || len(news) == 0 {
		return 0, err
	}
	ticks := make([]broker.Tick, len(news))
	for i := range news {
		ticks[i] = broker.Tick{Topic: w.cfg.Topic(news[i].User), Value: newsValue(&news[i], w.cfg.Item), Ver: news[i].Number}
	}
	sending, end := context.WithTimeout(within, newsTimeout)
	w.cfg.To.Publish(sending, ticks)
	end()
	var told []alert.Publication
	for i, t := range ticks {
		switch t.Fate {
		case broker.Taken, broker.Outdated, broker.Superseded:
			told = append(told, alert.Publication{User: news[i].User, Number: news[i].Number})
		default:
			err = refusal(t)
		}
	}
	if len(told) > 0 {
		if stored := w.cfg.Store.Published(within, told); stored != nil {
			return 0, stored
		}
		w.published.Add(uint64(len(told)))
	}
	return len(told), err
}

func refusal(t broker.Tick) error {
	if why, ok := t.Fate.Refusal(); ok {
		return errors.New("the broker does not take the topic " + t.Topic + ": " + why)
	}
	return errors.New("the broker is away")
}
