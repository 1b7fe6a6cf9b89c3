// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"tickedge/bench/internal/wire"
)

// Bits of a frame's first two bytes (RFC 6455, 5.2).
const (
	fin    = 0x80
	masked = 0x80
)

// messageMax is the longest message that the edge takes (docs/OPERATIONS.md).
const messageMax = 20 << 10

// claims is how many conns claim a long message at a time: together 8 MiB, which stands
// out of what the heap does by itself.
const claims = 400

// fragmentsMax is how many fragments a message may have (docs/OPERATIONS.md).
const fragmentsMax = 256

// frame is a masked frame with any first byte, its length in the shortest form.
func frame(b0 byte, payload string) []byte {
	b := wire.AppendFrame(nil, 0, key, []byte(payload))
	b[0] = b0
	return b
}

// claim is a frame header that claims a length, with the mask but without the payload.
func claim(b0 byte, length uint64) []byte {
	b := binary.BigEndian.AppendUint64([]byte{b0, masked | 127}, length)
	return append(b, key[:]...)
}

func closing(code uint16, reason string) []byte {
	return frame(fin|byte(wire.OpClose), string(binary.BigEndian.AppendUint16(nil, code))+reason)
}

func ping(payload string) []byte { return frame(fin|byte(wire.OpPing), payload) }

// legalClose reports whether a client may send a close code (RFC 6455, 7.4, and what
// IANA has registered since).
func legalClose(code int) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
		return true
	}
	return false
}

const (
	rfc       = "RFC 6455, "
	close1002 = "close 1002" // What every broken frame leads to.
)

func frameInputs(p *plan) []input {
	var all inputs
	all.headers()
	all.fragments()
	all.lengths()
	all.closeFrames(p)
	all.many(p)
	return all
}

// headers are first bytes that no client may send.
func (all *inputs) headers() {
	add := all.add
	for _, op := range []byte{0x1, 0x2, 0x8, 0x9, 0xa} {
		add(close1002, rfc+"5.1", fmt.Sprintf("opcode %x without a mask", op), frames([]byte{fin | op, 2, 'h', 'i'}))
	}
	for _, rsv := range []byte{0x40, 0x20, 0x10, 0x70} {
		add(close1002, rfc+"5.2", fmt.Sprintf("reserved bits %x in a text", rsv), talk(frame(fin|rsv|0x1, "{}")))
		add(close1002, rfc+"5.2", fmt.Sprintf("reserved bits %x in a ping", rsv), talk(frame(fin|rsv|0x9, "")))
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf} {
		add(close1002, rfc+"5.2", fmt.Sprintf("reserved opcode %x", op), talk(frame(fin|op, "{}")))
	}
	for _, op := range []byte{0x8, 0x9, 0xa} {
		add(close1002, rfc+"5.5", fmt.Sprintf("control frame %x cut into fragments", op), talk(frame(op, "")))
		add(close1002, rfc+"5.5", fmt.Sprintf("control frame %x of 126 bytes", op), talk(frame(fin|op, strings.Repeat("c", 126))))
	}
	add("pong, goes on", rfc+"5.5", "ping of 125 bytes", talk(ping(strings.Repeat("c", 125))))
	add("close 1003", "PROTOCOL.md", "binary message", talk(frame(fin|0x2, "{}")))
}

