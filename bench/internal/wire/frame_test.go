// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// serverFrame is an unmasked frame with the shortest length that fits.
func serverFrame(op Op, payload []byte) []byte {
	b := []byte{0x80 | byte(op)}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

func TestHeaderBoundaryLengthsCutAtEveryByte(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, FrameMax} {
		b := serverFrame(OpText, make([]byte, n))
		h, err := ParseHeader(b)
		if err != nil || h.Length != n || h.Size+h.Length != len(b) || !h.Fin || h.Op != OpText {
			t.Errorf("length %d: %+v, %v", n, h, err)
		}
		for cut := range h.Size {
			if _, err := ParseHeader(b[:cut]); err != ErrShort {
				t.Errorf("length %d cut at %d: %v, want ErrShort", n, cut, err)
			}
		}
	}
}

func TestHeaderFaults(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want Fault
	}{
		"masked":           {"\x81\x85", ErrMasked},
		"rsv1":             {"\xc1\x05", ErrReserved},
		"rsv3":             {"\x91\x05", ErrReserved},
		"opcode 3":         {"\x83\x05", ErrOpcode},
		"opcode 11":        {"\x8b\x05", ErrOpcode},
		"ping cut":         {"\x09\x05", ErrControl},
		"ping of 126":      {"\x89\x7e\x00\x7e", ErrControl},
		"125 in two bytes": {"\x81\x7e\x00\x7d", ErrLength},
		"65535 in eight":   {"\x81\x7f\x00\x00\x00\x00\x00\x00\xff\xff", ErrLength},
		"one too many":     {"\x81\x7f\x00\x00\x00\x00\x00\x10\x00\x01", ErrLarge},
		"top bit":          {"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", ErrLarge},
	} {
		if _, err := ParseHeader([]byte(c.in)); err != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// The example of RFC 6455, section 5.7.
func TestMaskedFrameOfTheRFC(t *testing.T) {
	got := AppendFrame(nil, OpText, [4]byte{0x37, 0xfa, 0x21, 0x3d}, []byte("Hello"))
	want := []byte{0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}
	if !bytes.Equal(got, want) {
		t.Errorf("% x, want % x", got, want)
	}
	for _, n := range []int{125, 126, 65535, 65536} {
		b := AppendFrame(nil, OpText, [4]byte{}, make([]byte, n))
		b[1] &= 0x7f
		if h, err := ParseHeader(b); err != nil || h.Length != n || len(b) != h.Size+4+n {
			t.Errorf("length %d: %+v, %v", n, h, err)
		}
	}
}

func TestClosePayload(t *testing.T) {
	if code, _, err := ParseClose(nil); code != CloseNoCode || err != nil {
		t.Error(code, err)
	}
	if _, _, err := ParseClose([]byte{3}); err != ErrClose {
		t.Error("one byte of payload:", err)
	}
	code, reason, err := ParseClose([]byte("\x0f\xa1slow consumer"))
	if code != 4001 || string(reason) != "slow consumer" || err != nil {
		t.Error(code, string(reason), err)
	}
}

// The example of RFC 6455, section 1.3.
var rfcKey = [16]byte([]byte("the sample nonce"))

const rfcAnswer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nconnection: upgrade\r\n" +
	"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

func TestAnswerCutAtEveryByte(t *testing.T) {
	if !strings.Contains(string(AppendRequest(nil, "/ws", "h", rfcKey)), "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n") {
		t.Error("the request does not carry the key")
	}
	stream := rfcAnswer + "\x81\x00"
	for cut := range len(stream) + 1 {
		size, status, err := ParseAnswer([]byte(stream[:cut]), rfcKey)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if done := cut >= len(rfcAnswer); done != (size == len(rfcAnswer)) || done != (status == 101) {
			t.Fatalf("cut at %d: size %d, status %d", cut, size, status)
		}
	}
}

func TestAnswerFaults(t *testing.T) {
	for name, c := range map[string]struct {
		in     string
		status int
		want   error
	}{
		"refused":       {"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\n\r\n", 503, nil},
		"not HTTP":      {"SSH-2.0-OpenSSH_9.6\r\n\r\n", 0, ErrHead},
		"no status":     {"HTTP/1.1 abc\r\n\r\n", 0, ErrHead},
		"no end":        {strings.Repeat("x", HeadMax+1), 0, ErrHead},
		"no upgrade":    {strings.Replace(rfcAnswer, "Upgrade: w", "X: w", 1), 101, ErrUpgrade},
		"no connection": {strings.Replace(rfcAnswer, "connection", "X", 1), 101, ErrUpgrade},
		"wrong accept":  {strings.Replace(rfcAnswer, "s3p", "S3p", 1), 101, ErrAccept},
		"no accept":     {strings.Replace(rfcAnswer, "Sec-WebSocket-Accept", "X", 1), 101, ErrAccept},
	} {
		if _, status, err := ParseAnswer([]byte(c.in), rfcKey); status != c.status || err != c.want {
			t.Errorf("%s: status %d, %v; want %d, %v", name, status, err, c.status, c.want)
		}
	}
}
