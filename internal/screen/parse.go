// SPDX-License-Identifier: Apache-2.0

package screen

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits bound a condition, as it is written and as it is normalised. Each that is 0 is as [Parse] has it by default.
type Limits struct {
	Length   int // Bytes; 1024 by default.
	Depth    int // Parentheses in each other, and names of one path; 16.
	Members  int // Distinct members; 16.
	Nodes    int // Operators and operands, but for signs and !; 128.
	Elements int // Of one list; 64.
	Text     int // Bytes of one string; 256.
}

func (l Limits) filled() Limits {
	for _, f := range []struct {
		limit *int
		is    int
	}{{&l.Length, 1024}, {&l.Depth, 16}, {&l.Members, 16}, {&l.Nodes, 128}, {&l.Elements, 64}, {&l.Text, 256}} {
		if *f.limit == 0 {
			*f.limit = f.is
		}
	}
	return l
}

// Expr is a condition. It does not change.
type Expr struct {
	root    *node // Normalised.
	members []string
}

// Parse reads a condition. An empty one is always true.
func Parse(src string, l Limits) (*Expr, *Error) {
	l = l.filled()
	plain, err := parse(src, l)
	if err != nil {
		return nil, err
	}
	e := &Expr{root: normal(plain)}
	if n := len(e.root.text); n > l.Length {
		return nil, &Error{0, "the condition has " + strconv.Itoa(n) + " bytes when it is normalised, of at most " +
			strconv.Itoa(l.Length) + "; make it shorter"}
	}
	e.root.walk(func(n *node) {
		if n.kind == isMember && !slices.Contains(e.members, n.text) {
			e.members = append(e.members, n.text)
		}
	})
	slices.Sort(e.members)
	return e, nil
}

// String returns the normalised text: conditions that differ only in how they are written have one, and [Parse] takes it.
func (e *Expr) String() string {
	if e.Always() {
		return ""
	}
	return e.root.text
}

// Members returns the paths that the condition asks for, sorted.
func (e *Expr) Members() []string { return e.members }

// Always reports whether the condition is true whatever the value.
func (e *Expr) Always() bool { return e.root.kind == isBool && e.root.yes }

// By is what topics are ranked by.
type By struct {
	Member     string
	Descending bool // The largest first.
}

func (b By) String() string {
	if b.Descending {
		return "-" + b.Member
	}
	return b.Member
}

// ParseBy reads a member, with - before it for the largest first.
func ParseBy(src string) (By, *Error) {
	p, err := newParser(src, Limits{}.filled())
	if err != nil {
		return By{}, err
	}
	b := By{Descending: p.accept("-")}
	n := p.operand()
	switch {
	case p.err != nil:
	case n.kind != isMember:
		p.fail(n.at, "a member is expected, such as -chg_pct")
	case p.tok.kind != tokenEnd:
		p.fail(p.tok.at, "nothing is expected behind the member; rank by one member, such as -chg_pct")
	}
	if p.err != nil {
		return By{}, p.err
	}
	b.Member = n.text
	return b, nil
}

// parser reads by recursive descent. It recurses for parentheses only, and depth bounds them. The first error ends it: from then
// on there are no more tokens, and what is returned is not looked at.
type parser struct {
	lexer
	Limits
	tok     token
	err     *Error
	nodes   int
	depth   int
	members []string
}

func newParser(src string, l Limits) (*parser, *Error) {
	if len(src) > l.Length {
		return nil, &Error{l.Length, "the condition has " + strconv.Itoa(len(src)) + " bytes, of at most " + strconv.Itoa(l.Length)}
	}
	for i, r := range src {
		if r == utf8.RuneError && !strings.HasPrefix(src[i:], "\uFFFD") {
			return nil, &Error{i, "the condition is not UTF-8"}
		}
	}
	p := &parser{lexer: lexer{src: src, max: l.Text}, Limits: l}
	p.advance()
	return p, p.err
}