func (all *inputs) fragments() {
	add := all.add
	add(close1002, rfc+"5.4", "continuation of nothing", talk(frame(fin, "{}")))
	add(close1002, rfc+"5.4", "first fragment twice", talk(frame(0x1, `{"op":`), frame(0x1, `"ping"}`)))
	add(close1002, rfc+"5.4", "whole message between fragments", talk(frame(0x1, `{"op":`), message(`{"op":"ping"}`)))
	add("2 × pong, goes on", rfc+"5.4", "ping between fragments", talk(frame(0x1, `{"op":`), ping(""), frame(fin, `"ping"}`)))
	add("close 1000", rfc+"5.4", "close between fragments", talk(frame(0x1, `{"op":`), closing(1000, "")))
	add("close 1009", "OPERATIONS.md", "empty fragments without end", frames(frame(0x1, ""), slices.Repeat(frame(0x0, ""), 4*fragmentsMax)))
	add("close 1009", "OPERATIONS.md", "fragments of 1 byte without end", frames(frame(0x1, "{"), slices.Repeat(frame(0x0, " "), 4*fragmentsMax)))
	add("close 1007", rfc+"8.1", "text that is not UTF-8", talk(message("{\"op\":\"ping\",\"id\":\"\xff\"}")))
	add("close 1007", rfc+"8.1", "rune cut off by the end", talk(message("\xe2\x82")))
	add("2 × pong, goes on", rfc+"8.1", "rune cut by a fragment", talk(frame(0x1, "{\"op\":\"ping\",\"id\":\"\xe2"), ping(""), frame(fin, "\x82\xac\"}")))
}

func (all *inputs) lengths() {
	add := all.add
	for _, length := range []struct {
		name, demand string
		n            uint64
	}{
		{"2^62", "close 1009", 1 << 62},
		{"2^63-1", "close 1009", 1<<63 - 1},
		{"2^63", close1002, 1 << 63},
		{"2^63+5", close1002, 1<<63 + 5},
		{"2^64-1", close1002, 1<<64 - 1},
	} {
		head := claim(fin|0x1, length.n)
		source := rfc + "5.2"
		if length.demand != close1002 {
			source = rfc + "7.4.1"
		}
		add(length.demand, source, "length "+length.name+", the header alone", frames(head[:10]))
		add(length.demand, source, "length "+length.name+" and a byte", frames(head, []byte("x")))
		add(length.demand, source, "length "+length.name+" and 4 KiB", frames(head, make([]byte, 4<<10)))
	}
	add(close1002, rfc+"5.2", "length 5 in 16 bits", talk(append([]byte{fin | 0x1, masked | 126, 0, 5}, key[:]...)))
	add(close1002, rfc+"5.2", "length 5 in 64 bits", talk(claim(fin|0x1, 5)))
	add("close 1009", "OPERATIONS.md", "message of 20 KiB and a blank", frames(message(fmt.Sprintf("%-*s", messageMax+1, `{"op":"ping"}`))))
	add("pong, goes on", "OPERATIONS.md", "message of 20 KiB", talk(message(fmt.Sprintf("%-*s", messageMax, `{"op":"ping"}`))))
	add("heap as before", "ARCHITECTURE.md, invariant 8", fmt.Sprintf("%d conns claim 20 KiB and send 10 bytes", claims), claimMuch)
}

func (all *inputs) closeFrames(p *plan) {
	add := all.add
	add("close 1005", rfc+"5.5.1", "close without a body", talk(frame(fin|0x8, "")))
	add(close1002, rfc+"5.5.1", "close of 1 byte", talk(frame(fin|0x8, "x")))
	add("close 1007", rfc+"8.1", "close reason that is not UTF-8", talk(closing(1000, "\xff\xfe")))
	var illegal []int
	for code := range 1 << 16 {
		if !legalClose(code) && (code < 3000 || code%997 == 0 || code == 5000 || code == 1<<16-1) {
			illegal = append(illegal, code)
		}
	}
	illegal = everyNth(illegal, p.closeCodes)
	add(fmt.Sprintf("%d × close 1002", len(illegal)), rfc+"7.4", fmt.Sprintf("%d close codes that may not be sent, 0 to 65535", len(illegal)), func(r *run) string {
		return crowd(len(illegal), 16, func(i int) string { return frames(closing(uint16(illegal[i]), ""))(r) })
	})
	add("close 1000", rfc+"5.5.1", "10,000 close frames", frames(slices.Repeat(closing(1000, ""), 10_000)))
	add("close 1001", rfc+"5.5.1", "close, then commands", frames(closing(1001, ""), slices.Repeat(message(`{"op":"list"}`), 1000)))
}

