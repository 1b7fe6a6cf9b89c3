// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"math"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// Paths are the members that one scan of a value finds. They do not change.
type Paths struct {
	steps []step
	index map[string]int
}

// step is a member on the way to a path's end. Step 0 is the value itself.
type step struct {
	name string
	up   int32
	kids []int32
	many map[string]int32 // The kids by name if they are many.
}

// fewKids are found faster one by one.
const fewKids = 8

// NewPaths returns the paths of these members, each as [Expr.Members] and [By] have it. Others are left out.
func NewPaths(members []string) *Paths {
	p := &Paths{steps: make([]step, 1, len(members)+1), index: make(map[string]int, len(members))}
	for _, member := range members {
		names, ok := namesOf(member)
		if !ok {
			continue
		}
		at := int32(0)
		for _, name := range names {
			next := p.kid(at, name)
			if next < 0 {
				next = int32(len(p.steps))
				p.steps = append(p.steps, step{name: name, up: at})
				p.add(at, next)
			}
			at = next
		}
		p.index[member] = int(at)
	}
	return p
}

// namesOf returns the names of a path.
func namesOf(member string) ([]string, bool) {
	const most = 1024 // Nobody has limits beyond that.
	p, err := newParser(member, Limits{Length: len(member), Depth: most, Members: 1, Nodes: 1, Text: len(member)})
	if err != nil {
		return nil, false
	}
	n := p.operand()
	return n.path, p.err == nil && n.kind == isMember && p.tok.kind == tokenEnd
}

func (p *Paths) add(at, kid int32) {
	s := &p.steps[at]
	s.kids = append(s.kids, kid)
	switch {
	case s.many != nil:
		s.many[p.steps[kid].name] = kid
	case len(s.kids) > fewKids:
		s.many = make(map[string]int32)
		for _, k := range s.kids {
			s.many[p.steps[k].name] = k
		}
	}
}

func (p *Paths) kid(at int32, name string) int32 {
	s := &p.steps[at]
	if s.many != nil {
		if kid, known := s.many[name]; known {
			return kid
		}
		return -1
	}
	for _, kid := range s.kids {
		if p.steps[kid].name == name {
			return kid
		}
	}
	return -1
}

// Index returns the place of a member in [Values], or -1.
func (p *Paths) Index(member string) int {
	if i, known := p.index[member]; known {
		return i
	}
	return -1
}

// sort of a member's value.
type sort uint8

const (
	missing sort = iota
	aNumber
	aText
	yes
	no
	null
	other // An object or a list.
)

// slot is where a member stands in the value.
type slot struct {
	turn       uint32 // Of the extraction that found it.
	start, end int32  // Of a string without its quotes, or in [Values.plain] if it is decoded.
	place      int32  // Of the member's value in the whole.
	sort       sort
	escaped    bool // A string that is not decoded.
	decoded    bool
	read       bool // The number is in numbers, or is unfit.
	unfit      bool
}

// Values are what was found in a value. They are used again for the next one, by one goroutine at a time.
type Values struct {
	paths   *Paths
	value   string
	turn    uint32
	slots   []slot
	numbers []Number
	plain   []byte // Strings without their escapes.
	name    []byte
}

func (v *Values) begin(p *Paths, value string) {
	if v.paths != p || v.turn == math.MaxUint32 {
		if cap(v.slots) < len(p.steps) {
			v.slots, v.numbers = make([]slot, len(p.steps)), make([]Number, len(p.steps))
		}
		v.slots, v.numbers = v.slots[:len(p.steps)], v.numbers[:len(p.steps)]
		clear(v.slots)
		v.paths, v.turn = p, 0
	}
	v.turn++
	v.value, v.plain = value, v.plain[:0]
}

// Extract finds the members in a value, which is JSON. Of a name that is there twice the last counts, as with JSON.parse, so
// that the whole value is read.
func (p *Paths) Extract(value string, v *Values) {
	v.begin(p, value)
	if len(value) > math.MaxInt32 || len(p.steps) == 1 {
		return
	}
	switch i := v.space(0); {
	case i == len(value):
	case value[i] == '{':
		v.object(i, 0)
	default:
		if kid := p.kid(0, "value"); kid >= 0 {
			v.member(i, kid)
		}
	}
}

func (v *Values) space(i int) int {
	for i < len(v.value) && v.value[i] <= ' ' {
		i++
	}
	return i
}

// object reads an object that begins at i, and returns where it ends. In what is no JSON it stops somewhere.
func (v *Values) object(i int, at int32) int {
	s := v.value
	for i++; ; i++ { // Behind { or a comma.
		if i = v.space(i); i == len(s) || s[i] != '"' {
			return min(i+1, len(s))
		}
		end, escaped := v.stringEnd(i + 1)
		if end == len(s) {
			return end
		}
		name := s[i+1 : end]
		if escaped {
			v.name = decode(v.name[:0], name)
			name = unsafe.String(unsafe.SliceData(v.name), len(v.name))
		}
		kid := v.paths.kid(at, name)
		if i = v.space(end + 1); i == len(s) || s[i] != ':' {
			return len(s)
		}
		if i = v.space(i + 1); i == len(s) {
			return i
		}
		if kid >= 0 {
			i = v.member(i, kid)
		} else {
			i = v.skip(i)
		}
		if i = v.space(i); i == len(s) || s[i] != ',' {
			return min(i+1, len(s))
		}
	}
}

