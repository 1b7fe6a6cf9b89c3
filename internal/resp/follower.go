// SPDX-License-Identifier: Apache-2.0

package resp

import "fmt"

// The bounds of a reply that a [Follower] lets pass. Pushed messages are not meant, they have
// a [Reader]. Together they keep what a parser holds of one reply within some 60 MB, if it
// takes 16 bytes for an element besides its text.
const (
	// BulkMax bounds a bulk. Values are asked for by GETRANGE, 4 KiB at most; a field of
	// an entry in a stream comes as it is, and there may be others than topic and value.
	BulkMax = 1 << 20
	// ReplyMax bounds a reply. The largest is a read of 500 entries of a stream: 64 KiB for
	// each of them.
	ReplyMax = 32 << 20
	// ArrayMax bounds the elements of an array: CLUSTER SLOTS has one for each range of
	// slots, of which there are as many as slots if no two neighbours have one owner. The
	// next are EXEC of a publisher, 2,000, and 500 entries of a stream.
	ArrayMax = 16_384
	// ElementsMax bounds the elements of a reply, all arrays together. CLUSTER SLOTS again:
	// so many ranges of three nodes are about 400,000.
	ElementsMax = 1 << 19
	// DepthMax bounds arrays in arrays. COMMAND, which go-redis asks nodes of a cluster,
	// has 8 of them for subcommands, entries of a stream that are read in a transaction
	// have 6.
	DepthMax = 12
)

// Follower follows a stream of RESP2 and finds the first byte that leaves it or one of its
// bounds. It takes the stream in pieces of any size, and keeps none of it. The zero Follower
// is at the start of a reply.
type Follower struct {
	// Newer lets pass the types of RESP3 too, attributes excepted. It is for clients that
	// can't be told to ask for RESP2.
	Newer bool

	at   step
	kind byte // Of the line: one of + : $ *, each of which stands for the types that are alike.
	each int  // Elements that the line's number counts by: 2 for a map.

	line     int    // Bytes of the line so far.
	head     []byte // The line's first bytes, if it began in an earlier piece.
	number   int64  // What is known of the length.
	digits   int
	negative bool

	skip int // Bytes of the bulk that are still to come.

	depth    int
	left     [DepthMax]int // Elements that are still to come, for each open array.
	elements int           // Of the reply, those included that are still to come.
	size     int           // Of the reply, in bytes, bulks that are still to come included.
}

// step is what the next byte has to be.
type step uint8

const (
	atKind   step = iota // The first of an element.
	inText               // One of a simple string or an error.
	inNumber             // One of an integer or a length.
	atLF                 // The end of a line.
	inBulk               // One of a bulk.
	atBulkCR             // The end of a bulk.
	atBulkLF
)

// Follow takes the next bytes of the stream. If not all of them are within bounds, it returns
// how many are, and an [Error]; the follower is of no use any more then. The line that claims
// too much is never among them as a whole.
func (f *Follower) Follow(b []byte) (n int, err error) {
	start := 0 // Where the line begins in b.
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch f.at {
		case atKind:
			start, f.head = i, f.head[:0]
			err = f.begin(c)
		case inText:
			switch f.line++; {
			case c == '\r':
				f.at = atLF
			case c == '\n':
				err = fault("a line without CR")
			case f.line > LineMax:
				err = fault("a line of more than %d bytes", LineMax)
			}
		case inNumber:
			f.line++
			err = f.digit(c)
		case atLF:
			if c != '\n' {
				err = fault("a line without LF")
				break
			}
			err = f.lineEnds()
		case inBulk:
			n := min(f.skip, len(b)-i)
			f.skip -= n
			i += n - 1
			if f.skip == 0 {
				f.at = atBulkCR
			}
		case atBulkCR, atBulkLF:
			if f.at == atBulkCR && c == '\r' {
				f.at = atBulkLF
			} else if f.at == atBulkLF && c == '\n' {
				f.elementEnds()
			} else {
				start, f.head = i, f.head[:0]
				err = fault("a bulk that is longer than its length")
			}
		}
		if err != nil {
			near := append(append([]byte(nil), f.head...), b[start:i]...)
			return i, &Error{What: err.Error(), Near: quote(append(near, line(b[i:])...))}
		}
	}
	if f.at >= inText && f.at <= atLF && len(f.head) < nearMax {
		f.head = append(f.head, b[start:min(len(b), start+nearMax)]...)
	}
	return len(b), nil
}

