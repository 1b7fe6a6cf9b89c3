// SPDX-License-Identifier: Apache-2.0

package redistest

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Outcome is what a breakage has to lead to. In every case the edge lives, its memory
// stays bounded, and afterwards it has all newest values.
type Outcome uint8

const (
	// Survived demands no more than that.
	Survived Outcome = iota
	// Kept demands that the link goes on.
	Kept
	// Redialled demands a new connection of some kind.
	Redialled
	// Lost demands that the link ends and clients are told so.
	Lost
)

// Outcome is what b has to lead to at a point that it is one of.
func (b Breakage) Outcome(at Point) Outcome {
	onLink := at == Confirmation || at == ShardConfirmation || at == PatternConfirmation || at == Message || at == PatternMessage || at == Pong
	switch b.Form {
	case Fine:
		return Kept
	case Odd:
		if onLink && at != ShardConfirmation { // There an error may tell of a slot that has moved.
			return Lost
		}
	case Behind, Broken:
		if onLink || b.Form == Broken && (at == StreamQueue || at == StreamRead || at == StreamAwait) {
			return Lost
		}
		return Redialled
	}
	return Survived
}

// Breakages are all that can be played at a point, each with a name of its own, always in
// the same order. Those that last are the last ones.
func Breakages(at Point) []Breakage {
	all := slices.Clone(anywhere)
	switch at {
	case Confirmation:
		all = append(all, confirmations()...)
	case Message, PatternMessage:
		all = slices.DeleteFunc(all, func(b Breakage) bool { return b.Name == "nothing" || b.Name == "pong that was not asked for" })
		if at == Message {
			all = append(all, messages()...)
		}
	case Pong:
		all = append(all, pongs()...)
	case StreamRead:
		all = append(all, streamReads()...)
	case SentinelState:
		all = append(all, sentinelStates()...)
	case SentinelAddress:
		all = append(all, sentinelAddresses()...)
	case Role:
		all = append(all, roles()...)
	case ClusterSlots:
		all = append(all, clusterSlots()...)
	case ClusterInfo:
		all = append(all, clusterInfos()...)
	}
	for i, b := range all {
		if form, other := otherwise[at][b.Name]; other {
			all[i].Form = form
		}
	}
	slices.SortFunc(all, func(a, b Breakage) int {
		if a.Lasts != b.Lasts {
			if a.Lasts {
				return 1
			}
			return -1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all
}

// otherwise is what of the breakages for anywhere is less bad at a point.
var otherwise = map[Point]map[string]Form{Confirmation: ofTopics, Message: ofTopics}

// ofTopics are the errors that may be about some topics only, which are refused then, and are
// asked for again. At a message that is so if something is asked for at the time.
var ofTopics = func() map[string]Form {
	form := make(map[string]Form)
	for _, text := range []string{"NOPERM User edge has no permissions", "READONLY", "OOM command not allowed", "ERR unknown command",
		"EXECABORT", "WRONGTYPE", "NOREPLICAS", "UNBLOCKED", "", " ", "\x00", "\xff\xfe"} {
		form[errorName(text)] = Wild
	}
	return form
}()

func errorName(text string) string { return fmt.Sprintf("error %q", text) }

// split takes the first element off a reply that is well-formed.
func split(b []byte) (first, rest []byte) {
	line := strings.IndexByte(string(b), '\n') + 1
	n, _ := strconv.Atoi(string(b[1 : line-2]))
	end := line
	switch b[0] {
	case '$':
		if n >= 0 {
			end += n + 2
		}
	case '*':
		for range n {
			one, _ := split(b[end:])
			end += len(one)
		}
	}
	return b[:end], b[end:]
}

// elements are those of an array, encoded.
func elements(b []byte) (all [][]byte) {
	for rest := b[strings.IndexByte(string(b), '\n')+1:]; len(rest) > 0; {
		var one []byte
		one, rest = split(rest)
		all = append(all, one)
	}
	return all
}

// edited edits the elements of the first array of the good reply.
func edited(edit func(e [][]byte) [][]byte) func(*Wire, []byte) {
	return func(w *Wire, good []byte) {
		first, rest := split(good)
		w.Write(slices.Concat(list(edit(elements(first))...), rest))
	}
}

// with has one element replaced.
func with(i int, raw string) func(*Wire, []byte) {
	return edited(func(e [][]byte) [][]byte {
		e[i] = []byte(raw)
		return e
	})
}

// wrongElements are replies with a wrong element, which is a bulk if it is right.
func wrongElements(what string, i int) []Breakage {
	all := []Breakage{
		{Name: what + " is nil", Form: Odd, Play: with(i, "$-1\r\n")},
		{Name: what + " is a nil array", Form: Odd, Play: with(i, "*-1\r\n")},
		{Name: what + " is an empty array", Form: Odd, Play: with(i, "*0\r\n")},
		{Name: what + " is an array", Form: Odd, Play: with(i, "*1\r\n$1\r\na\r\n")},
		{Name: what + " is nested 100,000 times", Form: Broken, Play: with(i, strings.Repeat("*1\r\n", 100_000)+":1\r\n")},
		{Name: what + " is an integer", Form: Odd, Play: with(i, ":1\r\n")},
		{Name: what + " is an error", Form: Odd, Play: with(i, "-ERR x\r\n")},
		{Name: what + " is a RESP3 map", Form: Broken, Play: with(i, "%1\r\n+a\r\n+b\r\n")},
		{Name: what + " is a RESP3 null", Form: Broken, Play: with(i, "_\r\n")},
		{Name: what + " is cut off", Form: Broken, Play: with(i, "$9\r\nabc\r\n")},
	}
	for _, n := range []string{"-2", "-2147483648", "1099511627776", "9223372036854775807", strings.Repeat("9", 40), "abc"} {
		all = append(all, Breakage{Name: fmt.Sprintf("%s has length %.20q", what, n), Form: Broken, Play: with(i, "$"+n+"\r\nabc\r\n")})
	}
	return all
}

// miscounted are replies with too few elements, or too many.
func miscounted() []Breakage {
	return []Breakage{
		{Name: "an element too few", Form: Odd, Play: edited(func(e [][]byte) [][]byte { return e[:len(e)-1] })},
		{Name: "one element", Form: Odd, Play: edited(func(e [][]byte) [][]byte { return e[:1] })},
		{Name: "an element too many", Form: Odd, Play: edited(func(e [][]byte) [][]byte { return append(e, number(1)) })},
		{Name: "1,000 elements too many", Form: Odd, Play: edited(func(e [][]byte) [][]byte {
			return append(e,
				slices.Repeat([][]byte{bulk("x")}, 1000)...)
		})},
	}
}

func confirmations() []Breakage {
	return slices.Concat(wrongElements("kind", 0), wrongElements("channel", 1), miscounted(), []Breakage{
		{Name: "count is a bulk", Form: Odd, Play: with(2, "$1\r\n1\r\n")},
		{Name: "count is a status", Form: Odd, Play: with(2, "+1\r\n")},
		{Name: "count is nil", Form: Odd, Play: with(2, "$-1\r\n")},
		{Name: "count is an array", Form: Odd, Play: with(2, "*1\r\n:1\r\n")},
		{Name: "count is no number", Form: Broken, Play: with(2, ":one\r\n")},
		{Name: "count is too large for any integer", Form: Broken, Play: with(2, ":9223372036854775808\r\n")},
		{Name: "count is negative", Form: Wild, Play: with(2, ":-1\r\n")},
		{Name: "count is huge", Form: Wild, Play: with(2, ":9223372036854775807\r\n")},
		{Name: "kind is unknown", Form: Odd, Play: with(0, "$5\r\nwhat?\r\n")},
		{Name: "kind is empty", Form: Odd, Play: with(0, "$0\r\n\r\n")},
		{Name: "kind is that of the end", Form: Wild, Play: edited(func(e [][]byte) [][]byte { e[0] = bulk("unsubscribe"); return e })},
		{Name: "kind is psubscribe", Form: Wild, Play: with(0, "$10\r\npsubscribe\r\n")},
		{Name: "kind is 1 MB", Form: Odd, Play: with(0, "$1048576\r\n"+strings.Repeat("x", 1<<20)+"\r\n")},
		{Name: "another channel", Form: Odd, Play: with(1, "$20\r\nchannel:prices:OTHER\r\n")},
		{Name: "a channel of another form", Form: Odd, Play: with(1, "$5\r\nother\r\n")},
		{Name: "a channel with a zero byte", Form: Odd, Play: with(1, "$17\r\nchannel:prices:\x00A\r\n")},
		{Name: "a channel that is not UTF-8", Form: Odd, Play: with(1, "$17\r\nchannel:prices:\xff\xfe\r\n")},
		{Name: "a channel of 1 MB", Form: Odd, Play: with(1, "$1048576\r\n"+strings.Repeat("x", 1<<20)+"\r\n")},
		{Name: "of another channel before it", Form: Wild, Play: altered(func(b []byte) []byte {
			return slices.Concat(list(bulk("subscribe"), bulk("channel:prices:OTHER"), number(1)), b)
		})},
		{Name: "the end of all subscriptions before it", Form: Wild,
			Play: altered(func(b []byte) []byte { return slices.Concat(list(bulk("unsubscribe"), nilBulk, number(0)), b) })},
	})
}

func messages() []Breakage {
	big := func(n int) string { return "$" + strconv.Itoa(n) + "\r\n" + strings.Repeat("x", n) + "\r\n" }
	return slices.Concat(wrongElements("kind", 0), wrongElements("channel", 1), wrongElements("payload", 2), miscounted(), []Breakage{
		{Name: "kind is unknown", Form: Odd, Play: with(0, "$7\r\nmassage\r\n")},
		{Name: "kind is empty", Form: Odd, Play: with(0, "$0\r\n\r\n")},
		{Name: "kind is 1 MB", Form: Odd, Play: with(0, big(1<<20))},
		{Name: "kind is pmessage", Form: Odd, Play: with(0, "$8\r\npmessage\r\n")},
		{Name: "kind is smessage", Form: Wild, Play: with(0, "$8\r\nsmessage\r\n")},
		{Name: "another channel", Form: Fine, Play: with(1, "$20\r\nchannel:prices:OTHER\r\n")},
		{Name: "a channel of another form", Form: Fine, Play: with(1, "$5\r\nother\r\n")},
		{Name: "a channel with a zero byte", Form: Fine, Play: with(1, "$17\r\nchannel:prices:\x00A\r\n")},
		{Name: "a channel that is not UTF-8", Form: Fine, Play: with(1, "$17\r\nchannel:prices:\xff\xfe\r\n")},
		{Name: "an empty channel", Form: Fine, Play: with(1, "$0\r\n\r\n")},
		{Name: "a channel of 10 MB", Form: Wild, Play: with(1, big(10<<20))},
		{Name: "an empty payload", Form: Fine, Play: with(2, "$0\r\n\r\n")},
		{Name: "a payload of zero bytes", Form: Fine, Play: with(2, "$3\r\n\x00\x00\x00\r\n")},
		{Name: "a payload that is not UTF-8", Form: Fine, Play: with(2, "$4\r\n\"\xff\xfe\"\r\n")},
		{Name: "a payload with a lone surrogate", Form: Fine, Play: with(2, "$8\r\n\"\\ud800\"\r\n")},
		{Name: "a payload that is no JSON", Form: Fine, Play: with(2, "$7\r\n{\"p\":1,\r\n")},
		{Name: "a payload of RESP", Form: Fine, Play: with(2, "$20\r\n*1\r\n$1000000000\r\nx\r\n\r\n")},
		{Name: "a payload nested 2,000 times", Form: Fine, Play: with(2, "$4000\r\n"+strings.Repeat("[", 2000)+strings.Repeat("]", 2000)+"\r\n")},
		{Name: "a payload of 4,097 bytes", Form: Fine, Play: with(2, big(4097))},
		{Name: "a payload of 10 MB", Form: Fine, Play: with(2, big(10<<20))},
		{Name: "twenty payloads of 100 kB", Form: Fine, Play: func(w *Wire, good []byte) {
			first, rest := split(good)
			e := elements(first)
			for range 20 {
				w.Write(slices.Concat(list(e[0], e[1], []byte(big(100_000))), rest))
			}
		}},
		{Name: "a payload of 100 MB, cut off", Form: Broken, Play: func(w *Wire, good []byte) {
			first, _ := split(good)
			e := elements(first)
			endless("*3\r\n"+string(e[0])+string(e[1])+"$104857600\r\n", "x")(w, good)
		}},
		{Name: "a confirmation that nobody asked for", Form: Wild, Play: instead("*3\r\n$9\r\nsubscribe\r\n$20\r\nchannel:prices:OTHER\r\n:7\r\n")},
		{Name: "the end of a subscription that nobody asked for", Form: Wild,
			Play: instead("*3\r\n$11\r\nunsubscribe\r\n$20\r\nchannel:prices:OTHER\r\n:0\r\n")},
		{Name: "a pong that nobody asked for", Form: Wild, Play: instead("*2\r\n$4\r\npong\r\n$4\r\n9999\r\n")},
	})
}

func pongs() []Breakage {
	return slices.Concat(wrongElements("kind", 0), wrongElements("payload", 1), miscounted(), []Breakage{
		{Name: "another payload", Form: Odd, Play: with(1, "$7\r\nanother\r\n")},
		{Name: "an empty payload", Form: Odd, Play: with(1, "$0\r\n\r\n")},
		{Name: "a payload of 1 MB", Form: Odd, Play: with(1, "$1048576\r\n"+strings.Repeat("1", 1<<20)+"\r\n")},
		{Name: "the payload with a zero before it", Form: Odd, Play: edited(func(e [][]byte) [][]byte {
			return [][]byte{e[0], []byte("$20\r\n" + fmt.Sprintf("%020s", elementText(e[1])) + "\r\n")}
		})},
		{Name: "kind is unknown", Form: Odd, Play: with(0, "$4\r\nping\r\n")},
		{Name: "kind is empty", Form: Odd, Play: with(0, "$0\r\n\r\n")},
	})
}

// elementText is the text of a bulk.
func elementText(b []byte) string {
	return strings.TrimSuffix(string(b[strings.IndexByte(string(b), '\n')+1:]), "\r\n")
}

// member has the value behind a name of an array of names and values replaced.
func member(e [][]byte, name, raw string) [][]byte {
	for i := 0; i+1 < len(e); i += 2 {
		if elementText(e[i]) == name {
			e[i+1] = []byte(raw)
		}
	}
	return e
}

func streamReads() (all []Breakage) {
	add := func(form Form, name string, play func(*Wire, []byte)) {
		all = append(all, Breakage{Name: name, Form: form, Play: play})
	}
	all = append(all, miscounted()...)
	state := func(edit func(e [][]byte) [][]byte) func(*Wire, []byte) {
		return edited(func(e [][]byte) [][]byte {
			e[0] = list(edit(elements(e[0]))...)
			return e
		})
	}
	for _, id := range []string{"garbage", "", "1", "-", "-1--1", "1-", "18446744073709551616-0", "0-18446744073709551616",
		"0-0", "1-1", "9999999999999-18446744073709551615", "1700000000000-999999"} {
		for _, name := range []string{"last-generated-id", "max-deleted-entry-id"} {
			add(Wild, fmt.Sprintf("%s is %q", name, id), state(func(e [][]byte) [][]byte { return member(e, name, string(bulk(id))) }))
		}
	}
	for _, name := range []string{"length", "entries-added", "first-entry", "last-entry", "groups", "last-generated-id", "radix-tree-keys"} {
		for what, raw := range map[string]string{
			"a string":             "$3\r\nabc\r\n",
			"nil":                  "$-1\r\n",
			"a nil array":          "*-1\r\n",
			"an empty array":       "*0\r\n",
			"an array of an array": "*1\r\n*1\r\n:1\r\n",
			"negative":             ":-9223372036854775808\r\n", "huge": ":9223372036854775807\r\n", "an error": "-ERR x\r\n"} {
			add(Wild, name+" is "+what, state(func(e [][]byte) [][]byte { return member(e, name, raw) }))
		}
	}
	add(Wild, "the state has an odd count", state(func(e [][]byte) [][]byte { return e[:len(e)-1] }))
	add(Wild, "the state is empty", state(func([][]byte) [][]byte { return nil }))
	add(Wild, "the state has names that are integers", state(func(e [][]byte) [][]byte { return [][]byte{number(1), number(2)} }))
	add(Wild, "the state has a name that is nil", state(func(e [][]byte) [][]byte { e[0] = nilBulk; return e }))
	add(Wild, "the state has 10,000 members", state(func(e [][]byte) [][]byte { return slices.Repeat([][]byte{bulk("x"), bulk("y")}, 10_000) }))
	add(Wild, "the state is an error", with(0, "-WRONGTYPE x\r\n"))
	add(Wild, "there is no such stream", with(0, "-ERR no such key\r\n"))
	add(Wild, "the read is an error", with(1, "-ERR x\r\n"))

	entries := func(entries ...[]byte) func(*Wire, []byte) {
		return edited(func(e [][]byte) [][]byte {
			e[1] = list(list(bulk("ticks"), list(entries...)))
			return e
		})
	}
	const id = "1700000000000-999"
	fields := bulks("topic", "NONE", "value", "1")
	for name, one := range map[string][]byte{
		"odd fields":                list(bulk(id), bulks("topic", "A", "value")),
		"no fields":                 list(bulk(id), list()),
		"nil fields":                list(bulk(id), nilList),
		"a nil bulk for fields":     list(bulk(id), nilBulk),
		"fields that are nil":       list(bulk(id), list(nilBulk, nilBulk)),
		"fields that are integers":  list(bulk(id), list(number(1), number(2))),
		"nested fields":             list(bulk(id), list(bulk("topic"), bulks("A"))),
		"a field too many in depth": list(bulk(id), list(list(list(list(bulk("topic")))))),
		"an id alone":               list(bulk(id)),
		"nothing":                   list(),
		"nil":                       nilList,
		"a bulk":                    bulk(id),
		"an integer":                number(1),
		"an id that is nil":         list(nilBulk, fields),
		"an id that is an integer":  list(number(1), fields),
		"an id that is empty":       list(bulk(""), fields),
		"an id that is garbage":     list(bulk("garbage"), fields),
		"three parts":               list(bulk(id), fields, fields),
		"a value of 1 MB":           list(bulk(id), bulks("topic", "A", "value", strings.Repeat("x", 1<<20))),
		"a topic of 1 MB":           list(bulk(id), bulks("topic", strings.Repeat("x", 1<<20), "value", "1")),
		"a topic with a zero byte":  list(bulk(id), bulks("topic", "A\x00", "value", "1")),
		"a thousand fields":         list(bulk(id), bulks(slices.Repeat([]string{"a", "b"}, 1000)...)),
	} {
		add(Wild, "an entry of "+name, entries(one))
	}
	many := func(n int, id func(int) string) [][]byte {
		all := make([][]byte, n)
		for i := range all {
			all[i] = list(bulk(id(i)), fields)
		}
		return all
	}
	add(Wild, "ids that fall", entries(many(499, func(i int) string { return streamID(5000 - i) })...))
	add(Wild, "500 ids that fall", entries(many(500, func(i int) string { return streamID(5000 - i) })...))
	add(Wild, "500 ids that are alike", entries(many(500, func(int) string { return "0-0" })...))
	add(Wild, "500 ids that are garbage", entries(many(500, func(int) string { return "x" })...))
	add(Wild, "500 ids that overflow", entries(many(500, func(int) string { return "18446744073709551616-1" })...))
	add(Wild, "500 ids of the far future", entries(many(500, func(i int) string { return "18446744073709551615-" + strconv.Itoa(i) })...))
	add(Wild, "more entries than were asked for", entries(many(5000, streamID)...))
	for name, read := range map[string][]byte{
		"another key":               list(list(bulk("other"), list())),
		"no streams":                list(),
		"a stream with a key alone": list(list(bulk("ticks"))),
		"two streams":               list(list(bulk("ticks"), list()), list(bulk("more"), list())),
		"streams that are bulks":    bulks("ticks", "entries"),
		"a key that is nil":         list(list(nilBulk, list())),
		"entries that are nil":      list(list(bulk("ticks"), nilList)),
		"three parts of a stream":   list(list(bulk("ticks"), list(), list())),
		"an integer":                number(1), "a status": status("OK"),
	} {
		add(Wild, "a read of "+name, edited(func(e [][]byte) [][]byte { e[1] = read; return e }))
	}
	return all
}

func sentinelStates() (all []Breakage) {
	for what, raw := range map[string]string{
		"garbage":     "$3\r\nabc\r\n",
		"negative":    "$2\r\n-1\r\n",
		"too large":   "$20\r\n18446744073709551616\r\n",
		"the largest": "$20\r\n18446744073709551615\r\n",
		"empty":       "$0\r\n\r\n", "nil": "$-1\r\n", "an integer": ":3\r\n", "an array": "*1\r\n:1\r\n"} {
		all = append(all, Breakage{Name: "the epoch is " + what, Form: Wild,
			Play: edited(func(e [][]byte) [][]byte { return member(e, "config-epoch", raw) })})
	}
	return append(all,
		Breakage{Name: "an odd count", Form: Wild, Play: edited(func(e [][]byte) [][]byte { return e[:len(e)-1] })},
		Breakage{Name: "no epoch", Form: Wild, Play: edited(func(e [][]byte) [][]byte { return e[:len(e)-2] })},
		Breakage{Name: "a name that is nil", Form: Wild, Play: with(0, "$-1\r\n")},
		Breakage{Name: "10,000 members", Form: Wild,
			Play: edited(func(e [][]byte) [][]byte { return slices.Repeat([][]byte{bulk("x"), bulk("y")}, 10_000) })},
	)
}

// sentinelAddresses names no host that would be looked up or is not of this machine.
func sentinelAddresses() []Breakage {
	all := slices.Concat(wrongElements("host", 0), wrongElements("port", 1), miscounted())
	for i := range all {
		if all[i].Form == Odd {
			all[i].Form = Wild
		}
	}
	for _, addr := range [][2]string{
		{"", "0"}, {"", ""}, {"127.0.0.1", "0"}, {"127.0.0.1", "99999"}, {"127.0.0.1", "-1"}, {"127.0.0.1", "abc"}, {"127.0.0.1",
			""}, {"127.0.0.1", "1"}, {"127.0.0.1:1", "1"}, {"\x00", "1"}, {"a b", "1"},
		{"127.0.0.1\r\nX: y", "1"}, {"[::1", "1"}, {"::1", "1"}, {"127.0.0.1", "1\x00"}, {"\xff\xfe", "1"}, {strings.Repeat("x y",
			1<<18), "1"}, {"127.0.0.1", strings.Repeat("9", 1<<18)},
	} {
		all = append(all, Breakage{Name: fmt.Sprintf("the master is %.20q %.20q", addr[0], addr[1]), Form: Wild,
			Play: instead(string(bulks(addr[0], addr[1])))})
	}
	return all
}

func roles() (all []Breakage) {
	for name, reply := range map[string][]byte{
		"a replica":                     list(bulk("slave"), bulk("127.0.0.1"), number(1), bulk("connected"), number(1)),
		"a sentinel":                    list(bulk("sentinel"), bulks("prices")),
		"nil":                           list(nilBulk),
		"an integer":                    list(number(1)),
		"an array":                      list(bulks("master")),
		"a master alone":                bulks("master"),
		"a master with 10,000 replicas": list(bulk("master"), number(1), list(slices.Repeat([][]byte{bulks("127.0.0.1", "1", "1")}, 10_000)...)),
		"MASTER":                        bulks("MASTER"), "a zero byte": bulks("\x00"),
	} {
		all = append(all, Breakage{Name: "the role is " + name, Form: Wild, Play: instead(string(reply))})
	}
	return all
}

// clusterSlots names nobody but the stand-in, and ports where nobody listens.
func clusterSlots() (all []Breakage) {
	add := func(name string, reply func(s *Standin) []byte) {
		all = append(all, Breakage{Name: name, Form: Wild, Play: func(w *Wire, _ []byte) { w.Write(reply(w.c.s)) }})
	}
	nobody := func(port int) []byte { return list(bulk("127.0.0.1"), number(port), bulk("nobody")) }
	slotsOf := func(from, to int, nodes ...[]byte) []byte {
		return list(append([][]byte{number(from), number(to)}, nodes...)...)
	}
	for _, r := range [][2]int{{0, slots}, {-5, 5}, {5, -5}, {-5, -1}, {slots, slots + 5}, {0, 9223372036854775807},
		{-9223372036854775808, 9223372036854775807}, {9000, 8000}, {65536, 81919}} {
		add(fmt.Sprintf("slots %d to %d", r[0], r[1]), func(*Standin) []byte { return list(slotsOf(r[0], r[1], nobody(1))) })
		add(fmt.Sprintf("slots %d to %d beside the good ones", r[0], r[1]),
			func(s *Standin) []byte { return s.slotsReply([][]byte{slotsOf(r[0], r[1], nobody(1))}) })
	}
	add("all slots twice, the second time of nobody", func(s *Standin) []byte { return s.slotsReply([][]byte{slotsOf(0, slots-1, nobody(1))}) })
	for name, node := range map[string][]byte{
		"an empty host":             list(bulk(""), number(1), bulk("id")),
		"a nil host":                list(nilBulk, number(1), bulk("id")),
		"a host ?":                  list(bulk("?"), number(1), bulk("id")),
		"a host of zero bytes":      list(bulk("\x00"), number(1), bulk("id")),
		"a host with a blank":       list(bulk("a b"), number(1), bulk("id")),
		"a host that is an integer": list(number(7), number(1), bulk("id")),
		"a host that is an array":   list(bulks("a"), number(1), bulk("id")),
		"a host of 256 kB":          list(bulk(strings.Repeat("x ", 1<<17)), number(1), bulk("id")),
		"port 0":                    nobody(0),
		"port -1":                   nobody(-1),
		"port 99999":                nobody(99999),
		"port 2^62":                 nobody(1 << 62),
		"a port that is text":       bulks("127.0.0.1", "abc", "id"),
		"a nil port":                list(bulk("127.0.0.1"), nilBulk, bulk("id")),
		"a port that is an array":   list(bulk("127.0.0.1"), list(), bulk("id")),
		"no id":                     list(bulk("127.0.0.1"), number(1)),
		"a host alone":              bulks("127.0.0.1"),
		"nothing":                   list(),
		"nil":                       nilList,
		"a bulk":                    bulk("127.0.0.1:1"),
		"metadata":                  list(bulk("127.0.0.1"), number(1), bulk("id"), bulks("hostname", "a b")),
		"odd metadata":              list(bulk("127.0.0.1"), number(1), bulk("id"), bulks("hostname")),
		"six parts":                 list(bulk("127.0.0.1"), number(1), bulk("id"), list(), list(), list()),
	} {
		add("a node of "+name, func(*Standin) []byte { return list(slotsOf(0, slots-1, node)) })
	}
	add("no nodes", func(*Standin) []byte { return list(slotsOf(0, slots-1)) })
	add("a slot alone", func(*Standin) []byte { return list(list(number(0))) })
	add("an empty range", func(*Standin) []byte { return list(list()) })
	add("a nil range", func(*Standin) []byte { return list(nilList) })
	add("ranges that are integers", func(*Standin) []byte { return list(number(0), number(1)) })
	add("slots that are text", func(*Standin) []byte { return list(list(bulk("zero"), bulk("one"), nobody(1))) })
	add("slots that are nil", func(*Standin) []byte { return list(list(nilBulk, nilBulk, nobody(1))) })
	add("half of the slots", func(s *Standin) []byte {
		host, port, _ := net.SplitHostPort(s.Addr())
		n, _ := strconv.Atoi(port)
		return list(slotsOf(0, slots/2, list(bulk(host), number(n), bulk("id"))))
	})
	add("100,000 ranges", func(s *Standin) []byte {
		return s.slotsReply(slices.Repeat([][]byte{slotsOf(1, 1, nobody(1))}, 100_000))
	})
	add("100,000 nodes of one range", func(*Standin) []byte {
		return list(slotsOf(0, slots-1, slices.Repeat([][]byte{nobody(1)}, 100_000)...))
	})
	add("a node for each slot", func(*Standin) []byte {
		all := make([][]byte, slots)
		for i := range all {
			all[i] = slotsOf(i, i, list(bulk(fmt.Sprintf("127.1.%d.%d", i>>8, i&255)), number(1), bulk("id")))
		}
		return list(all...)
	})
	add("100,000 nodes, of which the last has all slots", func(*Standin) []byte {
		all := make([][]byte, 100_000)
		for i := range all {
			all[i] = slotsOf(0, slots-1, list(bulk(fmt.Sprintf("127.%d.%d.%d", 1+i>>16, i>>8&255, i&255)), number(1), bulk("id")))
		}
		return list(all...)
	})
	return all
}

func clusterInfos() (all []Breakage) {
	for name, info := range map[string]string{
		"the state is fail":      clusterInfo("fail", "6"),
		"the state is unknown":   clusterInfo("\x00", "6"),
		"the epoch is garbage":   clusterInfo("ok", "abc"),
		"the epoch is negative":  clusterInfo("ok", "-1"),
		"the epoch is too large": clusterInfo("ok", "18446744073709551616"),
		"the epoch is empty":     clusterInfo("ok", ""),
		"the epoch is older":     clusterInfo("ok", "1"),
		"no members":             "",
		"no colons":              "cluster_state ok\r\n",
		"no line ends":           "cluster_state:ok",
		"1 MB":                   strings.Repeat("x:y\r\n", 1<<18), "a line of 1 MB": strings.Repeat("x", 1<<20),
	} {
		all = append(all, Breakage{Name: "info: " + name, Form: Wild, Play: instead(string(bulk(info)))})
	}
	// Honest views are older than that one for as long as older ones are refused.
	return append(all, Breakage{Name: "info: the epoch is the largest", Form: Wild, Play: instead(string(bulk(clusterInfo("ok",
		"18446744073709551615")))), Lasts: true})
}
