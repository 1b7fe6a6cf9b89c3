// SPDX-License-Identifier: Apache-2.0

// Package memory is a broker inside the process: the newest value of each topic in one bounded map,
// which lives as long as the process. It has no connections and is never down.
package memory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"tickedge/internal/broker"
)

// Scheme is that of its URLs, and a URL by itself.
const Scheme = "memory"

// What a broker holds at most where its URL says nothing.
const (
	DefaultTopics = 100_000
	DefaultMiB    = 64
)

const (
	topicsMax = 10_000_000
	mibMax    = 64 << 10
	nameMax   = 64
	// overhead is about what a topic takes beside its name and its value, in bytes.
	overhead = 128
)

var errURL = errors.New("memory URL is not valid, want memory, or memory://[name][?topics=N&mib=N] with a name of letters, digits, _ and -")

// Config names one of the brokers inside of this process.
type Config struct {
	// URL is memory, memory:// or memory://name, the same broker wherever it is named in this process.
	// The options topics and mib say how many topics, and how many MiB of names and values, it holds at
	// most; the first Config that is used decides. The defaults are [DefaultTopics] and [DefaultMiB].
	URL string

	own *store // Instead of URL.
}

// Private returns a broker that nobody else can name.
func Private() Config {
	return Config{URL: Scheme, own: newStore(limits{DefaultTopics, DefaultMiB << 20})}
}

// Is reports whether a URL is for this package.
func Is(url string) bool {
	return url == Scheme || strings.HasPrefix(url, Scheme+"?") || len(url) >= len(Scheme)+3 && strings.EqualFold(url[:len(Scheme)+3], Scheme+"://")
}

// String implements [broker.Config].
func (c Config) String() string { return c.URL }

// Files implements [broker.Config]: there are none.
func (c Config) Files() int { return 0 }

// Validate returns what is wrong with c, or nil.
func (c Config) Validate() error {
	_, _, err := c.parse()
	return err
}

// limits are what a store holds at most.
type limits struct {
	topics int
	bytes  int64
}

func (c Config) parse() (name string, most limits, err error) {
	most = limits{DefaultTopics, DefaultMiB << 20}
	if !Is(c.URL) {
		return "", most, errURL
	}
	rest, query, _ := strings.Cut(c.URL[len(Scheme):], "?")
	name = strings.TrimPrefix(rest, "://")
	if len(name) > nameMax || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return "", most, errURL
	}
	options, err := url.ParseQuery(query)
	if err != nil {
		return "", most, errURL
	}
	for option, values := range options {
		n, err := strconv.ParseInt(values[0], 10, 64)
		switch {
		case len(values) > 1 || option != "topics" && option != "mib":
			return "", most, errors.New("memory URL is not valid: its options are topics and mib, each once at most")
		case option == "topics" && (err != nil || n < 1 || n > topicsMax):
			return "", most, fmt.Errorf("memory URL is not valid: want topics=1 to %d", topicsMax)
		case option == "mib" && (err != nil || n < 1 || n > mibMax):
			return "", most, fmt.Errorf("memory URL is not valid: want mib=1 to %d", mibMax)
		case option == "topics":
			most.topics = int(n)
		default:
			most.bytes = n << 20
		}
	}
	return name, most, nil
}

// stores are those that have a name. Operators choose the names.
var stores = struct {
	mu sync.Mutex
	of map[string]*store
}{of: make(map[string]*store)}

// store returns the one that c names.
func (c Config) store() (*store, error) {
	if c.own != nil {
		return c.own, nil
	}
	name, most, err := c.parse()
	if err != nil {
		return nil, err
	}
	stores.mu.Lock()
	defer stores.mu.Unlock()
	st := stores.of[name]
	if st == nil {
		st = newStore(most)
		stores.of[name] = st
	}
	return st, nil
}

// Source implements [broker.Config].
func (c Config) Source(owner broker.Owner, log *slog.Logger) (broker.Source, error) {
	st, err := c.store()
	if err != nil {
		return nil, err
	}
	return newSource(st, owner, log), nil
}

// Publisher implements [broker.Config].
func (c Config) Publisher(_ context.Context, log *slog.Logger) (broker.Publisher, error) {
	st, err := c.store()
	if err != nil {
		return nil, err
	}
	return &publisher{store: st, log: log}, nil
}

// List implements [broker.Lister].
func (c Config) List(ctx context.Context, each func(topic string) bool) (all bool, err error) {
	st, err := c.store()
	if err != nil {
		return false, err
	}
	for _, topic := range st.names() {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if !each(topic) {
			return false, nil
		}
	}
	return true, nil
}

// Cure implements [broker.Lister].
func (Config) Cure(error) string { return "nothing: List of memory fails only when it is ended" }
