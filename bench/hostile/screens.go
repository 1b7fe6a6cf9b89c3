// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// screenInputs are conditions and patterns that cost more than they should, or that are none.
func screenInputs(*plan) []input {
	var all []input
	const malformed = "error 400, goes on"
	add := func(demand, name, command string) {
		all = append(all, input{name, demand, "SCREENS.md", talk(message(command))})
	}
	where := func(demand, name, condition string) {
		text, _ := json.Marshal(condition)
		add(demand, name, fmt.Sprintf(`{"op":"screen","screen":"s","topics":"GEN-*","where":%s}`, text))
	}
	for _, c := range []string{"p >", "> 1", "p > 1 and q > 2", "p == 'a", "p > 1 &&", "(p > 1", "p > 1)", "p = 1", "p > 1e999", "f(p)", "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q > 1", "p in 5", "1 > 2 > 3", "p > \x00", "p > ${jndi}", "true + 1"} {
		where(malformed, fmt.Sprintf("condition %.30q", c), c)
	}
	where("close 1009", "condition of 100,000 bytes", "p > "+strings.Repeat("1", 100_000))
	where(malformed, "1,000 parentheses", strings.Repeat("(", 1000)+"p > 1"+strings.Repeat(")", 1000))
	where("ack, goes on", "1,000 times not", strings.Repeat("!", 1000)+"(p > 1)")
	where("ack, goes on", "a number that is none is a member", "p > NaN")
	where(malformed, "2,000 times not", strings.Repeat("!", 2000)+"(p > 1)")
	where(malformed, "an || of 1,000 parts", strings.TrimSuffix(strings.Repeat("p > 1 || ", 1000), " || "))
	where(malformed, "a list of 1,000", "p in ["+strings.TrimSuffix(strings.Repeat("1,", 1000), ",")+"]")
	where(malformed, "a string of 300 bytes", "s == '"+strings.Repeat("x", 300)+"'")
	where("ack, goes on", "nothing is ever inside", "p > 1.0 && p < -1.0")
	where("ack, goes on", "a pattern that backtracks elsewhere", "s.contains('"+strings.Repeat("a", 200)+"b')")

	screen := func(demand, name, members string) {
		add(demand, name, `{"op":"screen","screen":"s",`+members+`}`)
	}
	screen(malformed, "no topics", `"where":"p > 1"`)
	screen(malformed, "top of 1e9", `"topics":"GEN-*","top":1000000000,"by":"p"`)
	screen(malformed, "top below 0", `"topics":"GEN-*","top":-1,"by":"p"`)
	screen(malformed, "by that is no expression", `"topics":"GEN-*","top":1,"by":"p >"`)
	screen("error 403, goes on", "topics of the edges", `"topics":"tickedge:*"`)
	screen("error 403, goes on", "private topics", `"topics":"alerts:*"`)
	screen("error 422, goes on", "a star in the middle", `"topics":"a*b"`)
	screen("error 422, goes on", "a pattern of 100 bytes", `"topics":"`+strings.Repeat("A", 100)+`*"`)
	add("error 422, goes on", "a name of 100 bytes", `{"op":"screen","screen":"`+strings.Repeat("s", 100)+`","topics":"GEN-*"}`)
	add("rejected 429, goes on", "one screen more than a client may have", subscribing(list(9, func(i int) string { return fmt.Sprintf("GEN-%d*", i) })))
	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprintf(`"P%d*"`, i)
	}
	screen("error 413, goes on", "300 patterns", `"topics":[`+strings.Join(many, ",")+`]`)
	return all
}
