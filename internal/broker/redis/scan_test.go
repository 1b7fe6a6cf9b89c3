// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tickedge/internal/broker/redis/redistest"
)

// hasty are limits of a pass that nobody else has to suffer.
var hasty = scanLimits{count: 1000, pages: 1000}

// listAll returns the topics that are listed, in order and each once.
func listAll(cfg Config) (listed []string, all bool, err error) {
	all, err = cfg.list(context.Background(), hasty, func(topic string) bool {
		listed = append(listed, topic)
		return true
	})
	slices.Sort(listed)
	return slices.Compact(listed), all, err
}

func wantListed(t *testing.T, cfg Config, want ...string) {
	t.Helper()
	slices.Sort(want)
	if listed, all, err := listAll(cfg); err != nil || !all || !slices.Equal(listed, want) {
		t.Errorf("%d topics are listed, all: %v, error: %v; want %d. The first ones are %q and %q", len(listed), all, err, len(want),
			listed[:min(5, len(listed))], want[:min(5, len(want))])
	}
}

// fillKeys sets keys of topics, and returns the topics.
func fillKeys(t *testing.T, s *redistest.Server, format string, n int) (topics []string) {
	t.Helper()
	args := []any{"MSET"}
	for i := range n {
		topics = append(topics, fmt.Sprint("T", i))
		args = append(args, fmt.Sprintf(format, topics[i]), "1")
	}
	s.Do(args...)
	return topics
}

func TestListOfManyKeys(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	fillKeys(t, s, "prices:%s", 4000)
	fillKeys(t, s, "other:price:%s", 4000)
	topics := fillKeys(t, s, "price:%s", 12_000)
	for mode, cfg := range map[string]config{"channel": plain(s), "pattern": whole(s.URL()), "stream": streamed(s.URL())} {
		t.Run(mode, func(t *testing.T) { wantListed(t, cfg.Config, topics...) })
	}

	cfg := plain(s).Config
	for _, tt := range []struct {
		pages, most, want int
		all               bool
	}{{1, 1 << 20, 1200, false}, {1000, 10, 10, false}, {1000, 1 << 20, 12_000, true}} {
		n := 0
		all, err := cfg.list(t.Context(), scanLimits{count: 1000, pages: tt.pages}, func(string) bool {
			n++
			return n < tt.most
		})
		if err != nil || all != tt.all || n > tt.want {
			t.Errorf("%+v: %d topics, all: %v, error: %v", tt, n, all, err)
		}
	}
	if calls := s.Do("INFO", "commandstats"); strings.Contains(calls, "cmdstat_type:") || strings.Contains(calls, "cmdstat_keys:") {
		t.Error("Redis is asked for more than SCAN")
	}
	redistest.Eventually(t, "no connection to be left", func() bool { return !strings.Contains(s.Do("CLIENT", "LIST"), "cmd=scan") })
}

// Whatever a key is made of, it is that and no pattern.
func TestListOfKeysThatLookLikePatterns(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	for _, key := range []string{`*`, `a?`, `[a-c]`, `[^x]`, `\`, `\*`, `q*?[]\:`, `]`} {
		s.Do("FLUSHALL")
		cfg := plain(s).Config
		cfg.Key = key + "{topic}" + key
		for _, topic := range worldly {
			s.Do("SET", key+topic+key, "1")
			s.Do("SET", "b"+topic+"ab", "1")
			s.Do("SET", "x"+key+topic+key, "1")
		}
		wantListed(t, cfg, worldly...)
		if tpl, _ := newTemplate("key", cfg.Key); strings.Count(tpl.glob(), "*") != 2*strings.Count(key, "*")+1 {
			t.Errorf("the pattern of %q is %q", cfg.Key, tpl.glob())
		}
	}
	if tpl, _ := newTemplate("key", `*?[]\{topic}\a`); tpl.glob() != `\*\?\[\]\\*\\a` {
		t.Errorf("the pattern is %q", tpl.glob())
	}
}

func TestListOfCluster(t *testing.T) {
	t.Parallel()
	s := redistest.StartCluster(t, 3, 0, nil)
	client := s.Client()
	var topics []string
	for i := range 300 {
		topics = append(topics, fmt.Sprint("T", i))
		if err := client.Set(t.Context(), "price:{"+topics[i]+"}", "1", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if err := client.Set(t.Context(), fmt.Sprint("other:", i), "1", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	cfg := inSlots(s.URL()).Config
	wantListed(t, cfg, topics...)

	lost := s.Owner(0) // The first that is asked.
	left := slices.DeleteFunc(topics, func(topic string) bool { return s.Owner(s.Slot("{"+topic+"}")) == lost })
	slices.Sort(left)
	lost.Freeze()
	defer lost.Thaw()
	cfg.Timeout = time.Second
	if listed, all, err := listAll(cfg); err == nil || all || len(left) == 0 || !slices.Equal(listed, left) {
		t.Errorf("with a primary that does not answer: %d topics, all: %v, error: %v; want %d", len(listed), all, err, len(left))
	}
}

func TestListWithTLS(t *testing.T) {
	t.Parallel()
	ca := redistest.NewCA(t)
	s := redistest.StartTLS(t, ca, "--requirepass", secret)
	s.Do("SET", "price:AAPL", "1")
	cfg := Config{URL: "rediss://:" + secret + "@" + s.TLSAddr(), TLS: TLSFiles{CA: ca.File}}
	wantListed(t, cfg, "AAPL")
	cfg.URL = strings.Replace(cfg.URL, secret, "wrong", 1)
	if _, all, err := listAll(cfg); err == nil || all || strings.Contains(err.Error(), "wrong@") || cfg.Cure(err) == "" {
		t.Errorf("with a wrong password: %v, all: %v", err, all)
	}
}

// A Redis that does not answer, and a context that ends, end a pass.
func TestListEnds(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	fillKeys(t, s, "price:%s", 5000)
	cfg := plain(s).Config
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen atomic.Bool
	ended := make(chan error, 1)
	go func() {
		slow := scanLimits{count: 100, pages: 1000, pause: time.Hour}
		_, err := cfg.list(ctx, slow, func(string) bool { seen.Store(true); return true })
		ended <- err
	}()
	redistest.Eventually(t, "the first page", func() bool { return seen.Load() })
	redistest.Eventually(t, "it to be counted", func() bool { return strings.Contains(s.Do("INFO", "commandstats"), "cmdstat_scan:calls=1,") })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error: %v", err)
	}
	s.Freeze()
	defer s.Thaw()
	cfg.Timeout = timeoutMin
	if listed, all, err := listAll(cfg); err == nil || all || len(listed) > 0 {
		t.Errorf("with a Redis that does not answer: %q, all: %v", listed, all)
	}
}