func parse(src string, l Limits) (*node, *Error) {
	p, err := newParser(src, l)
	if err != nil {
		return nil, err
	}
	if p.tok.kind == tokenEnd {
		return &node{kind: isBool, yes: true}, nil
	}
	n := p.condition()
	if p.err == nil && p.tok.kind != tokenEnd {
		p.unexpected("")
	}
	if p.err == nil {
		n = p.truth(n)
	}
	return n, p.err
}

func (p *parser) fail(at int, reason string) *node {
	if p.err == nil {
		p.err = &Error{at, reason}
	}
	p.tok = token{at: at}
	p.at = len(p.src)
	return &node{kind: isBool, at: at}
}

func (p *parser) advance() {
	tok, err := p.next()
	if err != nil {
		p.fail(err.At, err.Reason)
		return
	}
	p.tok = tok
}

func (p *parser) accept(operator string) bool {
	if !p.tok.is(operator) {
		return false
	}
	p.advance()
	return true
}

// unexpected says what is wrong with a token behind an operand.
func (p *parser) unexpected(or string) {
	hint := "an operator such as && or <" + or + " is expected, not " + p.tok.said()
	switch word := strings.ToLower(p.tok.text); {
	case p.tok.kind == tokenText || p.tok.kind == tokenNumber:
	case word == "and":
		hint = "write && for and"
	case word == "or":
		hint = "write || for or"
	case word == "not":
		hint = "write !(x in [1, 2]) for not in"
	case word == "is":
		hint = "write == for is"
	case word == "between":
		hint = "write 1 <= x && x <= 5 for between"
	case word == "like":
		hint = "write x.startsWith('a') for like"
	case word == ")":
		hint = "there is no ( to this )"
	case word == "[":
		hint = "a list is expected only behind in"
	}
	p.fail(p.tok.at, hint)
}

func (p *parser) node(n node) *node {
	if p.nodes++; p.nodes > p.Nodes {
		return p.fail(n.at, "the condition has more than "+strconv.Itoa(p.Nodes)+" operators and operands")
	}
	return &n
}

func (p *parser) condition() *node { return p.chain("||", isOr, p.all) }
func (p *parser) all() *node       { return p.chain("&&", isAnd, p.relation) }

// chain reads operands of one of && and ||, any number.
func (p *parser) chain(operator string, kind kind, operand func() *node) *node {
	first := operand()
	if p.err != nil || !p.tok.is(operator) {
		return first
	}
	n := &node{kind: kind, at: p.tok.at, kids: []*node{p.truth(first)}}
	for p.err == nil && p.tok.is(operator) {
		p.node(node{at: p.tok.at})
		p.advance()
		if kid := operand(); p.err == nil {
			n.kids = append(n.kids, p.truth(kid))
		}
	}
	return n
}

var relations = map[string]op{"==": equal, "!=": unequal, "<": less, "<=": lessEqual, ">": more, ">=": moreEqual}

func (p *parser) relation() *node {
	left := p.sum()
	if p.err != nil {
		return left
	}
	tok := p.tok
	var n *node
	if o, is := relations[tok.text]; is && tok.kind == tokenOperator {
		p.advance()
		if n = p.comparison(tok, o, left, p.sum()); p.err != nil {
			return n
		}
	} else if tok.kind == tokenName && tok.text == "in" {
		p.advance()
		n = p.list(p.node(node{kind: isIn, at: tok.at, kids: []*node{left}}))
	} else {
		return left
	}
	if _, again := relations[p.tok.text]; p.err == nil && p.tok.kind == tokenOperator && again {
		return p.fail(p.tok.at, "comparisons have no chains; write 1 < x && x < 5")
	}
	return n
}

