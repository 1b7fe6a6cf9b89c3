// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// Group 1, framing. RFC 6455, 5.2 and 5.6: payloads of every length form come back.
func TestFraming(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 128, 65535, 65536} {
		text, bits := strings.Repeat("*", n), strings.Repeat("\xfe", n)
		exchange{fmt.Sprintf("text of %d", n), [][]byte{last(opText, text)}, []string{"text " + show(text)}}.run(t)
		exchange{fmt.Sprintf("binary of %d", n), [][]byte{last(opBinary, bits)}, []string{"binary " + show(bits)}}.run(t)
	}
	// In writes of 997 bytes, as 1.1.8 and 1.2.8 do.
	big := strings.Repeat("*", 65536)
	exchange{"in chops of 997", chops(last(opText, big), 997), []string{"text " + show(big)}}.run(t)
}

func chops(b []byte, size int) (list [][]byte) {
	for len(b) > size {
		list, b = append(list, b[:size]), b[size:]
	}
	return append(list, b)
}

// Group 2, pings and pongs. RFC 6455, 5.5.2 and 5.5.3.
func TestPingsAndPongs(t *testing.T) {
	long := strings.Repeat("\xfe", 125)
	ten, pongs := [][]byte{}, []string{}
	for i := range 10 {
		ten = append(ten, last(opPing, fmt.Sprintf("payload-%d", i)))
		pongs = append(pongs, fmt.Sprintf("pong \"payload-%d\"", i))
	}
	for _, x := range []exchange{
		{"2.1 empty ping", [][]byte{last(opPing, "")}, []string{`pong ""`}},
		{"2.2 text", [][]byte{last(opPing, "Hello, world!")}, []string{`pong "Hello, world!"`}},
		{"2.3 no text", [][]byte{last(opPing, "\x00\xff\xfe\xfd\xfc\xfb\x00\xff")}, []string{`pong "\x00\xff\xfe\xfd\xfc\xfb\x00\xff"`}},
		{"2.4 the longest", [][]byte{last(opPing, long)}, []string{"pong " + show(long)}},
		{"2.5 too long", [][]byte{last(opPing, long+"x")}, failed(1002)},
		{"2.7 unsolicited pong", [][]byte{last(opPong, "")}, nil},
		{"2.8 unsolicited pong with payload", [][]byte{last(opPong, "unsolicited")}, nil},
		{"2.9 pong, then ping", [][]byte{last(opPong, "unsolicited"), last(opPing, "ping")}, []string{`pong "ping"`}},
		{"2.10 ten pings", ten, pongs},
		{"pong too long", [][]byte{last(opPong, long+"x")}, failed(1002)},
	} {
		x.run(t)
	}
	// More of them than the edge would answer.
	c := dial(t)
	if _, err := c.Write(bytes.Repeat(last(opPing, "p"), 1000)); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		c.wants(t, `pong "p"`)
	}
}

// Group 3, reserved bits. RFC 6455, 5.2: they are 0, as no extension is negotiated.
func TestReservedBits(t *testing.T) {
	for rsv := byte(1); rsv < 8; rsv++ {
		for _, op := range []byte{opText, opBinary, opPing, opPong, opClose} {
			bad := frameOf(0x80|rsv<<4|op, "Hello, world!")
			exchange{fmt.Sprintf("rsv %d, op %x", rsv, op), [][]byte{last(opText, "before"), bad, last(opPing, "")},
				failed(1002, `text "before"`)}.run(t)
		}
		exchange{fmt.Sprintf("rsv %d in a fragment", rsv), [][]byte{more(opText, "a"), frameOf(0x80|rsv<<4, "b")}, failed(1002)}.run(t)
	}
}

// Group 4, opcodes. RFC 6455, 5.2: those that are reserved fail the connection.
func TestReservedOpcodes(t *testing.T) {
	for _, op := range []byte{3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf} {
		for _, payload := range []string{"", "reserved opcode payload"} {
			exchange{fmt.Sprintf("op %x with %q", op, payload), [][]byte{last(opText, "before"), last(op, payload), last(opPing, "")},
				failed(1002, `text "before"`)}.run(t)
		}
	}
}

// Group 5, fragmentation. RFC 6455, 5.4.
func TestFragmentation(t *testing.T) {
	f1, f2 := more(opText, "fragment1"), last(opCont, "fragment2")
	const whole = `text "fragment1fragment2"`
	stray := last(opCont, "non-continuation payload")
	strayMore := more(opCont, "non-continuation payload")
	hello := last(opText, "Hello, world!")
	five := [][]byte{f1, more(opCont, "fragment2"), last(opPing, "pongme 1!"), more(opCont, "fragment3"), more(opCont, "fragment4"),
		last(opPing, "pongme 2!"), last(opCont, "fragment5")}
	for _, x := range []exchange{
		{"5.1 fragmented ping", [][]byte{more(opPing, "fragment1"), f2}, failed(1002)},
		{"5.2 fragmented pong", [][]byte{more(opPong, "fragment1"), f2}, failed(1002)},
		{"5.3 two fragments", [][]byte{f1, f2}, []string{whole}},
		{"5.6 ping between", [][]byte{f1, last(opPing, "ping"), f2}, []string{`pong "ping"`, whole}},
		{"5.9 stray continuation", [][]byte{stray, hello}, failed(1002)},
		{"5.12 stray continuation with more", [][]byte{strayMore, hello}, failed(1002)},
		{"5.15 stray after a message", [][]byte{f1, f2, strayMore, hello}, failed(1002, whole)},
		{"5.16 continuation first", [][]byte{strayMore, more(opText, "x"), last(opCont, "y")}, failed(1002)},
		{"5.17 final continuation first", [][]byte{stray, more(opText, "x"), last(opCont, "y")}, failed(1002)},
		{"5.18 two first fragments", [][]byte{f1, last(opText, "fragment2")}, failed(1002)},
		{"5.19 five fragments, two pings", five, []string{`pong "pongme 1!"`, `pong "pongme 2!"`, `text "fragment1fragment2fragment3fragment4fragment5"`}},
		{"binary", [][]byte{more(opBinary, "\xff"), more(opCont, ""), last(opCont, "\xfe")}, []string{`binary "\xff\xfe"`}},
		{"binary in text", [][]byte{f1, last(opBinary, "fragment2")}, failed(1002)},
		{"unmasked, 5.1", [][]byte{{0x81, 0x02, 'h', 'i'}}, failed(1002)},
		{"length not in its shortest form, 5.2", [][]byte{{0x81, 0xfe, 0, 125, 1, 2, 3, 4}}, failed(1002)},
		{"top bit of the length, 5.2", [][]byte{{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}}, failed(1002)},
	} {
		x.run(t)
	}
}