// member keeps what begins at i, and returns where it ends.
func (v *Values) member(i int, kid int32) int {
	s := &v.slots[kid]
	*s = slot{turn: v.turn, start: int32(i), place: int32(i)}
	end := 0
	switch v.value[i] {
	case '"':
		s.sort = aText
		if end, s.escaped = v.stringEnd(i + 1); end == len(v.value) {
			s.sort = missing // It is no JSON.
		}
		s.start, s.end = int32(i+1), int32(end)
		return min(end+1, len(v.value))
	case '{':
		s.sort = other
		if len(v.paths.steps[kid].kids) > 0 {
			return v.object(i, kid)
		}
		return v.skip(i)
	case '[':
		s.sort = other
		return v.skip(i)
	case 't':
		s.sort = yes
	case 'f':
		s.sort = no
	case 'n':
		s.sort = null
	default:
		s.sort = aNumber
	}
	end = v.wordEnd(i)
	s.end = int32(end)
	return end
}

// wordEnd returns the end of a number or of true, false and null.
func (v *Values) wordEnd(i int) int {
	for i < len(v.value) && v.value[i] > ' ' && v.value[i] != ',' && v.value[i] != '}' && v.value[i] != ']' {
		i++
	}
	return i
}

// stringEnd returns where the closing quote is, and whether there are escapes before it.
func (v *Values) stringEnd(i int) (end int, escaped bool) {
	s := v.value
	for ; i < len(s); i++ {
		switch s[i] {
		case '"':
			return i, escaped
		case '\\':
			escaped = true
			i++
		}
	}
	return len(s), escaped
}

// skip returns the end of a value that nobody asks for.
func (v *Values) skip(i int) int {
	s := v.value
	switch s[i] {
	case '"':
		end, _ := v.stringEnd(i + 1)
		return min(end+1, len(s))
	case '{', '[':
	default:
		return v.wordEnd(i)
	}
	depth := 0
	for ; i < len(s); i++ {
		switch s[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		case '"':
			i, _ = v.stringEnd(i + 1)
		}
	}
	return len(s)
}

// at returns a member's slot, or nil if the member is missing. What was found in an object that has come again is not there.
func (v *Values) at(i int) *slot {
	if i < 0 || i >= len(v.slots) {
		return nil
	}
	s := &v.slots[i]
	if s.turn != v.turn || s.sort == missing {
		return nil
	}
	for up := v.paths.steps[i].up; up != 0; up = v.paths.steps[up].up {
		if v.slots[up].place > s.place {
			return nil
		}
	}
	return s
}

// Number returns the number that a member is, by the place that [Paths.Index] gives. It reports false if the member is
// missing, is no number, or is one that does not fit.
func (v *Values) Number(i int) (Number, bool) {
	s := v.at(i)
	if s == nil || s.sort != aNumber {
		return Number{}, false
	}
	if !s.read {
		var fits bool
		v.numbers[i], fits = parseNumber(v.value[s.start:s.end])
		s.read, s.unfit = true, !fits
	}
	return v.numbers[i], !s.unfit
}

// text returns the string that a member is. It is valid until the next extraction.
func (v *Values) text(i int) (string, bool) {
	s := v.at(i)
	if s == nil || s.sort != aText {
		return "", false
	}
	if s.escaped {
		start := len(v.plain)
		v.plain = decode(v.plain, v.value[s.start:s.end])
		s.start, s.end, s.escaped, s.decoded = int32(start), int32(len(v.plain)), false, true
	}
	if s.decoded {
		b := v.plain[s.start:s.end]
		return unsafe.String(unsafe.SliceData(b), len(b)), true
	}
	return v.value[s.start:s.end], true
}

// decode appends a JSON string without its escapes. Halves of surrogate pairs alone become U+FFFD.
func decode(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b = append(b, s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r := unit(s, i+1)
			i += 4
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if i+2 < len(s) && s[i+1] == '\\' && s[i+2] == 'u' {
					low = unit(s, i+3)
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, c)
		}
	}
	return b
}

// unit reads four hexadecimal digits.
func unit(s string, i int) (r rune) {
	if i+4 > len(s) {
		return utf8.RuneError
	}
	for _, c := range []byte(s[i : i+4]) {
		switch {
		case isDigit(c):
			c -= '0'
		default:
			c = c | 0x20 - 'a' + 10
		}
		r = r<<4 | rune(c&15)
	}
	return r
}
