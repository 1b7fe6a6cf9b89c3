// SPDX-License-Identifier: Apache-2.0

package redistest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"
)

// Breakage is what comes in place of a good reply, inside it or behind it.
type Breakage struct {
	Name string
	Form Form
	// Play writes to the connection. It ends soon, whatever the other end does.
	Play func(w *Wire, good []byte)
	// Lasts holds if an edge may be without what is newest for half a minute afterwards.
	Lasts bool
}

// Form is how bad a breakage is. What it has to lead to depends on the point too, see
// [Breakage.Outcome].
type Form uint8

const (
	// Fine is a legal reply in an unusual shape: nothing may come of it.
	Fine Form = iota
	// Wild may or may not be noticed, and nothing but survival is demanded.
	Wild
	// Odd is RESP2, but no reply to what was asked.
	Odd
	// Behind is a good reply with something behind it that nobody may send.
	Behind
	// Broken is no RESP2, or never ends.
	Broken
)

// Wire is what a breakage writes to.
type Wire struct {
	c    *standinConn
	mute bool
}

// writeMax bounds a write to an edge that does not read.
const writeMax = 10 * time.Second

// Write writes b and reports whether it went.
func (w *Wire) Write(b []byte) bool {
	if w.mute {
		return false
	}
	w.c.SetWriteDeadline(time.Now().Add(writeMax))
	if _, err := w.c.Write(b); err != nil {
		w.c.Close()
		w.mute = true
	}
	return !w.mute
}

// Mute keeps the connection open and writes nothing more to it.
func (w *Wire) Mute() { w.mute = true }

// Close closes the connection.
func (w *Wire) Close() { w.c.Close() }

// Reset resets the connection.
func (w *Wire) Reset() {
	if tcp, ok := w.c.Conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	w.c.Close()
}

// streamMax is how much of what has no end is written. It is more than an edge may grow
// by, see [GrowthMax].
const streamMax = 96 << 20

// GrowthMax is by how much the memory of an edge may grow, whatever is sent to it.
const GrowthMax = 64 << 20

// endless writes head, and then filling until streamMax or the end of the connection.
func endless(head, filling string) func(*Wire, []byte) {
	return func(w *Wire, _ []byte) {
		w.Write([]byte(head))
		chunk := bytes.Repeat([]byte(filling), (64<<10)/len(filling))
		for sent := 0; sent < streamMax && w.Write(chunk); sent += len(chunk) {
		}
		w.Mute()
	}
}

func instead(text string) func(*Wire, []byte) {
	return func(w *Wire, _ []byte) { w.Write([]byte(text)) }
}

func behind(text string) func(*Wire, []byte) {
	return func(w *Wire, good []byte) { w.Write(slices.Concat(good, []byte(text))) }
}

// altered has a copy of the good reply altered.
func altered(alter func([]byte) []byte) func(*Wire, []byte) {
	return func(w *Wire, good []byte) { w.Write(alter(slices.Clone(good))) }
}

// half writes half of the good reply and goes on with then.
func half(then func(*Wire)) func(*Wire, []byte) {
	return func(w *Wire, good []byte) {
		w.Write(good[:len(good)/2])
		then(w)
	}
}

// badLengths are what no length of RESP2 may be, or no sane one is.
var badLengths = []string{
	"-2", "-3", "-2147483648", "-9223372036854775808", "-9223372036854775809", "536870913", "2147483647", "2147483648",
	"4294967296", "1099511627776", "9223372036854775807", "9223372036854775808", strings.Repeat("9", 40), "", "abc", "1x", "0x10",
	"1.5", "1e3", "--1", "-", "\x00", " 1",
}

