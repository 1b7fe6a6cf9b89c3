// SPDX-License-Identifier: Apache-2.0

package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"tickedge/internal/bars"
)

// Retention says for how many days the bars of an interval are kept; 0 is for ever, as is an interval that is not there.
type Retention map[string]int

// DefaultRetention is what is kept unless the operator chooses otherwise: 1s for a week, 1m and 5m for a year, others for
// ever.
const DefaultRetention = "1s=7d,1m=365d,5m=365d"

// daysMax bounds a retention: a hundred years.
const daysMax = 36_500

// ParseRetention reads a list such as "1s=7d,1m=365d,1d=0".
func ParseRetention(list string) (Retention, error) {
	r := make(Retention)
	for entry := range strings.SplitSeq(list, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		name, value, ok := strings.Cut(entry, "=")
		if _, err := bars.ParseInterval(name); err != nil {
			return nil, fmt.Errorf("retention %q: %w", entry, err)
		}
		days, err := strconv.Atoi(strings.TrimSuffix(value, "d"))
		if !ok || err != nil || days < 0 || days > daysMax || days > 0 && !strings.HasSuffix(value, "d") {
			return nil, fmt.Errorf("retention %q: want an interval and days such as 1s=7d, or 0 for ever", entry)
		}
		if _, twice := r[name]; twice {
			return nil, fmt.Errorf("retention %q: the interval is there twice", entry)
		}
		r[name] = days
	}
	return r, nil
}

// String is the list that [ParseRetention] reads.
func (r Retention) String() string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(r)) {
		entry := name + "=" + strconv.Itoa(r[name])
		if r[name] > 0 {
			entry += "d"
		}
		list = append(list, entry)
	}
	return strings.Join(list, ",")
}

// Trim deletes from a store what is too old at a time, and returns how many bars that were. What is deleted began before a
// midnight of UTC, so that a store which has its bars by days drops days.
func (r Retention) Trim(ctx context.Context, s Store, now time.Time) (deleted int64, err error) {
	const day = 86_400_000
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if r[name] == 0 {
			continue
		}
		before := (now.UnixMilli()/day - int64(r[name])) * day
		for {
			n, e := s.Trim(ctx, name, before)
			if deleted += n; e != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", name, e))
			}
			if n == 0 || e != nil {
				break
			}
		}
	}
	return deleted, err
}

// trimEvery is how often [Retention.Run] looks.
const trimEvery = time.Hour

// Run trims a store now and each hour, until ctx ends. What fails is logged, and tried again an hour later.
func (r Retention) Run(ctx context.Context, s Store, log *slog.Logger) {
	ticker := time.NewTicker(trimEvery)
	defer ticker.Stop()
	for {
		began := time.Now()
		n, err := r.Trim(ctx, s, began)
		if err != nil && ctx.Err() == nil {
			log.Error("history: old bars can't be deleted", "error", err)
		}
		if n > 0 {
			log.Info("history: old bars were deleted", "bars", n, "took", time.Since(began).Round(time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
