// SPDX-License-Identifier: Apache-2.0

package screen

import "strings"

// Program is a condition that is bound to places in [Values]. It does not change.
type Program struct {
	start    int32
	code     []instruction
	operands []operand
}

// instruction is one test, and where to go on. What is decided by the tests so far is known by where they have led.
type instruction struct {
	test        test
	op          op
	left, right int32 // Operands. Of inList, those between right and end are the list.
	end         int32
	yes, no     int32
	member      int32  // Of the fastest tests, the member's place.
	num         Number // And what it is compared with.
}

type test uint8

const (
	memberNumber test = iota // A member with a literal: most tests are that.
	numbers
	texts
	nulls
	bools
	twoMembers // Two members, of which nothing is known.
	inList
	call
	present
)

// Where verdicts are.
const (
	accept int32 = -1
	reject int32 = -2
)

type operand struct {
	kind        kind
	op          op
	left, right int32
	place       int // Of a member.
	num         Number
	str         string
	yes         bool
}

// Bind looks the condition's members up. One that is not among the paths is missing in every value.
func (e *Expr) Bind(p *Paths) *Program { return bind(e.root, p) }

func bind(root *node, p *Paths) *Program {
	g := &Program{}
	g.start = g.compile(root, p, accept, reject)
	return g
}

// compile returns where the tests of n begin, which lead to yes or to no.
func (g *Program) compile(n *node, p *Paths, yes, no int32) int32 {
	switch n.kind {
	case isBool:
		if n.yes {
			return yes
		}
		return no
	case isNot:
		return g.compile(n.kids[0], p, no, yes)
	case isAnd:
		for i := len(n.kids) - 1; i >= 0; i-- {
			yes = g.compile(n.kids[i], p, yes, no)
		}
		return yes
	case isOr:
		for i := len(n.kids) - 1; i >= 0; i-- {
			no = g.compile(n.kids[i], p, yes, no)
		}
		return no
	}
	if n.kind == isIn && len(n.kids) == 1 {
		return no
	}
	in := instruction{op: n.op, yes: yes, no: no, left: g.operand(n.kids[0], p)}
	switch n.kind {
	case isTruth:
		in.test, in.right = bools, g.operand(&node{kind: isBool, yes: true}, p)
	case isHas:
		in.test = present
	case isCall:
		in.test, in.right = call, g.operand(n.kids[1], p)
	case isIn:
		in.test, in.right = inList, int32(len(g.operands))
		for _, kid := range n.kids[1:] {
			g.operand(kid, p)
		}
		in.end = int32(len(g.operands))
	default:
		in.right = g.operand(n.kids[1], p)
		in = g.fastest(in, testOf(n.kids[0].typ(), n.kids[1].typ()))
	}
	g.code = append(g.code, in)
	return int32(len(g.code) - 1)
}

// testOf returns what two operands are compared as. The checker has it that they go together.
func testOf(a, b string) test {
	if a == "" {
		a = b
	}
	switch a {
	case "a number":
		return numbers
	case "a string":
		return texts
	case "null":
		return nulls
	case "":
		return twoMembers
	}
	return bools
}

// fastest uses a test of its own for a member and a literal number.
func (g *Program) fastest(in instruction, t test) instruction {
	l, r, o := &g.operands[in.left], &g.operands[in.right], in.op
	if l.kind == isNumber {
		l, r, o = r, l, [...]op{equal, unequal, more, moreEqual, less, lessEqual}[o]
	}
	if in.test = t; t == numbers && l.kind == isMember && r.kind == isNumber {
		in.test, in.op, in.member, in.num = memberNumber, o, int32(l.place), r.num
	}
	return in
}

func (g *Program) operand(n *node, p *Paths) int32 {
	o := operand{kind: n.kind, op: n.op, num: n.num, str: n.str, yes: n.yes}
	switch n.kind {
	case isMember:
		o.place = p.Index(n.text)
	case isArithmetic:
		o.left, o.right = g.operand(n.kids[0], p), g.operand(n.kids[1], p)
	case isNegative:
		o.left = g.operand(n.kids[0], p)
	}
	g.operands = append(g.operands, o)
	return int32(len(g.operands) - 1)
}