// anywhere are the breakages that do not depend on what is due.
var anywhere = func() (all []Breakage) {
	add := func(form Form, name string, play func(*Wire, []byte)) {
		all = append(all, Breakage{Name: name, Form: form, Play: play})
	}

	for _, n := range badLengths {
		add(Broken, fmt.Sprintf("bulk of length %.20q", n), instead("$"+n+"\r\nabc\r\n"))
		add(Broken, fmt.Sprintf("array of length %.20q", n), instead("*"+n+"\r\n$3\r\nabc\r\n"))
	}
	for _, kind := range []string{"+", "-", ":", "$", "*"} {
		add(Broken, "line without end, "+kind, endless(kind, "1"))
	}
	add(Broken, "array of empty arrays without end", endless("*1048577\r\n", "*0\r\n"))
	add(Broken, "array of bulks without end", endless("*2147483647\r\n", "$1\r\nx\r\n"))
	add(Broken, "bulk without end", endless("$536870912\r\n", "x"))
	add(Broken, "nested arrays × 100,000", instead(strings.Repeat("*1\r\n", 100_000)))
	add(Broken, "nested arrays without end", endless("", "*1\r\n"))
	add(Broken, "nested arrays of two without end", endless("", "*2\r\n:1\r\n"))
	add(Broken, "a million integers", instead("*1000000\r\n"+strings.Repeat(":1\r\n", 1_000_000)))

	for name, text := range map[string]string{
		"map": "%1\r\n+a\r\n+b\r\n", "set": "~1\r\n+a\r\n", "push": ">2\r\n+pong\r\n+1\r\n", "double": ",1.5\r\n", "big number": "(123\r\n",
		"boolean": "#t\r\n", "null": "_\r\n", "verbatim string": "=7\r\ntxt:abc\r\n", "blob error": "!3\r\nERR\r\n",
		"attribute": "|1\r\n+a\r\n+b\r\n+c\r\n", "streamed string": "$?\r\n;3\r\nabc\r\n;0\r\n", "streamed array": "*?\r\n:1\r\n.\r\n",
		"map with a huge count": "%9223372036854775807\r\n", "verbatim string of gigabytes": "=4294967296\r\ntxt:",
	} {
		add(Broken, "RESP3 "+name, instead(text))
	}
	for _, kind := range []string{"H", "@", "\x00", "\xff", " ", "5", "\r", "\n"} {
		add(Broken, fmt.Sprintf("type byte %q", kind), instead(kind+"3\r\nabc\r\n"))
	}
	for _, text := range []string{
		"+OK\n", "+OK\r+OK\r\n", "+OK\r\r\n", "$2\nOK\n", "$2\r\nOKXX", "$2\r\nOK\n\r", "$1\r\nOK\r\n", "$3\r\nOK\r\n\r\n", "*1\n:1\n", "\r\n", "\r\n\r\n\r\n\r\n", "\n",
	} {
		add(Broken, fmt.Sprintf("line ends in %q", text), instead(text))
	}
	// Where no integer is due, nobody has to look whether one fits.
	add(Odd, "integer above 64 bits", instead(":9223372036854775808\r\n"))
	add(Odd, "integer below 64 bits", instead(":-9223372036854775809\r\n"))
	for _, n := range []string{strings.Repeat("9", 40), "abc", "", "1.5", "0x1", "--1"} {
		add(Broken, fmt.Sprintf("integer %.20q", n), instead(":"+n+"\r\n"))
	}

	for _, text := range []string{
		"NOAUTH Authentication required.", "WRONGPASS invalid username-password pair or user is disabled.",
		"NOPERM User edge has no permissions", "LOADING Redis is loading the dataset in memory", "MOVED 1 127.0.0.1:1", "MOVED",
		"MOVED garbage", "MOVED 99999999999999999999 :", "MOVED -1 127.0.0.1:1", "ASK 1 127.0.0.1:1", "ASK -1", "TRYAGAIN", "CLUSTERDOWN The cluster is down",
		"MASTERDOWN Link with MASTER is down", "READONLY", "BUSY", "OOM command not allowed", "ERR max number of clients reached",
		"ERR unknown command", "EXECABORT", "WRONGTYPE", "NOREPLICAS", "UNBLOCKED", "", " ", "\x00", "\xff\xfe",
	} {
		add(Odd, errorName(text), instead("-"+text+"\r\n"))
	}
	add(Broken, "error of 1 MB", instead("-ERR "+strings.Repeat("x", 1<<20)+"\r\n"))

	for name, text := range map[string]string{
		"OK":               "+OK\r\n",
		"empty status":     "+\r\n",
		"QUEUED":           "+QUEUED\r\n",
		"PONG":             "+PONG\r\n",
		"integer":          ":1\r\n",
		"negative integer": ":-1\r\n",
		"empty bulk":       "$0\r\n\r\n", "nil bulk": "$-1\r\n", "bulk": "$5\r\nhello\r\n", "bulk of zero bytes": "$3\r\n\x00\x00\x00\r\n",
		"bulk that is not UTF-8":  "$3\r\n\xff\xfe\xfd\r\n",
		"empty array":             "*0\r\n",
		"nil array":               "*-1\r\n",
		"array of an empty array": "*1\r\n*0\r\n",
		"array of nil":            "*1\r\n$-1\r\n", "array of integers": "*2\r\n:1\r\n:2\r\n", "array of nils": "*3\r\n$-1\r\n$-1\r\n$-1\r\n",
		"array of nil arrays":         "*3\r\n*-1\r\n*-1\r\n*-1\r\n",
		"array with an error":         "*2\r\n-ERR x\r\n$1\r\na\r\n",
		"pong that was not asked for": "*2\r\n$4\r\npong\r\n$4\r\n9999\r\n",
		"unsubscribe of nothing":      "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n", "nested arrays × 16": strings.Repeat("*1\r\n", 16) + ":1\r\n",
		"bulk of 1 MB":    "$1048576\r\n" + strings.Repeat("x", 1<<20) + "\r\n",
		"bulk of 10 MB":   "$10485760\r\n" + strings.Repeat("x", 10<<20) + "\r\n",
		"10,000 times OK": strings.Repeat("+OK\r\n", 10_000),
	} {
		add(Odd, name, instead(text))
	}

	add(Fine, "cut into single bytes", func(w *Wire, good []byte) {
		for i := range good {
			w.Write(good[i : i+1])
		}
	})
	add(Broken, "nothing", func(*Wire, []byte) {})
	add(Broken, "silence", func(w *Wire, _ []byte) { w.Mute() })
	add(Broken, "half, and silence", half((*Wire).Mute))
	add(Broken, "half, and the end", half((*Wire).Close))
	add(Broken, "half, and a reset", half((*Wire).Reset))
	add(Broken, "half, and the next reply", half(func(*Wire) {}))
	add(Broken, "the end", func(w *Wire, _ []byte) { w.Close() })
	add(Broken, "a reset", func(w *Wire, _ []byte) { w.Reset() })
	add(Broken, "a byte, and silence", func(w *Wire, good []byte) { w.Write(good[:1]); w.Mute() })
	add(Broken, "all but the last byte, and silence", func(w *Wire, good []byte) { w.Write(good[:len(good)-1]); w.Mute() })
	add(Broken, "without its first byte", altered(func(b []byte) []byte { return b[1:] }))
	add(Broken, "without its last two bytes", altered(func(b []byte) []byte { return b[:len(b)-2] }))
	add(Broken, "all bytes inverted", altered(func(b []byte) []byte {
		for i := range b {
			b[i] = ^b[i]
		}
		return b
	}))
	add(Wild, "reversed", altered(func(b []byte) []byte { slices.Reverse(b); return b }))
	add(Wild, "twice", altered(func(b []byte) []byte { return slices.Concat(b, b) }))
	add(Wild, "a hundred times", altered(func(b []byte) []byte { return bytes.Repeat(b, 100) }))
	for seed := range uint64(8) {
		add(Wild, fmt.Sprintf("a byte changed, %d", seed), altered(func(b []byte) []byte {
			draw := rand.New(rand.NewPCG(seed, 1))
			b[draw.IntN(len(b))] = byte(draw.Uint32())
			return b
		}))
	}
	noise := make([]byte, 1<<20)
	draw := rand.New(rand.NewPCG(1, 1))
	for i := range noise {
		noise[i] = byte(draw.Uint32())
	}
	for name, text := range map[string]string{
		"HTTP response": "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n400 Bad Request",
		"TLS alert":     "\x15\x03\x03\x00\x02\x02\x28", "SSH banner": "SSH-2.0-OpenSSH_9.6\r\n", "mail banner": "220 mail.example.com ESMTP\r\n",
		"zero bytes": strings.Repeat("\x00", 64), "1 MB of zero bytes": strings.Repeat("\x00", 1<<20), "1 MB of noise": string(noise),
		"text": "hello\r\n", "JSON": `{"t":"update"}` + "\n",
	} {
		add(Broken, name, instead(text))
		if len(text) < 1<<20 {
			add(Behind, "behind the reply: "+name, behind(text))
		}
	}
	return all
}()
