// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"tickedge/internal/topics"
)

// patternsMax bounds the patterns of a set. Their bytes are bounded with it.
const patternsMax = 1000

// Patterns is a set of topics: whole names, and prefixes with a star behind them. Nil
// is all topics. It does not change, so conns may share one.
//
// A conn holds it for its life, in as many bytes as the patterns have and 2 more for
// each.
type Patterns struct {
	// text has the names in order, and behind them the prefixes in order. None of
	// them begins with a prefix other than itself, but for names that are private.
	text  string
	ends  []uint16 // Where each ends in text, which is less than 64 KiB.
	names int      // How many of them are names.
}

const _ = uint(1<<16 - 1 - patternsMax*topics.NameMax)

// ParsePatterns makes a set of names and prefixes with a star behind them, with commas
// between. An empty list is no topic.
func ParsePatterns(list string) (*Patterns, error) {
	var all []string
	for s := range strings.SplitSeq(list, ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		if _, ok := newPatterns([]string{s}, nil); !ok {
			return nil, fmt.Errorf("%q is no topic, nor the beginning of one with a star behind it, such as fx:*; a topic is %s", s, topics.NameRule)
		}
		all = append(all, s)
	}
	p, ok := newPatterns(all, nil)
	if !ok {
		return nil, fmt.Errorf("%d patterns, want %d at most: use prefixes", len(all), patternsMax)
	}
	return p, nil
}

// newPatterns makes a set of a token's list. It reports false if that is too long, or
// if a pattern is not a topic name, nor the beginning of one with a star behind it. A
// star elsewhere is not a wildcard, and whoever wrote it thought otherwise. Names that are private
// are kept beside prefixes that they begin with, which do not allow them.
func newPatterns(list []string, private *Private) (_ *Patterns, ok bool) {
	if len(list) > patternsMax {
		return nil, false
	}
	var names, prefixes []string
	for _, s := range list {
		prefix, starred := strings.CutSuffix(s, "*")
		switch {
		case starred && prefix == "":
			// All topics; but the rest of the list is checked.
			prefixes = append(prefixes, prefix)
		case !topics.ValidName(prefix):
			return nil, false
		case starred:
			prefixes = append(prefixes, prefix)
		default:
			names = append(names, s)
		}
	}
	prefixes = withoutCovered(prefixes)
	cover := pack(nil, prefixes)
	slices.Sort(names)
	names = slices.DeleteFunc(slices.Compact(names), func(s string) bool { return cover.Allows([]byte(s)) && !private.Has([]byte(s)) })
	if len(prefixes) > 0 && prefixes[0] == "" && len(names) == 0 {
		return nil, true
	}
	return pack(names, prefixes), true
}

// pack returns the set of these. Both lists are in order and without double entries, and
// nothing begins with a prefix other than itself.
func pack(names, prefixes []string) *Patterns {
	all := slices.Concat(names, prefixes)
	p := &Patterns{text: strings.Join(all, ""), ends: make([]uint16, len(all)), names: len(names)}
	end := 0
	for i, s := range all {
		end += len(s)
		p.ends[i] = uint16(end)
	}
	return p
}

// withoutCovered sorts prefixes and leaves out those that begin with another.
func withoutCovered(prefixes []string) []string {
	slices.Sort(prefixes)
	kept := prefixes[:0]
	for _, s := range prefixes {
		if len(kept) == 0 || !strings.HasPrefix(s, kept[len(kept)-1]) {
			kept = append(kept, s)
		}
	}
	return kept
}

func (p *Patterns) at(i int) string {
	begin := 0
	if i > 0 {
		begin = int(p.ends[i-1])
	}
	return p.text[begin:p.ends[i]]
}

// Allows reports whether topic is in the set. It looks at some ten patterns, of
// however many, and allocates nothing.
func (p *Patterns) Allows(topic []byte) bool {
	if p == nil {
		return true
	}
	return p.Names(topic) || p.begins(topic)
}

// begins reports whether a name, or the beginning of one, begins with a prefix of the set.
func (p *Patterns) begins(name []byte) bool {
	// If a prefix of it is in the set, it is the last entry that is not greater
	// than it: what lies between the two begins with it too, and so is left out.
	i := p.last(p.names, len(p.ends), name)
	return i >= 0 && len(p.at(i)) <= len(name) && p.at(i) == string(name[:len(p.at(i))])
}

// Covers reports whether all names of a pattern are in the set, or the name is that it is.
func (p *Patterns) Covers(pattern []byte) bool {
	prefix, starred := bytes.CutSuffix(pattern, []byte("*"))
	if !starred {
		return p.Allows(pattern)
	}
	return p == nil || p.begins(prefix)
}

// Names reports whether topic is in the set by its whole name: not by a prefix alone, as
// somebody has said so who knows it.
func (p *Patterns) Names(topic []byte) bool {
	if p == nil {
		return false
	}
	i := p.last(0, p.names, topic)
	return i >= 0 && p.at(i) == string(topic)
}

// Next returns the first name or prefix of the set behind a topic that is not in it, if there is
// one: no topic between the two is in the set.
func (p *Patterns) Next(topic string) (next string, ok bool) {
	if p == nil {
		return "", false
	}
	for _, of := range [...]struct{ low, high int }{{0, p.names}, {p.names, len(p.ends)}} {
		i := p.last(of.low, of.high, []byte(topic)) + 1
		if i = max(i, of.low); i < of.high && (!ok || p.at(i) < next) {
			next, ok = p.at(i), true
		}
	}
	return next, ok
}

// last returns the last of the entries from low to high that is not greater than
// topic, or -1.
func (p *Patterns) last(low, high int, topic []byte) int {
	begin := low
	for low < high {
		mid := (low + high) / 2
		if p.at(mid) <= string(topic) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == begin {
		return -1
	}
	return low - 1
}