// many are good frames, but too many, or changed at random.
func (all *inputs) many(p *plan) {
	add := all.add
	add(fmt.Sprintf("%d × goes on", p.bytewise), "PROTOCOL.md", fmt.Sprintf("%d conns send a command byte by byte", p.bytewise), byteByByte)
	add("100 × pong, goes on", rfc+"5.5.2", "100 pings", talk(slices.Repeat(ping("p"), 100)))
	add("some pongs, close 1008", "PROTOCOL.md", fmt.Sprintf("%d pings, pongs are read", p.pings), func(r *run) string {
		return pongs(talk(slices.Repeat(ping("p"), p.pings))(r))
	})
	add("some pongs, close 1008, no memory kept", "PROTOCOL.md", fmt.Sprintf("%d pings of 125 bytes, pongs are not read", p.pings), pingsUnread)
	add("close 1008", "PROTOCOL.md", fmt.Sprintf("%d pongs that nobody asked for", p.pongs), talk(slices.Repeat(frame(fin|0xa, ""), p.pongs)))
	add("goes on", rfc+"5.5.3", "100 pongs that nobody asked for", talk(slices.Repeat(frame(fin|0xa, ""), 100)))
	add(fmt.Sprintf("%d × as documented", p.mutations), "PROTOCOL.md", fmt.Sprintf("%d valid streams with random mutations", p.mutations), mutatedStreams)
}

// everyNth keeps the first of n, and the last.
func everyNth(codes []int, n int) []int {
	var kept []int
	for i, code := range codes {
		if i%n == 0 || i == len(codes)-1 {
			kept = append(kept, code)
		}
	}
	return kept
}

// claimMuch has many conns claim the longest message and send a little of it.
func claimMuch(r *run) string {
	// Far less than they claim, and more than as many conns need with their ten bytes.
	const most = claims * 8 << 10
	before, err := r.edge.heap()
	if err != nil {
		return err.Error()
	}
	peers := make(peers, claims)
	defer peers.reset()
	begin := append(claimShort(fin|0x1, messageMax), "ten bytes."...)
	// Where it takes long until all are there, the first ones need a sign of life: a further byte, as a pong would be part of what they claim.
	last, open := time.Now(), 0
	drip := func() {
		if time.Since(last) < 300*time.Millisecond {
			return
		}
		last = time.Now()
		for _, p := range peers[:open] {
			_, _ = p.Write([]byte("."))
		}
	}
	for ; open < claims; open++ {
		if peers[open], err = r.edge.upgraded(""); err != nil {
			return err.Error()
		}
		_, _ = peers[open].Write(begin)
		drip()
	}
	// They have arrived when the edge has counted them.
	ok := r.edge.until(patience, func() bool {
		drip()
		v, err := r.edge.level()
		return err == nil && v.conns >= r.edge.baseline.conns+float64(claims)
	})
	after, err := r.edge.heap()
	switch {
	case err != nil:
		return err.Error()
	case !ok:
		return "the conns did not stay open"
	case after-before > most:
		return fmt.Sprintf("heap larger by %.1f MiB", (after-before)/(1<<20))
	}
	return "heap as before"
}

// claimShort is claim for lengths below 65536.
func claimShort(b0 byte, length uint16) []byte {
	b := binary.BigEndian.AppendUint16([]byte{b0, masked | 126}, length)
	return append(b, key[:]...)
}

// byteByByte sends a command in as many writes as it has bytes.
func byteByByte(r *run) string {
	return crowd(r.bytewise, r.bytewise, func(int) string {
		return r.edge.open("", 0, 0, func(p *peer) string {
			for i := range alive {
				if _, err := p.Write(alive[i : i+1]); err != nil {
					return ending(err)
				}
			}
			return p.reaction()
		})
	})
}

