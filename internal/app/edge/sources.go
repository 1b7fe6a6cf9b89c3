// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"errors"
	"fmt"
	"strings"

	"tickedge/internal/broker"
	"tickedge/internal/broker/memory"
	"tickedge/internal/broker/nats"
	"tickedge/internal/broker/redis"
	"tickedge/internal/feed"
	"tickedge/internal/flags"
)

const defaultSource = "redis://127.0.0.1:6379"

// errScheme says which brokers there are. It does not repeat the URL, which may hold a password.
var errScheme = errors.New("source URL is not valid: want redis://[user:password@]host[:port][/db] (rediss:// for TLS), unix:///path, " +
	"redis-sentinel://host:port,host:port/master, redis-cluster://host:port,host:port, nats://[user:password@]host[:port] (tls:// for TLS), or memory")

// broker returns what reads from, and writes to, the broker at a URL: its scheme says which that is.
// renewed is where it hears of other users and passwords.
func (c *Config) brokerAt(url string, renewed *broker.Renewed) (broker.Config, error) {
	switch {
	case url == "":
		return nil, errors.New("source URL is missing, want for example " + defaultSource)
	case memory.Is(url):
		b := memory.Config{URL: url}
		return b, b.Validate()
	case nats.Is(url):
		b := nats.Config{URL: url, Timeout: c.redis.Timeout, Renewed: renewed}
		return b, b.Validate()
	case redis.IsURL(url):
		b := c.redis
		b.URL, b.Renewed = url, renewed
		return b, b.ValidateURL()
	}
	return nil, errScheme
}

// parse returns where ticks come from, and all that is wrong with the URLs: a source for each -source.
// A source of which nothing is right has no broker.
func (c *Config) parse() (f feed.Config, err error) {
	var errs problems
	list := c.given().list
	for i, source := range list {
		patterns, urls := feed.ParseSource(string(source))
		bad := func(err error) {
			if err != nil && len(list) > 1 {
				err = fmt.Errorf("source %d: %w", i+1, err)
			}
			errs.add(err)
		}
		var of []broker.Config
		each := feed.SplitURL(urls)
		for k, url := range each {
			b, err := c.brokerAt(url, c.renewed(i, k))
			bad(err)
			if b != nil {
				of = append(of, b)
			}
		}
		s := feed.SourceConfig{Patterns: patterns, VersionField: c.versionField}
		switch {
		case len(each) > 2:
			bad(errors.New("source has more than two URLs with a | between them: want two brokers that the same ticks are published to"))
		case len(each) == 2 && each[0] == each[1]:
			bad(errors.New("source has the same URL on both sides of its |: want two brokers that the same ticks are published to"))
		case len(each) == 2 && len(of) == 2:
			s.Broker = feed.Pair(of)
		case len(of) == 1:
			s.Broker = of[0]
		}
		f = append(f, s)
	}
	return f, errors.Join(errs...)
}

// renewed is where the broker of a URL hears of other users and passwords, by its source and its place in that.
func (c *Config) renewed(source, at int) *broker.Renewed {
	place := [2]int{source, at}
	if c.renewals == nil {
		c.renewals = make(map[[2]int]*broker.Renewed)
	}
	if c.renewals[place] == nil {
		c.renewals[place] = new(broker.Renewed)
	}
	return c.renewals[place]
}

// feed is where ticks come from. What is wrong with it has been said.
func (c *Config) feed() feed.Config {
	if c.demo {
		return feed.Config{{VersionField: c.versionField, Broker: c.demoBroker}}
	}
	f, _ := c.parse()
	return f
}

// given is the list of sources, by either spelling.
func (c *Config) given() *sources {
	if which, _ := c.flags.Spelled("source", "redis"); which == "redis" {
		return &c.olderSources
	}
	return &c.sources
}

// validateSources returns what is wrong with the sources, or nil.
func (c *Config) validateSources() error {
	flag, err := c.flags.Spelled("source", "redis")
	flag = "-" + flag
	var errs problems
	switch {
	case err != nil:
		errs.add(err)
	case c.demo && c.given().given:
		errs.bad("-demo brings its own broker: leave %s out, or -demo", flag)
	}
	named := append([]string{"source", flag, "redis URL", flag, "redis-sentinel URL", flag, "redis-cluster URL", flag, "nats URL", flag, "nats timeout", "-feed-timeout", "memory URL", flag}, settingErrors...)
	sources, err := c.parse()
	errs.add(flags.Named(errors.Join(sources.Validate(), err), named...))
	errs.add(flags.Named(redis.ValidateSettings(c.redises(sources)...), named...))
	return errors.Join(errs...)
}

// redises are the brokers that are Redis, or one that is not used: what is wrong with how topics are named there is
// said at once.
func (c *Config) redises(f feed.Config) (of []redis.Config) {
	for b := range f.Brokers() {
		if r, is := b.(redis.Config); is {
			of = append(of, r)
		}
	}
	if len(of) == 0 {
		of = []redis.Config{c.redis}
		of[0].URL = defaultSource
	}
	return of
}

// hasRedis reports whether any source is a Redis, or may be meant to be one.
func (c *Config) hasRedis() bool {
	if c.demo {
		return false
	}
	f, err := c.parse()
	for b := range f.Brokers() {
		if _, is := b.(redis.Config); is {
			return true
		}
	}
	return err != nil
}

// sources is the value of -source.
type sources struct {
	list  []sourceFlag
	given bool
}

// sourceFlag is one -source. It shows no passwords.
type sourceFlag string

func (s sourceFlag) String() string {
	_, urls := feed.ParseSource(string(s))
	shown := strings.TrimSuffix(string(s), urls)
	for i, url := range feed.SplitURL(urls) {
		if i > 0 {
			shown += "|"
		}
		shown += shownURL(url)
	}
	return shown
}

// shownURL is a URL without its passwords.
func shownURL(url string) string {
	if b := (memory.Config{URL: url}); b.Validate() == nil {
		return url
	}
	if nats.Is(url) {
		return nats.Config{URL: url}.String()
	}
	return redis.Config{URL: url}.String()
}

func (s *sources) String() string {
	var all []string
	for _, source := range s.list {
		all = append(all, source.String())
	}
	return strings.Join(all, " ")
}

// Set adds what is given to what was given before. It finds no mistakes: their errors would
// be shown with the URL.
func (s *sources) Set(text string) error {
	if !s.given {
		s.list, s.given = nil, true // They take the default's place.
	}
	for i, one := range strings.Fields(text) {
		if last := len(s.list) - 1; i > 0 && !feed.HasURL(one) {
			s.list[last] += sourceFlag(" " + one) // The blank is in a URL, which is refused for it.
			continue
		}
		s.list = append(s.list, sourceFlag(one))
	}
	return nil
}

// Several says to package flags that each Set adds to what there is.
func (s *sources) Several() {}
