// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"errors"
	"slices"
	"strings"

	"tickedge/internal/httphead"
	"tickedge/internal/loop"
)

// paths is the value of -path.
type paths struct {
	list  []string
	given bool
}

// Several marks a flag that can be given several times.
func (*paths) Several() {}

func (p *paths) String() string { return strings.Join(p.list, ",") }

// Set adds what is given to what was given before. What they are is for readPaths to look at.
func (p *paths) Set(text string) error {
	if !p.given {
		p.list, p.given = nil, true // They take the default's place.
	}
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one != "" {
			p.list = append(p.list, one)
		}
	}
	return nil
}

// defaultHealth is where health is asked for if -health-path says nothing, and nobody else is there.
const defaultHealth = "/health"

// pathsMax bounds the paths of the WebSocket: an old one and a new one, or one of each proxy.
const pathsMax = 16

// readPaths reads the paths of the client port, each of which has one answer.
func (c *Config) readPaths() error {
	var errs problems
	at := make(map[string]string) // Who answers at a path.
	if c.hasBoard() {
		at["/"] = "the live board (-page, -demo)"
	}
	at[loop.EventsPath] = "the stream of events"
	at[loop.PricesPath], at[loop.TopicsPath] = "the list of values", "the list of topics"
	take := func(name, path, what string) (clean string) {
		clean, err := httphead.ParsePath(path)
		if err != nil {
			if secret := c.flags.Unshown(name); secret != nil {
				errs.add(secret)
				return ""
			}
			errs.bad("-%s: %q %w", name, path, err)
			return ""
		}
		if other := at[clean]; other != "" && other != what {
			errs.bad("-%s: %s is where %s is, want another path", name, clean, other)
		}
		at[clean] = what
		return clean
	}
	c.loop.Paths, c.loop.HealthPath = nil, ""
	for _, path := range c.paths.list {
		if path = take("path", path, "the WebSocket (-path)"); !slices.Contains(c.loop.Paths, path) {
			c.loop.Paths = append(c.loop.Paths, path)
		}
	}
	if n := len(c.loop.Paths); n < 1 || n > pathsMax {
		errs.bad("-path names %d paths, want 1 to %d, such as %s", n, pathsMax, loop.DefaultPath)
	}
	c.paths.list = c.loop.Paths // What -check prints is in effect.
	if c.healthPath != "" {
		c.loop.HealthPath = take("health-path", c.healthPath, "the health check (-health-path)")
		c.healthPath = c.loop.HealthPath
	} else if at[defaultHealth] == "" {
		c.loop.HealthPath = defaultHealth
	}
	// Others answer there, on the same host and perhaps another port.
	for _, p := range []struct {
		name string
		at   *string
	}{{"page-history", &c.pageHistory}, {"page-market", &c.pageMarket}, {"page-alerts", &c.pageAlerts}} {
		if *p.at != "" {
			*p.at = take(p.name, *p.at, "what -"+p.name+" names")
		}
	}
	return errors.Join(errs...)
}