// pingsUnread pings and does not read. All pongs would be more than the kernel takes.
func pingsUnread(r *run) string {
	return r.edge.open("", 0, smallBuffer, func(p *peer) string {
		before, err := r.edge.level()
		if err != nil {
			return err.Error()
		}
		if _, err := p.Write(slices.Repeat(ping(strings.Repeat("p", 125)), r.pings)); err != nil {
			return "write: " + ending(err)
		}
		after, err := r.edge.level()
		if err != nil {
			return err.Error()
		}
		const most = 8 << 20
		if grown := after.rss - before.rss; grown > most {
			return fmt.Sprintf("memory grew by %d MiB", grown>>20)
		}
		return pongs(p.reaction()) + ", no memory kept" // Those that the socket took are read now.
	})
}

// pongs leaves the number of pongs out, if there are no more than two seconds of the
// clock allow: it may turn amid the flood.
func pongs(what string) string {
	number, rest, ok := strings.Cut(what, " × pong, ")
	if n, err := strconv.Atoi(number); ok && err == nil && n <= 200 {
		return "some pongs, " + rest
	}
	return what
}

// streams are valid, and have all that a client may send.
var streams = [][]byte{
	slices.Concat(message(`{"op":"subscribe","topics":["GEN-000001","GEN-000002"],"id":1}`), message(`{"op":"list","id":2}`), message(`{"op":"unsubscribe","topics":["GEN-000001"],"id":3}`)),
	slices.Concat(frame(0x1, `{"op":"inter`), ping("now"), frame(0x0, `val","ms":10`), frame(fin, `00,"id":"x"}`), frame(fin|0xa, "")),
	slices.Concat(message(`{"op":"auth","token":"abc","id":5}`), message(`{"op":"ping","id":6}`), closing(1000, "bye")),
	slices.Concat(message(fmt.Sprintf("%-300s", `{"op":"ping"}`)), message(`{"op":"ping","unknown":{"a":[1,2,{"b":null}]}}`), closing(3000, "")),
}

// mutate changes a copy of b in a few places.
func mutate(rng *rand.Rand, b []byte) []byte {
	b = slices.Clone(b)
	for range 1 + rng.IntN(6) {
		if len(b) == 0 {
			break
		}
		at := rng.IntN(len(b))
		end := min(len(b), at+1+rng.IntN(16))
		switch rng.IntN(6) {
		case 0:
			b[at] ^= 1 << rng.IntN(8)
		case 1:
			b[at] = byte(rng.Uint32())
		case 2:
			b = slices.Delete(b, at, end)
		case 3:
			b = slices.Insert(b, at, b[at:end]...)
		case 4:
			b = slices.Insert(b, at, byte(rng.Uint32()), byte(rng.Uint32()))
		case 5:
			b = b[:at]
		}
	}
	return b
}

// mutatedStreams sends mutations and half closes behind them, so that each comes to an
// end: by then whatever is told has to be in docs/PROTOCOL.md.
func mutatedStreams(r *run) string {
	return crowd(r.mutations, 16, func(i int) string {
		rng := rand.New(rand.NewPCG(r.seed, uint64(i)))
		what := r.edge.open("", i, 0, func(p *peer) string {
			_, _ = p.Write(mutate(rng, streams[i%len(streams)]))
			_ = p.CloseWrite()
			return p.reaction()
		})
		for part := range strings.SplitSeq(what, ", ") {
			if _, after, ok := strings.Cut(part, " × "); ok {
				part = after
			}
			if !documented(part) {
				return fmt.Sprintf("number %d: %s", i, what)
			}
		}
		return "as documented"
	})
}

// documented reports whether a part of a reaction is in docs/PROTOCOL.md. A close code
// of the peer comes back to it.
func documented(part string) bool {
	switch part {
	case "ack", "pong", "the word pong", "ended", "reset", "close 1005",
		"error 400", "error 413", "error 429", "rejected 413", "rejected 422", "rejected 429":
		return true
	}
	var code int
	_, err := fmt.Sscanf(part, "close %d", &code)
	return err == nil && legalClose(code)
}

// quiet is how long a peer listens to make sure that nothing comes.
const quiet = 3 * time.Millisecond
