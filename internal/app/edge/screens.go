// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"errors"
	"time"

	"tickedge/internal/feed"
	"tickedge/internal/panics"
	"tickedge/internal/screen"
)

// validateScreens checks the limits of screens.
func (c *Config) validateScreens() error {
	var errs problems
	within := func(flag string, n, most int) {
		if n < 1 || n > most {
			errs.bad("%s is %d, want 1 to %d", flag, n, most)
		}
	}
	within("-max-screens", c.screens.MaxScreens, 10_000)
	within("-max-screens-per-user", c.screens.MaxPerUser, 10_000)
	within("-max-screen-topics", c.screens.MaxTopics, topicsTotalMax)
	if s := c.screens.Share; !(s > 0 && s <= 1) {
		errs.bad("-screen-cpu is %v, want a part of one core: above 0, at most 1", s)
	}
	return errors.Join(errs...)
}

// startScreens makes the registry of screens. It is called before the feed runs. catalog is nil where no broker can say which topics it has.
func (e *edge) startScreens(catalog *feed.Catalog) {
	if e.cfg.loop.Shard.MaxScreens == 0 {
		return
	}
	cfg, start := e.cfg.screens, time.Now()
	cfg.Table, cfg.Log, cfg.Cover = e.table, e.log, e.feed.Cover
	cfg.Clock = func() time.Duration { return time.Since(start) + 1 }
	if e.cfg.loop.Private != nil {
		cfg.Private = e.cfg.loop.Private
	}
	if catalog != nil {
		cfg.Names = catalog.Names
	}
	e.screens = screen.New(cfg)
	e.feed.Offer(e.screens.Offer)
	e.working.Go(func() { panics.Keep(e.work, panics.Screens, e.log, e.screens.Run) })
}

// startCatalog has the names of topics looked for, when somebody asks.
func (e *edge) startCatalog() {
	if e.cfg.listTopics != listSource && e.cfg.loop.Shard.MaxScreens == 0 {
		return
	}
	e.catalog = e.feed.NewCatalog()
	e.working.Go(func() { panics.Keep(e.work, panics.Feed, e.log, e.catalog.Run) })
}

// screenMetrics are those of screens.
var screenMetrics = []metric{
	{"screens", "Screens that differ, those that nobody has any more for some seconds included.", "", ofScreens(func(s screen.Stats) float64 { return float64(s.Screens) })},
	{"screen_conditions", "Conditions of screens that differ: each is evaluated once for a tick, whoever has it.", "", ofScreens(func(s screen.Stats) float64 { return float64(s.Conditions) })},
	{"screen_subscriptions", "Screens that clients have, all together.", "", ofScreens(func(s screen.Stats) float64 { return float64(s.Holders) })},
	{"screen_topics", "Topics that screens cover.", "", ofScreens(func(s screen.Stats) float64 { return float64(s.Covered) })},
	{"screen_evaluations_total", "Conditions evaluated, of all ticks.", "", ofScreens(func(s screen.Stats) float64 { return float64(s.Evaluated) })},
	{"screen_topics_refused_total", "Times that a topic of a screen found no room among -max-topics-total.", "", ofScreens(func(s screen.Stats) float64 { return float64(s.Lacking) })},
	{"screen_cpu_ratio", "Part of one core that conditions took in the last seconds, see -screen-cpu.", "", ofScreens(func(s screen.Stats) float64 { return s.Share })},
	{"screen_limits_total", "Screens refused for a limit of the edge, by which.", "limit", func(s *scrape, to sink) {
		if s.screened != nil {
			for why, label := range screenLimits {
				to.put(float64(s.screened.Refused[why]), label)
			}
		}
	}},
}

var screenLimits = map[screen.Refusal]string{
	screen.TooManyScreens: "screens", screen.TooManyOfUser: "user", screen.TooManyTopics: "topics", screen.TooCostly: "cpu", screen.NoPatterns: "source",
}

func ofScreens(read func(screen.Stats) float64) func(s *scrape, to sink) {
	return func(s *scrape, to sink) {
		if s.screened != nil {
			to.put(read(*s.screened))
		}
	}
}
