// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"cmp"
	"slices"
	"strings"
)

// normal returns a tree that has the same verdicts as n, and one text however n was written. Conditions are true or false
// whatever is missing, so what holds in logic holds for them; comparisons do not, as both x > 5 and x <= 5 may be false.
func normal(n *node) *node {
	if len(n.kids) > 0 {
		kids := make([]*node, len(n.kids))
		for i, kid := range n.kids {
			kids[i] = normal(kid)
		}
		c := *n
		c.kids, n = kids, &c
	}
	switch n.kind {
	case isAnd, isOr:
		n = normalChain(n)
	case isNot:
		switch kid := n.kids[0]; kid.kind {
		case isNot:
			return kid.kids[0]
		case isBool:
			n = &node{kind: isBool, yes: !kid.yes}
		}
	case isCompare:
		n = normalComparison(n)
	case isIn:
		n = normalIn(n)
	case isArithmetic:
		n = normalArithmetic(n)
	case isNegative:
		switch kid := n.kids[0]; kid.kind {
		case isNegative:
			return kid.kids[0]
		case isNumber:
			n = &node{kind: isNumber, num: kid.num.negated()}
		}
	}
	if n.text == "" {
		n.text = n.written()
	}
	return n
}

// normalChain flattens && and ||, sorts operands and leaves out what does not matter.
func normalChain(n *node) *node {
	var kids []*node
	for _, kid := range n.kids {
		switch {
		case kid.kind == isBool && kid.yes == (n.kind == isOr):
			return &node{kind: isBool, yes: kid.yes} // It decides.
		case kid.kind == isBool:
		case kid.kind == n.kind:
			kids = append(kids, kid.kids...)
		default:
			kids = append(kids, kid)
		}
	}
	slices.SortFunc(kids, func(a, b *node) int { return strings.Compare(a.text, b.text) })
	kids = slices.CompactFunc(kids, func(a, b *node) bool { return a.text == b.text })
	switch len(kids) {
	case 0:
		return &node{kind: isBool, yes: n.kind == isAnd}
	case 1:
		return kids[0]
	}
	n.kids = kids
	return n
}

func normalComparison(n *node) *node {
	a, b := n.kids[0], n.kids[1]
	switch {
	case n.op == more || n.op == moreEqual,
		n.op <= unequal && (a.literal() && !b.literal() || a.literal() == b.literal() && a.text > b.text):
		a, b = b, a
		n.kids = []*node{a, b}
	}
	switch n.op {
	case more:
		n.op = less
	case moreEqual:
		n.op = lessEqual
	}
	if a.literal() && b.literal() {
		return &node{kind: isBool, yes: holds(n.op, compareLiterals(a, b))}
	}
	if b.kind == isBool && a.kind == isMember {
		if b.yes == (n.op == equal) {
			return truthOf(a)
		}
		no := &node{kind: isBool}
		no.text = no.written()
		n.op, n.kids = equal, []*node{a, no}
	}
	return n
}

func truthOf(member *node) *node { return &node{kind: isTruth, kids: []*node{member}} }

// holds reports whether a comparison is true of operands in this order.
func holds(o op, order int) bool {
	switch o {
	case equal:
		return order == 0
	case unequal:
		return order != 0
	case less:
		return order < 0
	case lessEqual:
		return order <= 0
	case more:
		return order > 0
	}
	return order >= 0
}

// compareLiterals is an order of all literals; those of different kinds are not equal.
func compareLiterals(a, b *node) int {
	switch {
	case a.kind != b.kind:
		return cmp.Compare(a.kind, b.kind)
	case a.kind == isNumber:
		return a.num.Compare(b.num)
	case a.kind == isText:
		return strings.Compare(a.str, b.str)
	case a.yes == b.yes:
		return 0
	case b.yes:
		return -1
	}
	return 1
}

func normalIn(n *node) *node {
	left, list := n.kids[0], n.kids[1:]
	slices.SortFunc(list, compareLiterals)
	list = slices.CompactFunc(list, func(a, b *node) bool { return compareLiterals(a, b) == 0 })
	switch {
	case len(list) == 0:
		return &node{kind: isBool}
	case left.literal():
		_, found := slices.BinarySearchFunc(list, left, compareLiterals)
		return &node{kind: isBool, yes: found}
	case len(list) == 1:
		return normalComparison(&node{kind: isCompare, op: equal, kids: []*node{left, list[0]}})
	}
	n.kids = n.kids[:1+len(list)]
	return n
}

// normalArithmetic computes what is known, and sorts the operands of + and * where that needs no parentheses.
func normalArithmetic(n *node) *node {
	a, b := n.kids[0], n.kids[1]
	if a.kind == isNumber && b.kind == isNumber {
		if v, fits := calculate(n.op, a.num, b.num); fits {
			return &node{kind: isNumber, num: v}
		}
	}
	if (n.op == add || n.op == multiply) && a.level() > n.level() && a.text > b.text {
		n.kids = []*node{b, a}
	}
	return n
}

func calculate(o op, a, b Number) (Number, bool) {
	switch o {
	case add:
		return a.plus(b)
	case subtract:
		return a.plus(b.negated())
	case multiply:
		return a.times(b)
	case divide:
		return a.over(b)
	}
	return a.rest(b)
}

const (
	levelOr = iota
	levelAnd
	levelRelation
	levelSum
	levelProduct
	levelSign
	levelOperand
)

// level is how strongly what a node is written with binds.
func (n *node) level() int {
	switch n.kind {
	case isOr:
		return levelOr
	case isAnd:
		return levelAnd
	case isCompare, isIn:
		return levelRelation
	case isArithmetic:
		if n.op <= subtract {
			return levelSum
		}
		return levelProduct
	case isNot, isNegative:
		return levelSign
	case isNumber:
		if n.num.neg {
			return levelSign
		}
	}
	return levelOperand
}

// written returns the text of a node whose operands have theirs.
func (n *node) written() string {
	var b []byte
	part := func(before string, kid *node, level int) {
		b = append(b, before...)
		if kid.level() < level {
			b = append(append(append(b, '('), kid.text...), ')')
			return
		}
		b = append(b, kid.text...)
	}
	level := n.level()
	switch n.kind {
	case isAnd, isOr:
		before := ""
		for _, kid := range n.kids {
			part(before, kid, level+1)
			before = map[kind]string{isAnd: " && ", isOr: " || "}[n.kind]
		}
	case isNot:
		part("!", n.kids[0], levelOperand)
	case isNegative:
		part("-", n.kids[0], levelOperand)
	case isCompare, isArithmetic:
		left := level
		if n.kind == isCompare {
			left++
		}
		part("", n.kids[0], left)
		part(" "+spelled[n.op]+" ", n.kids[1], level+1)
	case isIn:
		part("", n.kids[0], levelSum)
		before := " in ["
		for _, kid := range n.kids[1:] {
			part(before, kid, levelOr)
			before = ", "
		}
		b = append(b, ']')
	case isCall:
		part("", n.kids[0], levelOperand)
		part("."+spelled[n.op]+"(", n.kids[1], levelOr)
		b = append(b, ')')
	case isHas:
		part("has(", n.kids[0], levelOr)
		b = append(b, ')')
	case isTruth:
		part("", n.kids[0], levelOr)
	case isNumber:
		b = n.num.append(b)
	case isText:
		b = appendText(b, n.str)
	default:
		b = append(b, map[kind]string{isNull: "null", isTopic: "topic", isBool: map[bool]string{true: "true", false: "false"}[n.yes]}[n.kind]...)
	}
	return string(b)
}
