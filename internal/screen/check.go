// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"slices"
	"strconv"
	"strings"
)

type kind uint8

const (
	// Conditions: true or false, whatever the value.
	isAnd kind = iota
	isOr
	isNot
	isTruth // A member that is true.
	isHas
	isCompare
	isIn   // kids[0] in the rest.
	isCall // A function of two texts.
	// What is compared. A member may be missing, or of another type; numbers may not fit.
	isBool // Also a condition.
	isNull
	isNumber
	isText
	isMember
	isTopic
	isArithmetic
	isNegative
)

type op uint8

const (
	equal op = iota
	unequal
	less
	lessEqual
	more
	moreEqual
	add
	subtract
	multiply
	divide
	remainder
	startsWith
	endsWith
	contains
)

var spelled = [...]string{"==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "startsWith", "endsWith", "contains"}

// node is a part of a condition's tree.
type node struct {
	kind kind
	op   op // Of isCompare, isArithmetic and isCall.
	at   int
	kids []*node
	yes  bool     // Of isBool.
	str  string   // Of isText.
	num  Number   // Of isNumber.
	path []string // Of isMember.
	text string   // Of isMember the path in its one spelling; the normalised text of all nodes of a normalised tree.
}

func (n *node) literal() bool   { return n.kind >= isBool && n.kind <= isText }
func (n *node) condition() bool { return n.kind < isBool }

func (n *node) walk(see func(*node)) {
	see(n)
	for _, kid := range n.kids {
		kid.walk(see)
	}
}

// typ is what an operand is used as, as far as that is known before there is a value.
func (n *node) typ() string {
	switch n.kind {
	case isNumber, isArithmetic, isNegative:
		return "a number"
	case isText, isTopic:
		return "a string"
	case isBool:
		return "true or false"
	case isNull:
		return "null"
	case isMember:
		return ""
	}
	return "a condition"
}

// truth makes a condition of a node.
func (p *parser) truth(n *node) *node {
	switch {
	case p.err != nil || n.condition() || n.kind == isBool:
		return n
	case n.kind == isMember:
		return &node{kind: isTruth, at: n.at, kids: []*node{n}}
	}
	return p.fail(n.at, "a condition is expected, and this is "+n.typ()+"; write a comparison such as x > 5")
}

func (p *parser) comparison(tok token, o op, left, right *node) *node {
	p.comparable(tok.at, left)
	p.comparable(tok.at, right)
	p.mixed(tok, o, left, right)
	return p.node(node{kind: isCompare, op: o, at: tok.at, kids: []*node{left, right}})
}

// comparable refuses conditions as operands.
func (p *parser) comparable(at int, n *node) {
	if p.err == nil && n.condition() {
		p.fail(at, "a condition is true or false already and is not compared; write a && b, !a, or a && b || !a && !b")
	}
}

// mixed refuses comparisons that no value fulfils.
func (p *parser) mixed(tok token, o op, left, right *node) {
	if p.err != nil {
		return
	}
	a, b := left.typ(), right.typ()
	ordered := o != equal && o != unequal
	for _, t := range []string{a, b} {
		if ordered && (t == "null" || t == "true or false") {
			p.fail(tok.at, shown(tok.text)+" compares numbers or strings, not "+t+"; write == or !=")
			return
		}
	}
	if a == b || a == "" || b == "" {
		return
	}
	hint := ""
	if a == "a number" && b == "a string" || a == "a string" && b == "a number" {
		hint = "; write numbers without quotes, and strings in quotes"
		if left.kind == isTopic || right.kind == isTopic {
			hint = "; topic is the topic's name, and the price may be a member such as value.price"
		}
	}
	p.fail(tok.at, a+" is never compared with "+b+hint)
}

// numeric refuses operands that are no numbers.
func (p *parser) numeric(tok token, n *node) {
	if t := n.typ(); p.err == nil && t != "a number" && t != "" {
		hint := ""
		if n.condition() {
			hint = "; write ( ) around what belongs together"
		}
		p.fail(tok.at, shown(tok.text)+" takes numbers, not "+t+hint)
	}
}

var functions = map[string]op{"startsWith": startsWith, "endsWith": endsWith, "contains": contains}

// name reads what begins with a name: a literal, the topic, a member, or a function.
func (p *parser) name(tok token) *node {
	switch tok.text {
	case "true", "false":
		return p.node(node{kind: isBool, at: tok.at, yes: tok.text == "true"})
	case "null":
		return p.node(node{kind: isNull, at: tok.at})
	case "in":
		return p.fail(tok.at, "a member is expected before in; a member of that name is written value.in")
	}
	if hint := notAName(tok.text); hint != "" {
		if p.tok.kind == tokenName && p.tok.text != "in" || p.tok.kind == tokenNumber || p.tok.kind == tokenText ||
			p.tok.is("(") || strings.ToLower(tok.text) != "not" {
			return p.fail(tok.at, hint+"; a member of that name is written value."+tok.text)
		}
	}
	if p.tok.is("(") {
		if tok.text != "has" {
			return p.unknown(tok)
		}
		p.advance()
		return p.has(tok)
	}
	return p.path(tok)
}

// notAName returns what to write in place of words that other languages have.
func notAName(word string) string {
	switch strings.ToLower(word) {
	case "not":
		return "write ! for not"
	case "and":
		return "write && for and"
	case "or":
		return "write || for or"
	case "true", "false", "null":
		return "write " + strings.ToLower(word)
	case "none", "nil", "undefined":
		return "write null"
	}
	return ""
}

// unknown refuses a function.
func (p *parser) unknown(tok token) *node {
	hint := "there is no function " + shown(tok.text) + "; there are has(x), x.startsWith('a'), x.endsWith('a'), x.contains('a')"
	switch _, method := functions[tok.text]; {
	case method:
		hint = "write x." + tok.text + "('a'), with the member or topic before it"
	case tok.text == "abs":
		hint += "; write x > 5 || x < -5 for abs(x) > 5"
	case tok.text == "now":
		hint += "; conditions change with ticks only"
	case tok.text == "size" || tok.text == "len":
		hint += "; lengths are not known"
	}
	return p.fail(tok.at, hint)
}

func (p *parser) has(tok token) *node {
	n := p.inside(tok, p.operand)
	switch {
	case p.err != nil:
	case n.kind != isMember:
		return p.fail(n.at, "has takes a member, such as has(bid.px)")
	case !p.accept(")"):
		return p.fail(p.tok.at, "a ) is expected behind the member, not "+p.tok.said())
	}
	return p.node(node{kind: isHas, at: tok.at, kids: []*node{n}})
}

// path reads the rest of a member's path, and a function of what it names.
func (p *parser) path(first token) *node {
	names := []string{first.text}
	whole := first.text == "value" // The value itself, whose members follow.
	topic := first.text == "topic"
	for p.err == nil && (p.tok.is(".") || p.tok.is("[")) {
		dot := p.tok.is(".")
		p.advance()
		tok := p.tok
		o, function := functions[tok.text]
		switch {
		case p.err != nil:
		case dot && tok.kind != tokenName:
			return p.fail(tok.at, "a name is expected behind the point; an odd one is written value['odd name']")
		case !dot && tok.kind == tokenNumber:
			return p.fail(tok.at, "elements of lists are not asked for; members only, such as value['name']")
		case !dot && tok.kind != tokenText:
			return p.fail(tok.at, "a name in quotes is expected here, such as value['odd name']")
		}
		p.advance()
		if dot && p.tok.is("(") {
			if !function {
				return p.unknown(tok)
			}
			return p.call(tok, o, p.named(first, names, topic))
		}
		if topic {
			return p.fail(tok.at, "topic is a string and has no members; a member of that name is written value.topic")
		}
		if !dot && p.err == nil && !p.accept("]") {
			return p.fail(p.tok.at, "a ] is expected behind the name, not "+p.tok.said())
		}
		if whole {
			whole, names = false, names[:0]
		}
		if names = append(names, tok.text); len(names) > p.Depth {
			return p.fail(tok.at, "the path has more than "+strconv.Itoa(p.Depth)+" names")
		}
	}
	return p.named(first, names, topic)
}

// named returns the topic or a member.
func (p *parser) named(first token, names []string, topic bool) *node {
	if topic {
		return p.node(node{kind: isTopic, at: first.at})
	}
	n := p.node(node{kind: isMember, at: first.at, path: names, text: pathText(names)})
	if p.err == nil && !slices.Contains(p.members, n.text) {
		if p.members = append(p.members, n.text); len(p.members) > p.Members {
			return p.fail(first.at, "the condition has more than "+strconv.Itoa(p.Members)+" members")
		}
	}
	return n
}

// call reads the argument of a function of two texts.
func (p *parser) call(tok token, o op, of *node) *node {
	p.advance()
	arg := p.inside(tok, p.operand)
	switch t := arg.typ(); {
	case p.err != nil:
	case t != "" && t != "a string":
		return p.fail(arg.at, tok.text+" takes a string such as 'a', not "+t)
	case !p.accept(")"):
		return p.fail(p.tok.at, "a ) is expected behind the string, not "+p.tok.said())
	}
	return p.node(node{kind: isCall, op: o, at: tok.at, kids: []*node{of, arg}})
}

// pathText returns the one spelling of a path.
func pathText(names []string) string {
	var b []byte
	for i, name := range names {
		switch {
		case !plain(name) && i == 0:
			b = append(appendText(append(b, "value["...), name), ']')
		case !plain(name):
			b = append(appendText(append(b, '['), name), ']')
		case i > 0:
			b = append(append(b, '.'), name...)
		case name == "value" && len(names) > 1 || name == "topic" || name == "in" || notAName(name) != "":
			b = append(append(b, "value."...), name...)
		default:
			b = append(b, name...)
		}
	}
	return string(b)
}

// plain reports whether a name can be written without quotes.
func plain(name string) bool {
	if name == "" || isDigit(name[0]) {
		return false
	}
	for i := range len(name) {
		if !isLetter(name[i]) && !isDigit(name[i]) {
			return false
		}
	}
	return true
}
