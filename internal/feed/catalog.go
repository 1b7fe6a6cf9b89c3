// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"context"
	"strings"
	"sync"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

const (
	// catalogEvery is the time between two passes at least, and for how long somebody who has asked
	// is taken to be interested.
	catalogEvery = time.Minute
	// catalogRest is how many times as long as a pass took nothing is asked behind it.
	catalogRest = 20
	// catalogMax bounds the names of all sources together: 10 MB or so with the map of a pass.
	catalogMax = 100_000
)

// Catalog is the names of topics that have a value at the sources of a [Feed], as of some minutes
// ago. While nobody asks it asks nothing and holds nothing.
type Catalog struct {
	feed  *Feed
	most  int           // Names.
	asked chan struct{} // Has an element when somebody has asked since it was taken.

	mu    sync.Mutex
	when  time.Time // When somebody asked last.
	names []string  // Not changed.
	all   bool

	// Of Run alone.
	failing []bool // What the log says of each source.
	cut     bool   // The log says that there are too many.
}

// NewCatalog returns a catalog that is empty while its Run does not run.
func (f *Feed) NewCatalog() *Catalog {
	return &Catalog{feed: f, most: catalogMax, asked: make(chan struct{}, 1), failing: make([]bool, len(f.sources))}
}

// Names returns the names that are known, in no order, which are not to be changed, and has them
// looked for again in their time. all is false while there may be more: there are too many, a
// source has not told its own, or nobody has asked for some minutes. Any goroutine may call it;
// it waits for nothing.
func (c *Catalog) Names() (names []string, all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.when = time.Now()
	broker.Signal(c.asked)
	return c.names, c.all
}

// Run looks for names when somebody has asked, until ctx ends. It is called by one goroutine.
func (c *Catalog) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.asked:
		}
		begin := time.Now()
		names, all := c.pass(ctx)
		c.mu.Lock()
		c.names, c.all = names, all
		c.mu.Unlock()
		rest := time.NewTimer(max(catalogEvery, catalogRest*time.Since(begin)))
		select {
		case <-ctx.Done():
			rest.Stop()
			return
		case <-rest.C:
		}
		c.forget()
	}
}

// forget lets the names go if nobody has asked for a while.
func (c *Catalog) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.when) < catalogEvery {
		return
	}
	c.names, c.all = nil, false
	select {
	case <-c.asked:
	default:
	}
}

// pass asks one source after the other. What is no name, or goes to another source, is left out.
func (c *Catalog) pass(ctx context.Context) (names []string, all bool) {
	found := make(map[string]struct{})
	all, cut := true, false
	for i, s := range c.feed.sources {
		if s.lister == nil {
			all = false
			continue
		}
		whole, err := s.lister.List(ctx, func(topic string) bool {
			if _, has := found[topic]; has || !topics.ValidName(topic) || c.feed.route(topic) != i {
				return true
			}
			if len(found) >= c.most {
				cut = true
				return false
			}
			found[strings.Clone(topic)] = struct{}{} // It is a part of something longer.
			return true
		})
		all = all && whole && err == nil && !cut
		if ctx.Err() != nil {
			return nil, false
		}
		c.tell(i, s, err, !whole && err == nil)
	}
	names = make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	return names, all
}

// tell logs what has changed of a source: that it does not list its topics, and that it does again.
func (c *Catalog) tell(i int, s *source, err error, cut bool) {
	switch {
	case err != nil && !c.failing[i]:
		c.feed.log.Warn("the names of topics are not listed by their source, /topics has those that are held", "source", s.name(),
			"error", err, "hint", s.lister.Cure(err))
	case err == nil && c.failing[i]:
		c.feed.log.Info("the names of topics are listed by their source again", "source", s.name())
	}
	c.failing[i] = err != nil
	if cut && !c.cut {
		c.cut = true
		c.feed.log.Warn("the source has more topics or keys than are looked at, /topics does not list all", "source", s.name(),
			"most", c.most, "hint", "ask /prices for topics by their names, or give the topics a Redis or a database of their own")
	}
}
