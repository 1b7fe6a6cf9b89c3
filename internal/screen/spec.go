// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

const (
	// PatternsMax bounds the patterns of a screen.
	PatternsMax = 64
	// TopMax bounds a ranked screen.
	TopMax = 100
)

// Names is a set of names.
type Names interface{ Has(name []byte) bool }

// Spec is what a screen is asked for. Those that mean the same have one [Spec.Key].
type Spec struct {
	Patterns []string // Names, and prefixes with a star behind them, in order; none is covered by another.
	Where    *Expr
	Top      int // 0: it is not ranked.
	By       By  // Of Top.
}

// ParseSpec reads what is asked for. private is the names that no screen has; nil is none.
func ParseSpec(patterns [][]byte, where string, top int, by string, private Names) (Spec, *protocol.CommandError) {
	list, e := parsePatterns(patterns, private)
	if e != nil {
		return Spec{}, e
	}
	s := Spec{Patterns: list, Top: top}
	var err *Error
	if s.Where, err = Parse(where, Limits{}); err != nil {
		return Spec{}, &protocol.CommandError{Code: protocol.ErrMalformed, Reason: "where, " + err.Error(), At: err.At + 1}
	}
	switch {
	case top == 0 && by == "":
		return s, nil
	case top < 1 || top > TopMax:
		return Spec{}, refuse(protocol.ErrMalformed, fmt.Sprintf("top is a whole number from 1 to %d, beside by", TopMax))
	case by == "":
		return Spec{}, refuse(protocol.ErrMalformed, "top needs by: a member such as v, or -v for the largest first")
	}
	if s.By, err = ParseBy(by); err != nil {
		return Spec{}, &protocol.CommandError{Code: protocol.ErrMalformed, Reason: "by, " + err.Error(), At: err.At + 1}
	}
	return s, nil
}

func refuse(code int, reason string) *protocol.CommandError {
	return &protocol.CommandError{Code: code, Reason: reason}
}

// Key is the same for screens that are the same.
func (s *Spec) Key() string {
	key := strings.Join(s.Patterns, ",") + "\n" + s.Where.String()
	if s.Top > 0 {
		key += "\n" + strconv.Itoa(s.Top) + " " + s.By.String()
	}
	return key
}

// IsPattern reports whether a name in a command is a pattern.
func IsPattern(name []byte) bool { return len(name) > 0 && name[len(name)-1] == '*' }

func parsePatterns(patterns [][]byte, private Names) ([]string, *protocol.CommandError) {
	switch {
	case len(patterns) == 0:
		return nil, refuse(protocol.ErrMalformed, `a screen needs topics: a pattern such as "crypto:*", or a list of names and patterns`)
	case len(patterns) > PatternsMax:
		return nil, refuse(protocol.ErrTooManyTopics, fmt.Sprintf("more than %d patterns in one screen", PatternsMax))
	}
	var list []string
	for _, p := range patterns {
		prefix, starred := strings.CutSuffix(string(p), "*")
		switch {
		case prefix == "" && starred:
		case !topics.ValidName(prefix):
			return nil, refuse(protocol.ErrBadTopic, fmt.Sprintf("%q is no topic, nor the beginning of one with a star behind it; a topic is %s", protocol.Cut(string(p), 64), topics.NameRule))
		case hidden(prefix, private):
			return nil, refuse(protocol.ErrForbidden, fmt.Sprintf("%q is private: no screen has such topics, subscribe the whole name", prefix))
		}
		list = append(list, string(p))
	}
	return reduce(list), nil
}

// hidden reports whether no pattern has a name.
func hidden(name string, private Names) bool {
	return strings.HasPrefix(name, topics.Reserved) || private != nil && private.Has([]byte(name))
}

// reduce sorts patterns by how they begin, and leaves out those that others cover.
func reduce(list []string) (kept []string) {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b string) int {
		return cmp.Or(cmp.Compare(beginning(a), beginning(b)), cmp.Compare(b, a)) // A star comes before the name alone.
	})
	for _, p := range list {
		if len(kept) == 0 || !matches(kept[len(kept)-1], beginning(p)) { // What is between two that begin alike begins so too.
			kept = append(kept, p)
		}
	}
	return kept
}

// anyMatches reports whether one of the patterns has a name, of which [reduce] has left those.
func anyMatches(patterns []string, name string) bool {
	i, _ := slices.BinarySearchFunc(patterns, name, func(p, name string) int {
		if beginning(p) <= name {
			return -1
		}
		return 1
	})
	return i > 0 && matches(patterns[i-1], name)
}

func beginning(pattern string) string { return strings.TrimSuffix(pattern, "*") }

// matches reports whether a pattern has a name, or covers another pattern that begins so.
func matches(pattern, name string) bool {
	prefix, starred := strings.CutSuffix(pattern, "*")
	return starred && strings.HasPrefix(name, prefix) || pattern == name
}