// Eval reports whether a topic is inside. It may be called by several goroutines, each with values of its own, which
// [Paths.Extract] of the paths that it is bound to has filled.
func (g *Program) Eval(topic string, v *Values) bool {
	at := g.start
	for at >= 0 {
		in := &g.code[at]
		verdict := false
		if in.test == memberNumber {
			if a, ok := v.Number(int(in.member)); ok {
				verdict = holds(in.op, a.Compare(in.num))
			}
		} else {
			verdict = g.holds(in, topic, v)
		}
		if at = in.no; verdict {
			at = in.yes
		}
	}
	return at == accept
}

func (g *Program) holds(in *instruction, topic string, v *Values) bool {
	l, r := &g.operands[in.left], &g.operands[in.right]
	switch in.test {
	case numbers:
		a, ok := g.number(l, v)
		if !ok {
			return false
		}
		b, ok := g.number(r, v)
		return ok && holds(in.op, a.Compare(b))
	case texts, call:
		a, ok := text(l, topic, v)
		if !ok {
			return false
		}
		b, ok := text(r, topic, v)
		return ok && textHolds(in.op, a, b)
	case nulls:
		a, b := sortOf(l, v), sortOf(r, v)
		return a != missing && b != missing && (a == b) == (in.op == equal)
	case bools:
		a, b := sortOf(l, v), sortOf(r, v)
		return (a == yes || a == no) && (b == yes || b == no) && (a == b) == (in.op == equal)
	case present:
		return sortOf(l, v) != missing
	case inList:
		return g.inList(l, g.operands[in.right:in.end], topic, v)
	}
	switch a := sortOf(l, v); {
	case a == aNumber && sortOf(r, v) == aNumber:
		a, fits := v.Number(l.place)
		b, both := v.Number(r.place)
		return fits && both && holds(in.op, a.Compare(b))
	case a == aText && sortOf(r, v) == aText:
		a, _ := v.text(l.place)
		b, _ := v.text(r.place)
		return textHolds(in.op, a, b)
	case a == yes || a == no:
		b := sortOf(r, v)
		return (b == yes || b == no) && in.op <= unequal && (a == b) == (in.op == equal)
	case a == null:
		return sortOf(r, v) == null && in.op == equal
	}
	return false
}

func (g *Program) inList(l *operand, list []operand, topic string, v *Values) bool {
	var num Number
	var str string
	is := sortOf(l, v)
	switch ok := false; is {
	case aNumber:
		if num, ok = g.number(l, v); !ok {
			return false
		}
	case aText:
		str, _ = text(l, topic, v)
	}
	for i := range list {
		o := &list[i]
		if sortOf(o, v) == is && is != other && is != missing && num == o.num && str == o.str {
			return true
		}
	}
	return false
}

func textHolds(o op, a, b string) bool {
	switch o {
	case startsWith:
		return strings.HasPrefix(a, b)
	case endsWith:
		return strings.HasSuffix(a, b)
	case contains:
		return strings.Contains(a, b)
	}
	return holds(o, strings.Compare(a, b))
}

// sortOf returns what an operand is. That of arithmetic may be a number that does not fit.
func sortOf(o *operand, v *Values) sort {
	switch o.kind {
	case isMember:
		if s := v.at(o.place); s != nil {
			return s.sort
		}
		return missing
	case isBool:
		if o.yes {
			return yes
		}
		return no
	case isNull:
		return null
	case isText, isTopic:
		return aText
	}
	return aNumber
}

func (g *Program) number(o *operand, v *Values) (Number, bool) {
	switch o.kind {
	case isNumber:
		return o.num, true
	case isMember:
		return v.Number(o.place)
	}
	a, ok := g.number(&g.operands[o.left], v)
	if !ok || o.kind == isNegative {
		return a.negated(), ok
	}
	b, ok := g.number(&g.operands[o.right], v)
	if !ok {
		return Number{}, false
	}
	return calculate(o.op, a, b)
}

func text(o *operand, topic string, v *Values) (string, bool) {
	switch o.kind {
	case isTopic:
		return topic, true
	case isMember:
		return v.text(o.place)
	}
	return o.str, o.kind == isText
}
