// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"errors"
	"fmt"
	"iter"
	"regexp"
	"strings"
	"unicode/utf8"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// Config says where ticks come from. The last source has no patterns and takes what no other
// does.
type Config []SourceConfig

// SourceConfig is one source.
type SourceConfig struct {
	// Patterns are those of the topics that the source takes, with * for any run of
	// characters. There are none in the last source.
	Patterns []string
	// VersionField is where values have a version, a member's name or a path of several
	// such as meta.seq: a decimal number, or a string that holds one. Ticks whose version
	// is below that of the topic's row are dropped, and so are values without one. "" if
	// values have none.
	VersionField string
	Broker       broker.Config // What the source reads from.
}

// urlBegins is where a URL does, at the beginning or behind the patterns. That of memory may be without its ://.
var urlBegins = regexp.MustCompile(`(?:^|=)([A-Za-z][A-Za-z0-9+.-]*://|memory(?:\?[^/]*)?(?:$|\|(?:[A-Za-z][A-Za-z0-9+.-]*://|memory)))`)

// secondBegins is where the second URL of a pair does.
var secondBegins = regexp.MustCompile(`\|(?:[A-Za-z][A-Za-z0-9+.-]*://|memory(?:$|\?|\|))`)

// HasURL reports whether a URL begins in s, as [ParseSource] finds it.
func HasURL(s string) bool { return urlBegins.MatchString(s) }

// SplitURL takes URL|URL apart. A | that stands before anything else is part of a URL, and wrong there.
func SplitURL(s string) (urls []string) {
	from := 0
	for _, at := range secondBegins.FindAllStringIndex(s, -1) {
		urls, from = append(urls, s[from:at[0]]), at[0]+1
	}
	return append(urls, s[from:])
}

// ParseSource takes [pattern[,pattern…]=]URL[|URL] apart. What is wrong with the parts is for
// [Config.Validate] and the broker to say.
//
// Names of topics may have an = in them, and so may what is behind the :// of a URL. So the first
// scheme with its :// is where the URL begins: if that is more than was meant, what is taken for
// a pattern never holds a part of a password.
func ParseSource(s string) (patterns []string, urls string) {
	at := 0
	if begins := urlBegins.FindStringSubmatchIndex(s); begins != nil {
		at = begins[2]
	} else if strings.HasSuffix(s, "=") {
		at = len(s) // The URL is missing.
	}
	if at == 0 {
		return nil, s
	}
	return strings.Split(s[:at-1], ","), s[at:]
}

// Brokers are those of all sources, each half of a [Pair] by itself.
func (c Config) Brokers() iter.Seq[broker.Config] {
	return func(yield func(broker.Config) bool) {
		for _, s := range c {
			of := []broker.Config{s.Broker}
			if p, is := s.Broker.(Pair); is {
				of = p[:]
			}
			for _, b := range of {
				if b != nil && !yield(b) {
					return
				}
			}
		}
	}
}

// Files is how many descriptors the sources have at a time at most.
func (c Config) Files() (n int) {
	for b := range c.Brokers() {
		n += b.Files()
	}
	return n
}

// scopeMax bounds the patterns of a source. Clients are told of them in one message, which
// may have 64 KiB.
const scopeMax = 32 << 10

// Validate returns all that is wrong with c, or nil. What is wrong with its brokers is for
// them to say. Its errors name the flag by which sources are given.
func (c Config) Validate() error {
	switch {
	case len(c) == 0:
		return errors.New("source is missing, want for example redis://127.0.0.1:6379")
	case len(c) > topics.SourcesMax:
		return fmt.Errorf("sources are %d, want at most %d", len(c), topics.SourcesMax)
	}
	var errs []error
	bad := func(i int, err error) {
		if len(c) > 1 {
			err = fmt.Errorf("source %d: %w", i+1, err)
		} else {
			err = fmt.Errorf("source: %w", err)
		}
		errs = append(errs, err)
	}
	seen := make(map[string]bool)
	fields := make(map[string]bool)
	for i, s := range c {
		for _, p := range s.Patterns {
			if err := checkPattern(p); err != nil {
				bad(i, err)
			} else if seen[p] {
				bad(i, fmt.Errorf("pattern %q is there already: the first source that it matches takes a topic", p))
			}
			seen[p] = true
		}
		if len(scope(s.Patterns)) > scopeMax {
			bad(i, fmt.Errorf("its patterns have %d bytes together, want at most %d", len(scope(s.Patterns)), scopeMax))
		}
		switch last := i == len(c)-1; {
		case last && len(s.Patterns) > 0:
			bad(i, errors.New("the last source has to be without patterns, and takes the topics that no other does"))
		case !last && len(s.Patterns) == 0:
			bad(i, errors.New("only the last source may be without patterns: want for example fx:*,crypto:*=redis://host:6379"))
		}
		if f := s.VersionField; f != "" && !fields[f] && !broker.ValidVersionField(f) {
			fields[f] = true // Said once of sources that are alike.
			errs = append(errs, fmt.Errorf("tick version field is %q: want the name of a member, or several with points between "+
				"(A-Z a-z 0-9 _ -), such as seq or meta.ts", f))
		}
	}
	return errors.Join(errs...)
}

// checkPattern returns what is wrong with a pattern of topics, or nil.
func checkPattern(p string) error {
	literal := strings.ReplaceAll(p, "*", "")
	switch {
	case p == "":
		return errors.New("a pattern of topics is empty: want for example fx:*,crypto:*=URL")
	case literal == "":
		return errors.New(`pattern "*" takes all topics: leave it out, and put the source last`)
	case !utf8.ValidString(p) || !topics.ValidName(literal): // A star may not part a character's bytes.
		// It is not repeated: it may be part of a URL with a password.
		return errors.New("a pattern of topics is not valid: want " + topics.NameRule + ", but * for any run of characters")
	}
	return nil
}

// match reports whether pattern, in which * stands for any run of characters, matches
// all of topic.
func match(pattern, topic string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == topic
	}
	if !strings.HasPrefix(topic, head) {
		return false
	}
	topic = topic[len(head):]
	for {
		var part string
		part, rest, star = strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(topic, part)
		}
		at := strings.Index(topic, part)
		if at < 0 {
			return false
		}
		topic = topic[at+len(part):]
	}
}

// scope is the patterns of a source as they are shown, "" for the one that takes the
// rest.
func scope(patterns []string) string { return strings.Join(patterns, ",") }
