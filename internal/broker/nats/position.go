// SPDX-License-Identifier: Apache-2.0

package nats

import "hash/maphash"

// place is where a stream was read to, over all links. It is the owner's of [source.mu].
type place struct {
	stream  string
	created string // When the stream was made: another time is another stream, whose sequences begin anew.
	last    uint64 // The sequence up to which all was received.
	known   bool
	floors  floors
}

// floorsMax bounds the subjects whose sequences are remembered, twice at most.
const floorsMax = 1 << 19

// floors are the sequences of the newest messages that were heard, by subject, of those that nobody wanted
// too: a replica that is behind may answer with an older one when somebody wants it. Subjects are kept by
// their hash. Those of which nothing was heard while as many others were are forgotten; no replica is behind by that much.
type floors struct {
	seed          maphash.Seed
	newer, former map[uint64]uint64
}

func newFloors() floors { return floors{seed: maphash.MakeSeed(), newer: make(map[uint64]uint64)} }

func (f *floors) heard(subject string, seq uint64) {
	if len(f.newer) >= floorsMax {
		f.newer, f.former = make(map[uint64]uint64), f.newer
	}
	f.newer[maphash.String(f.seed, subject)] = seq
}

func (f *floors) of(subject string) uint64 {
	h := maphash.String(f.seed, subject)
	if seq, ok := f.newer[h]; ok {
		return seq
	}
	return f.former[h]
}

// delivered is what the reply of a message says that a stream's consumer has sent.
type delivered struct {
	stream   uint64 // Its sequence in the stream.
	consumer uint64 // The number of the message for this consumer, from 1.
	pending  uint64 // How many there are behind it.
}

// parseDelivered reads $JS.ACK.[domain.account.]stream.consumer.delivered.stream-seq.consumer-seq.time.pending[.token].
func parseDelivered(reply string) (d delivered, ok bool) {
	const prefix = "$JS.ACK."
	if len(reply) < len(prefix) || reply[:len(prefix)] != prefix {
		return d, false
	}
	points := 0
	for i := range len(reply) {
		if reply[i] == '.' {
			points++
		}
	}
	first := 5 // The part that is the sequence in the stream.
	if points > 8 {
		first = 7
	}
	part, from := 0, 0
	for i := 0; i <= len(reply); i++ {
		if i < len(reply) && reply[i] != '.' {
			continue
		}
		var to *uint64
		switch part {
		case first:
			to = &d.stream
		case first + 1:
			to = &d.consumer
		case first + 3:
			to = &d.pending
		}
		if to != nil {
			if *to, ok = parseUint(reply[from:i]); !ok {
				return d, false
			}
		}
		part, from = part+1, i+1
	}
	return d, part > first+3 && d.stream > 0 && d.consumer > 0
}

func parseUint(s string) (n uint64, ok bool) {
	if s == "" || len(s) > 19 {
		return 0, false
	}
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		n = 10*n + uint64(d)
	}
	return n, true
}
