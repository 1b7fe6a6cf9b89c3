// SPDX-License-Identifier: Apache-2.0

// Screenoracle holds the language of screens against cel-go: it makes up conditions and values of what both have, and writes what
// cel-go says of them to a file, which a test of internal/screen reads. It is a module of its own, as cel-go is large.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/google/cel-go/cel"

	"tickedge/internal/screen"
)

func main() {
	out := flag.String("out", "../../internal/screen/testdata/cel.txt", "the file to write")
	lines := flag.Int("lines", 3000, "how many lines it has")
	flag.Parse()
	if err := write(*out, *lines); err != nil {
		fmt.Fprintln(os.Stderr, "screenoracle:", err)
		os.Exit(1)
	}
}

// write makes the file anew. It is the same each time.
func write(name string, lines int) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	o, err := newOracle()
	if err != nil {
		return err
	}
	g := generator{rand.New(rand.NewPCG(1, 1))}
	for n := 0; n < lines; {
		src := g.condition(2)
		program, err := o.compile(src)
		if err != nil {
			return fmt.Errorf("%s: %w", src, err)
		}
		for range 3 {
			value := g.value()
			if verdict, ok := eval(program, value); ok {
				fmt.Fprintf(w, "%s\t%s\t%v\n", src, value, verdict)
				n++
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

const topic = "crypto:BTC"

type oracle struct{ env *cel.Env }

func newOracle() (oracle, error) {
	options := []cel.EnvOption{cel.Variable("topic", cel.StringType), cel.CrossTypeNumericComparisons(true)}
	for _, name := range []string{"p", "v", "s", "ok", "w", "bid", "value"} {
		options = append(options, cel.Variable(name, cel.DynType))
	}
	env, err := cel.NewEnv(options...)
	return oracle{env}, err
}

func (o oracle) compile(src string) (cel.Program, error) {
	ast, issues := o.env.Compile(src)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	return o.env.Program(ast)
}

// eval reports false if CEL gives an error, which we do not have: its comparisons of missing members are that.
func eval(p cel.Program, value string) (verdict, ok bool) {
	var members map[string]any
	if err := json.Unmarshal([]byte(value), &members); err != nil {
		panic(err)
	}
	members["value"], members["topic"] = clone(members), topic
	result, _, err := p.Eval(members)
	if err != nil {
		return false, false
	}
	verdict, ok = result.Value().(bool)
	return verdict, ok
}

func clone(m map[string]any) map[string]any {
	c := make(map[string]any, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// ours is the verdict of internal/screen.
func ours(src, value string) (bool, error) {
	e, err := screen.Parse(src, screen.Limits{})
	if err != nil {
		return false, err
	}
	p := screen.NewPaths(e.Members())
	var v screen.Values
	p.Extract(value, &v)
	return e.Bind(p).Eval(topic, &v), nil
}

// generator makes up what both languages have. Numbers are doubles that are exact, as CEL has no decimals. The members p, v and
// bid.px are numbers, s is a string and ok true or false, if they are there; w is anything, and only where types do not matter.
type generator struct{ *rand.Rand }

func (g generator) of(all ...string) string { return all[g.IntN(len(all))] }

func (g generator) literal() string {
	return g.of("0.0", "1.0", "5.0", "0.5", "0.25", "-2.5", "1e6", "1000000.0", "4096.0", "-0.125")
}

func (g generator) number(depth int) string {
	switch n := g.IntN(10); {
	case n < 6 || depth == 0:
		return g.of("p", "v", "bid.px", "value.p")
	case n < 8:
		return g.literal()
	case n < 9:
		return "(" + g.number(depth-1) + g.of(" / 4.0", " / 0.5", " * 3.0", "*-2.0") + ")"
	}
	s := g.number(depth-1) + g.of(" + ", " - ", "+", " * ") + g.number(depth-1)
	return g.of("", "-") + "(" + s + ")"
}

func (g generator) text() string {
	return g.of("topic", "s", "s", "'a'", `"ab"`, `'crypto:'`, `'\u0061\n'`, `''`, `'\''`)
}

func (g generator) condition(depth int) string {
	if depth > 0 && g.IntN(3) > 0 {
		s := g.of("", "", "!") + "(" + g.condition(depth-1)
		op := g.of(" && ", " || ", "&&")
		for range 1 + g.IntN(2) {
			s += op + g.condition(depth-1)
		}
		return s + ")"
	}
	switch g.IntN(10) {
	case 0:
		return g.of("", "!") + "has(" + g.of("bid.px", "value.p", "value.w", "value.bid", "value['bid'].px") + ")"
	case 1:
		return g.number(1) + " in [" + g.literal() + ", " + g.literal() + "]"
	case 2:
		return g.of("s", "topic", "w") + " in ['a', \"ab\", 'crypto:BTC', '\\x61']"
	case 3:
		return g.of("s", "topic", "w") + g.of(".startsWith(", ".endsWith(", ".contains(") + g.text() + ")"
	case 4:
		return "s" + g.of(" == ", " != ", " < ", " <= ", ">", ">=") + g.text()
	case 5:
		return g.of("ok", "!ok", "ok == true", "ok != true", "ok == false", "true", "false", "!!ok")
	case 6:
		return g.of("w == null", "w != null", "w == 5.0", "w == 'a'", "w < 5.0", "w > 'a'", "w == true", "value.w == null")
	}
	return g.number(2) + g.of(" == ", " != ", " < ", " <= ", " > ", " >= ") + g.number(2)
}

// value makes an object up, in which members may be missing.
func (g generator) value() string {
	s := ""
	add := func(name, value string) {
		if g.IntN(8) > 0 {
			if s != "" {
				s += ","
			}
			s += `"` + name + `":` + value
		}
	}
	n := func() string {
		return g.of("0", "1", "5", "5.0", "0.5", "-2.5", "1e6", "1000000", "0.25", "3.125", "-0.0", "12288")
	}
	add("p", n())
	add("s", g.of(`"a"`, `"ab"`, `"\u0061\n"`, `""`, `"crypto:"`, `"BTC"`, `"'"`, `"é"`, `"\ud83d\ude00"`))
	add("v", n())
	add("bid", `{`+g.of(`"px":`+n(), `"q":1,"px":`+n(), ``, `"q":2`)+`}`)
	add("ok", g.of("true", "false"))
	add("w", g.of("5", `"a"`, `"ab"`, "true", "false", "null", "[1]", `{"px":1}`, "5.0"))
	return "{" + s + "}"
}
