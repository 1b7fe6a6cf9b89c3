// SPDX-License-Identifier: Apache-2.0

package broker

import "strings"

// seeker finds the member at a path while walkJSON goes over a value, whose names come by in
// their order. The zero seeker looks for nothing.
type seeker struct {
	path string
	// from and to are where the name that is looked for now stands in path.
	from, to int
	// depth is that of the object which is to have it: 1 for the value itself, more inside of
	// members that were on the path, and 0 if nothing is looked for.
	depth int
	// found is where the value of the member begins, 0 if there is none. A member that comes
	// later takes the place of an earlier one of the same name, with all that is in it.
	found int
}

func newSeeker(path string) seeker {
	return seeker{path: path, to: nameEnd(path, 0), depth: 1}
}

// nameEnd is the end of the name that begins in path at from.
func nameEnd(path string, from int) int {
	if n := strings.IndexByte(path[from:], '.'); n >= 0 {
		return from + n
	}
	return len(path)
}

// skipName is skipName for a name in an object of a depth.
func (s *seeker) skipName(v string, i, depth int) (int, Flaw) {
	next, f := skipName(v, i)
	if depth == s.depth && f == Flawless && isNamed(v, i, s.path[s.from:s.to]) {
		s.see(v, skipSpace(v, next))
	}
	return next, f
}

// see takes note of a member with the name that is looked for, whose value is to begin at i.
func (s *seeker) see(v string, i int) {
	if s.to == len(s.path) {
		s.found = i
		return
	}
	s.found = 0
	if i < len(v) && v[i] == '{' {
		s.depth++
		s.from = s.to + 1
		s.to = nameEnd(s.path, s.from)
	}
}

// leave is called at the end of the object at depth.
func (s *seeker) leave() {
	if s.depth > 1 {
		s.depth--
		s.to = s.from - 1
		s.from = strings.LastIndexByte(s.path[:s.to], '.') + 1
	}
}

// isNamed reports whether the string at v[i], which is a valid one, says name, with escapes or
// without. A name has letters and digits of ASCII, _ and - only, and these have no short escapes.
func isNamed(v string, i int, name string) bool {
	i++
	for k := range len(name) {
		if v[i] == name[k] {
			i++
			continue
		}
		unit, ok := codeUnit(v, i)
		if !ok || unit != uint16(name[k]) {
			return false
		}
		i += len(`\uXXXX`)
	}
	return v[i] == '"'
}