// list reads what is right of in.
func (p *parser) list(n *node) *node {
	if p.err != nil {
		return n
	}
	p.comparable(n.at, n.kids[0])
	if !p.tok.is("[") {
		return p.fail(p.tok.at, "a list is expected behind in, such as ['a', 'b'] or [1, 2], not "+p.tok.said())
	}
	p.advance()
	for p.err == nil && !p.accept("]") {
		if len(n.kids) > 1 && !p.accept(",") {
			return p.fail(p.tok.at, "a , or ] is expected in the list, not "+p.tok.said())
		}
		if len(n.kids) > p.Elements {
			return p.fail(p.tok.at, "the list has more than "+strconv.Itoa(p.Elements)+" elements")
		}
		tok := p.tok
		kid := p.unary(false)
		switch {
		case p.err != nil:
		case !kid.literal():
			return p.fail(tok.at, "a list has numbers, strings, true, false and null, not "+tok.said())
		default:
			p.mixed(tok, equal, n.kids[0], kid)
			n.kids = append(n.kids, kid)
		}
	}
	return n
}

var arithmetic = map[string]op{"+": add, "-": subtract, "*": multiply, "/": divide, "%": remainder}

func (p *parser) sum() *node     { return p.operation("+-", p.product) }
func (p *parser) product() *node { return p.operation("*/%", func() *node { return p.unary(true) }) }

func (p *parser) operation(operators string, operand func() *node) *node {
	n := operand()
	for p.err == nil && p.tok.kind == tokenOperator && len(p.tok.text) == 1 && strings.Contains(operators, p.tok.text) {
		tok := p.tok
		p.advance()
		right := operand()
		p.numeric(tok, n)
		p.numeric(tok, right)
		n = p.node(node{kind: isArithmetic, op: arithmetic[tok.text], at: tok.at, kids: []*node{n, right}})
	}
	return n
}

// inside reads what is in parentheses.
func (p *parser) inside(tok token, read func() *node) *node {
	if p.depth++; p.depth > p.Depth {
		return p.fail(tok.at, "more than "+strconv.Itoa(p.Depth)+" parentheses in each other")
	}
	n := read()
	p.depth--
	return n
}

// unary reads an operand with any number of one sign before it. What counts as a node is the operand.
func (p *parser) unary(counts bool) *node {
	sign := p.tok
	times := 0
	for sign.is("-") && p.accept("-") || sign.is("!") && p.accept("!") {
		times++
	}
	if times > 0 && (p.tok.is("-") || p.tok.is("!")) {
		return p.fail(p.tok.at, "write ( ) between - and !")
	}
	n := p.operand()
	if !counts {
		p.nodes--
	}
	odd := times%2 == 1 // Twice is not at all.
	switch {
	case p.err != nil || times == 0:
	case sign.text == "!":
		if n = p.truth(n); odd {
			n = &node{kind: isNot, at: sign.at, kids: []*node{n}}
		}
	case odd && n.kind == isNumber:
		n.num = n.num.negated()
	default:
		if p.numeric(sign, n); odd {
			n = &node{kind: isNegative, at: sign.at, kids: []*node{n}}
		}
	}
	return n
}

func (p *parser) operand() *node {
	tok := p.tok
	switch {
	case p.err != nil:
		return &node{}
	case tok.kind == tokenNumber:
		p.advance()
		return p.node(node{kind: isNumber, at: tok.at, num: tok.num})
	case tok.kind == tokenText:
		p.advance()
		if p.tok.is(".") {
			return p.fail(p.tok.at, "strings have no functions; write topic.startsWith('a') or "+
				"x in ['a', 'b'], with the member or topic first")
		}
		return p.node(node{kind: isText, at: tok.at, str: tok.text})
	case tok.kind == tokenName:
		p.advance()
		return p.name(tok)
	case p.accept("("):
		n := p.inside(tok, p.condition)
		if p.err == nil && !p.accept(")") {
			p.unexpected(" or )")
		}
		return n
	case tok.kind == tokenEnd:
		return p.fail(tok.at, "a member, number or string is expected here")
	case tok.is("["):
		return p.fail(tok.at, "a list is expected only behind in, such as x in [1, 2]")
	case tok.is("."):
		return p.fail(tok.at, "a member, number or string is expected here; write 0.5, not .5")
	}
	return p.fail(tok.at, "a member, number or string is expected here, not "+tok.said())
}