func fault(format string, a ...any) error { return fmt.Errorf(format, a...) }

// begin takes the first byte of an element.
func (f *Follower) begin(c byte) error {
	f.each, f.line, f.number, f.digits, f.negative = 1, 1, 0, 0, false
	switch c {
	case '+', '-':
		f.kind = '+'
	case ':', '$', '*':
		f.kind = c
	default:
		if f.kind = newer[c]; f.kind == 0 || !f.Newer {
			return fault("an unknown type of reply")
		}
		if c == '%' {
			f.each = 2
		}
	}
	if f.kind == '*' && f.depth == DepthMax {
		return fault("arrays in arrays, more than %d deep", DepthMax)
	}
	f.at = inNumber
	if f.kind == '+' {
		f.at = inText
	}
	return nil
}

// newer are the types that RESP3 has in addition, and what they look like.
var newer = [256]byte{'_': '+', '#': '+', ',': '+', '(': '+', '=': '$', '!': '$', '~': '*', '>': '*', '%': '*'}

// digit takes a byte of a number. A length that is too great is refused as soon as that can
// be seen, any other one at the CR.
func (f *Follower) digit(c byte) error {
	switch {
	case c >= '0' && c <= '9':
		f.digits++
		if f.kind == ':' {
			if f.digits > len("9223372036854775807") {
				return fault("an integer of more than 64 bits")
			}
			return nil
		}
		if f.digits > digitsMax {
			return fault("a length of more than %d digits", digitsMax)
		}
		f.number = 10*f.number + int64(c-'0')
	case c == '-' && f.line == 2:
		f.negative = true
		return nil
	case c == '\r' && f.digits > 0:
		f.at = atLF
		if f.kind == ':' {
			return nil
		}
	default:
		return fault("a number that is none")
	}
	switch {
	case f.negative && (f.number > 1 || c == '\r' && f.number != 1):
		return fault("a negative length")
	case f.negative:
	case f.kind == '$' && f.number > BulkMax:
		return fault("a bulk of more than %d bytes", BulkMax)
	case f.kind == '*' && int(f.number)*f.each > ArrayMax:
		return fault("an array of more than %d elements", ArrayMax)
	case f.kind == '$' && f.size+int(f.number) > ReplyMax:
		return fault("a reply of more than %d bytes", ReplyMax)
	case f.kind == '*' && f.elements+int(f.number)*f.each > ElementsMax:
		return fault("a reply of more than %d elements", ElementsMax)
	}
	return nil
}

// lineEnds takes the LF of a line.
func (f *Follower) lineEnds() error {
	f.size += f.line + 1
	if f.size > ReplyMax {
		return fault("a reply of more than %d bytes", ReplyMax)
	}
	n := int(f.number)
	switch {
	case f.negative || f.kind != '$' && f.kind != '*':
		f.elementEnds()
	case f.kind == '$':
		f.skip = n
		f.size += n + len("\r\n")
		f.at = inBulk
		if n == 0 {
			f.at = atBulkCR
		}
	case n == 0:
		f.elementEnds()
	default:
		n *= f.each
		f.left[f.depth] = n
		f.depth++
		f.elements += n
		f.at = atKind
	}
	return nil
}

// elementEnds closes the arrays whose last element it was, and with the last of them the
// reply.
func (f *Follower) elementEnds() {
	f.at = atKind
	for f.depth > 0 {
		if f.left[f.depth-1]--; f.left[f.depth-1] > 0 {
			return
		}
		f.depth--
	}
	f.elements, f.size = 0, 0
}
