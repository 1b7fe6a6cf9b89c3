// SPDX-License-Identifier: Apache-2.0

package wsproto

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A transcript is what a client sends and the events that come out of it, as text:
//
//	# a comment
//	= the name of a case; it starts with a new decoder
//	! message=20 fragments=3 binary     limits, roomy ones unless they are given
//	> text more key=00000000 "hel"      a frame: opcode, flags, payload
//	> raw 81 85 37 fa                   bytes
//	< text "hello"                      an event, or fail and a close code
//
// Flags are more (FIN is clear), rsv=N, unmasked, key=HEX and form=N (bytes of extended
// length). A payload is a Go string, and "x"*300 repeats it. The body of a close frame
// is its code and reason: close 1000 "bye".
type transcript struct {
	name string
	lim  Limits
	in   []byte
	want []string
}

// pairsMax bounds the transcripts that are cut at every pair of positions.
const pairsMax = 120

func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no transcripts", err)
	}
	for _, file := range files {
		for _, tr := range readTranscripts(t, file) {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+tr.name, tr.replay)
		}
	}
}

func (tr *transcript) replay(t *testing.T) {
	whole := replay(t, &tr.lim, tr.in)
	if !sameEvents(whole, tr.want) {
		t.Fatalf("in one read:\n got %s\nwant %s", lines(whole), lines(tr.want))
	}
	same := func(chunks ...[]byte) {
		t.Helper()
		if got := replay(t, &tr.lim, chunks...); !slices.Equal(got, whole) {
			sizes := make([]int, len(chunks))
			for i, c := range chunks {
				sizes[i] = len(c)
			}
			t.Fatalf("in reads of %v bytes:\n got %s\nwant %s", sizes, lines(got), lines(whole))
		}
	}
	for n := 1; n < min(len(tr.in), 20); n++ {
		same(chunked(tr.in, n)...)
	}
	for i := range len(tr.in) + 1 {
		same(tr.in[:i], tr.in[i:])
		if len(tr.in) > pairsMax {
			continue
		}
		for j := i; j <= len(tr.in); j++ { // j == i is a read of nothing.
			same(tr.in[:i], tr.in[i:j], tr.in[j:])
		}
	}
}

func readTranscripts(t *testing.T, file string) (all []*transcript) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		kind, rest := line[0], strings.TrimSpace(line[1:])
		if kind == '=' {
			all = append(all, &transcript{name: rest, lim: *roomy})
			continue
		}
		if len(all) == 0 {
			t.Fatalf("%s:%d: no case has begun", file, n)
		}
		tr := all[len(all)-1]
		var err error
		switch kind {
		case '!':
			err = tr.limits(rest)
		case '>':
			err = tr.frame(rest)
		case '<':
			err = tr.event(rest)
		default:
			err = fmt.Errorf("a line starts with one of # = ! > <")
		}
		if err != nil {
			t.Fatalf("%s:%d: %v", file, n, err)
		}
	}
	return all
}

func (tr *transcript) limits(text string) error {
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		n, err := strconv.Atoi(value)
		switch {
		case name == "binary":
			tr.lim.Binary, err = true, nil
		case name == "message":
			tr.lim.Message = n
		case name == "fragments":
			tr.lim.Fragments = n
		default:
			err = fmt.Errorf("no limit %q", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var opcodes = map[string]byte{
	"cont": opCont, "text": opText, "binary": opBinary, "close": opClose, "ping": opPing, "pong": opPong,
}

func (tr *transcript) frame(text string) error {
	text, quoted := cutPayload(text)
	payload, err := payloadOf(quoted)
	if err != nil {
		return err
	}
	words := strings.Fields(text)
	f := clientFrame{key: testKey, payload: []byte(payload)}
	if words[0] == "raw" {
		b, err := hex.DecodeString(strings.Join(words[1:], ""))
		tr.in = append(tr.in, b...)
		return err
	}
	op, ok := opcodes[words[0]]
	if !ok {
		n, err := strconv.ParseUint(words[0], 16, 4)
		if err != nil {
			return err
		}
		op = byte(n)
	}
	f.op = op
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		n, err := strconv.ParseUint(name+value, 10, 16)
		switch name {
		case "more":
			f.more, err = true, nil
		case "unmasked":
			f.unmasked, err = true, nil
		case "rsv", "form":
			n, err = strconv.ParseUint(value, 10, 4)
			if name == "rsv" {
				f.rsv = byte(n)
			} else {
				f.form = int(n)
			}
		case "key":
			_, err = hex.Decode(f.key[:], []byte(value))
		default: // A close code.
			f.payload = append([]byte{byte(n >> 8), byte(n)}, f.payload...)
		}
		if err != nil {
			return fmt.Errorf("%s: %v", word, err)
		}
	}
	tr.in = append(tr.in, f.bytes()...)
	return nil
}

func (tr *transcript) event(text string) error {
	text, quoted := cutPayload(text)
	if quoted != "" {
		payload, err := payloadOf(quoted)
		if err != nil {
			return err
		}
		text += show([]byte(payload))
	}
	tr.want = append(tr.want, text)
	return nil
}

func cutPayload(text string) (words, quoted string) {
	if i := strings.IndexByte(text, '"'); i >= 0 {
		return text[:i], text[i:]
	}
	return text, ""
}

func payloadOf(quoted string) (string, error) {
	if quoted == "" {
		return "", nil
	}
	times := 1
	if i := strings.LastIndex(quoted, `"*`); i >= 0 {
		n, err := strconv.Atoi(quoted[i+2:])
		if err != nil {
			return "", err
		}
		quoted, times = quoted[:i+1], n
	}
	payload, err := strconv.Unquote(quoted)
	return strings.Repeat(payload, times), err
}
