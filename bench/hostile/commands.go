// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"strings"
)

func commandInputs(*plan) []input {
	var all []input
	add := func(demand, name, text string) {
		all = append(all, input{name, demand, "PROTOCOL.md", talk(message(text))})
	}
	const malformed = "error 400, goes on"
	const command = `{"op":"subscribe","topics":["GEN-000001"],"id":1}`

	add(malformed, "empty message", "")
	for _, text := range []string{"null", "true", "42", `"subscribe"`, "[]", "{}", "[" + command + "]", "{", "}", "\ufeff" + command, "\x00", `{"op":null}`, `{"op":7}`, `{"op":"SUBSCRIBE"}`, "{'op':'ping'}", `{"op":"ping",}`, `{"op":"ping"/**/}`, `{"op":"pi` + "\n" + `ng"}`} {
		add(malformed, fmt.Sprintf("%.40q", text), text)
	}
	all = append(all, input{"command cut at every byte", fmt.Sprintf("%d × %s", len(command)-1, malformed), "PROTOCOL.md", func(r *run) string {
		return crowd(len(command)-1, 16, func(i int) string { return talk(message(command[:i+1]))(r) })
	}})
	all = append(all, input{"1,000 commands at once", "some pongs and errors 429, close 4503", "PROTOCOL.md", tooMany(`{"op":"ping"}`, "pong")})
	add("the word pong, goes on", "the word ping", "ping")
	add("the word pong, goes on", "the word ping as JSON", `"ping"`)
	add(malformed, "the word in capitals", "PING")
	all = append(all, input{"1,000 words at once", "some pongs and errors 429, close 4503", "PROTOCOL.md", tooMany("ping", "the word pong")})
	add(malformed, "garbage behind the object", command+"x")
	add(malformed, "two objects", `{"op":"ping"}{"op":"ping"}`)
	add(malformed, "9 levels", `{"op":"ping","x":`+nested(8)+"}")
	add("pong, goes on", "8 levels", `{"op":"ping","x":`+nested(7)+"}")
	add(malformed, "10,000 levels", `{"op":"ping","x":`+strings.Repeat("[", 10_000))
	add(malformed, "10,000 levels, closed", nested(10_000))
	add("pong, goes on", "id 1e999", `{"op":"ping","id":1e999}`)
	add("pong, goes on", "unknown number of 10,000 digits", `{"op":"ping","x":`+strings.Repeat("9", 10_000)+"}")
	add(malformed, "id of 10,000 digits", `{"op":"ping","id":`+strings.Repeat("9", 10_000)+"}")
	add(malformed, "id of 65 bytes", `{"op":"ping","id":"`+strings.Repeat("i", 65)+`"}`)
	add(malformed, "id that is an object", `{"op":"ping","id":{}}`)
	for _, ms := range []string{"99", "60001", "-500", "500.5", "1e3", "9223372036854775808", `"500"`, strings.Repeat("9", 400)} {
		add(malformed, fmt.Sprintf("ms %.30s", ms), `{"op":"interval","ms":`+ms+"}")
	}
	add(malformed, "op twice", `{"op":"ping","op":"list"}`)
	add(malformed, "topics twice", `{"op":"subscribe","topics":["A"],"topics":["B"]}`)
	add(malformed, "unknown key twice", `{"op":"ping","x":1,"x":2}`)
	add(malformed, "key twice, once escaped", `{"op":"ping","x":1,"\u0078":2}`)
	add(malformed, "half a surrogate pair", `{"op":"ping","id":"\ud800"}`)
	add("close 1007", "bytes that are not UTF-8", "{\"op\":\"subscribe\",\"topics\":[\"\xc3\x28\"]}")
	add("close 1007", "overlong UTF-8", "{\"op\":\"subscribe\",\"topics\":[\"\xc0\xaf\"]}")
	add("close 1007", "surrogate in UTF-8", "{\"op\":\"subscribe\",\"topics\":[\"\xed\xa0\x80\"]}")

	names := func(n int, name func(i int) string) string { return subscribing(list(n, name)) }
	add("close 1009", "10,000 topics", names(10_000, func(i int) string { return fmt.Sprint("T", i) }))
	add("error 413, goes on", "5,000 topics of a letter", names(5000, func(i int) string { return string(rune('A' + i%26)) }))
	add("error 413, goes on", "257 topics", names(257, topicName))
	add("ack, goes on", "256 times the same topic", names(256, func(int) string { return topicName(0) }))
	add(malformed, "topics that is a string", `{"op":"subscribe","topics":"A"}`)
	add(malformed, "topics that is an object", `{"op":"subscribe","topics":{"A":1}}`)
	add(malformed, "topic that is a number", `{"op":"subscribe","topics":[1]}`)
	add(malformed, "topic that is a list", `{"op":"subscribe","topics":[["A"]]}`)

	const rejected = "rejected 422, goes on"
	for _, name := range []string{"", " ", "A B", "*A", "A*B", "A\u0000", "A\u0000B", "A\r\nSUBSCRIBE B", "\u202eA", "A\u200b", "\ufeffA", "A\u2028", "A\\u0000", "A,B", "{A}", `"A"`} {
		add(rejected, fmt.Sprintf("topic %q", name), fmt.Sprintf(`{"op":"subscribe","topics":[%s]}`, quoted(name)))
	}
	add(rejected, "topic of 65 bytes", names(1, func(int) string { return strings.Repeat("A", 65) }))
	add(rejected, "topic of 15,000 bytes", names(1, func(int) string { return strings.Repeat("A", 15_000) }))
	add("256 × rejected 422, goes on", "256 topics that are none", names(256, func(i int) string { return fmt.Sprint("no topic ", i) }))
	for _, name := range []string{"../../etc/passwd", "//", ":::", "-", "GEN-?", "[a-z]", "é", "$(id)", "A;B", "A'--", "<b>", "%41", strings.Repeat("A", 64)} {
		// Odd, but names: the edge makes channels and keys of them, never paths.
		add("ack, goes on", fmt.Sprintf("topic %.30q", name), names(1, func(int) string { return name }))
	}

	all = append(all,
		input{"16 malformed commands", "16 × error 400, close 4502", "OPERATIONS.md", talk(repeat("{", 16))},
		input{"15 malformed commands", "15 × error 400, goes on", "OPERATIONS.md", talk(repeat("{", 15))},
		input{"1,000 malformed commands at once", "16 × error 400, close 4502", "OPERATIONS.md", talk(repeat("{", 1000))},
	)
	return all
}

func nested(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }

func repeat(text string, n int) (all []byte) {
	for range n {
		all = append(all, message(text)...)
	}
	return all
}

// quoted is a JSON string. What strconv makes for Go is not always one.
func quoted(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < ' ' || r == '"' {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else if r == '\\' {
			b.WriteString(`\\`)
		} else {
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}

// tooMany goes on and on with pings after 429. How many commands pass before depends on how
// long that takes.
func tooMany(ping, pong string) func(*run) string {
	return func(r *run) string {
		what := frames(repeat(ping, 1000))(r)
		if pongs, rest, ok := strings.Cut(what, " × "+pong+", "); ok {
			if errors, rest, ok := strings.Cut(rest, " × error 429, "); ok && len(pongs) == 2 && len(errors) == 2 {
				return "some pongs and errors 429, " + rest
			}
		}
		return what
	}
}
