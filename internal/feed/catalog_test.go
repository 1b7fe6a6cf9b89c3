// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tickedge/internal/logtest"
	"tickedge/internal/topics"
)

// listing is a puppet that lists topics.
type listing struct {
	puppet
	names []string
	whole bool
	err   error
	takes time.Duration

	passes int
}

func (l *listing) List(ctx context.Context, each func(string) bool) (bool, error) {
	l.passes++
	time.Sleep(l.takes)
	for _, name := range l.names {
		if !each(name) {
			return false, nil
		}
	}
	return l.whole && l.err == nil, l.err
}

func (l *listing) Cure(error) string { return "the cure" }

// catalog returns the catalog of a feed of which l lists the topics that begin with fx:, and last
// the others. It runs until the test ends it.
func catalog(t *testing.T, l, last *listing) (c *Catalog, log *logtest.Log, end func()) {
	t.Helper()
	logger, log := logtest.New(t)
	f, err := New(Config{{Patterns: []string{"fx:*"}, Broker: l}, {Broker: last}}, topics.New(topics.Config{Max: 100}), logger)
	if err != nil {
		t.Fatal(err)
	}
	c = f.NewCatalog()
	ctx, cancel := context.WithCancel(context.Background())
	go c.Run(ctx)
	return c, log, func() { cancel(); synctest.Wait() }
}

func (c *Catalog) want(t *testing.T, all bool, want ...string) {
	t.Helper()
	names, isAll := c.Names()
	if names = slices.Sorted(slices.Values(names)); !slices.Equal(names, want) || isAll != all {
		t.Errorf("%q, all: %v, want %q, %v", names, isAll, want, all)
	}
}

func TestCatalog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fx := &listing{names: []string{"fx:EUR", "AAPL", "fx:a b", "fx:EUR"}, whole: true}
		rest := &listing{names: []string{"MSFT", "fx:USD", "", strings.Repeat("x", 65), "MSFT"}, whole: true}
		c, log, end := catalog(t, fx, rest)
		defer end()
		time.Sleep(time.Hour)
		if synctest.Wait(); fx.passes != 0 {
			t.Fatalf("%d passes, and nobody asks", fx.passes)
		}
		c.want(t, false)
		synctest.Wait()
		c.want(t, true, "MSFT", "fx:EUR")

		rest.names = append(rest.names, "NEW")
		for range 10 * 60 { // Who asks all the time.
			time.Sleep(time.Second)
			c.Names()
		}
		synctest.Wait()
		if c.want(t, true, "MSFT", "NEW", "fx:EUR"); fx.passes < 9 || fx.passes > 11 {
			t.Errorf("%d passes in 10 minutes", fx.passes)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		before := fx.passes
		time.Sleep(time.Hour)
		if synctest.Wait(); fx.passes != before || c.names != nil {
			t.Errorf("%d passes and %d names, and nobody asks any more", fx.passes-before, len(c.names))
		}

		fx.takes, before = 10*time.Second, fx.passes
		for range 40 * 60 {
			time.Sleep(time.Second)
			c.Names()
		}
		if n := fx.passes - before; n < 10 || n > 13 {
			t.Errorf("%d passes of 10 s in 40 minutes", n)
		}
		if text := log.String(); text != "" {
			t.Errorf("the log says %q", text)
		}
	})
}

func TestCatalogIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fx, rest := &listing{whole: true}, &listing{whole: true}
		for i := range 10 {
			fx.names = append(fx.names, fmt.Sprint("fx:", i))
			rest.names = append(rest.names, fmt.Sprint(i))
		}
		c, log, end := catalog(t, fx, rest)
		defer end()
		c.most = 15
		for range 200 {
			c.Names()
			time.Sleep(time.Second)
		}
		names, all := c.Names()
		if len(names) != 15 || all || log.Count("does not list all") != 1 {
			t.Errorf("%d names, all: %v, %d lines", len(names), all, log.Count("does not list all"))
		}
		c.most = 20
		for range 200 {
			c.Names()
			time.Sleep(time.Second)
		}
		if names, all = c.Names(); len(names) != 20 || !all {
			t.Errorf("as many as may be: %d names, all: %v", len(names), all)
		}
	})
}

func TestCatalogOfSourceThatRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fx, rest := &listing{err: errors.New("NOPERM")}, &listing{names: []string{"A"}, whole: true}
		c, log, end := catalog(t, fx, rest)
		defer end()
		ask := func() {
			for range 5 * 60 {
				c.Names()
				time.Sleep(time.Second)
			}
		}
		ask()
		if c.want(t, false, "A"); log.Count("not listed by their source") != 1 || log.Count("the cure") != 1 || log.Count("source=fx:*") != 1 {
			t.Errorf("the log says %q", log.String())
		}
		fx.err, fx.whole, fx.names = nil, true, []string{"fx:1"}
		ask()
		if c.want(t, true, "A", "fx:1"); log.Count("listed by their source again") != 1 {
			t.Errorf("the log says %q", log.String())
		}
	})
}
