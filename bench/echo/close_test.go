// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// Group 7, the close. RFC 6455, 5.5.1, 7.1 and 7.4: the code of a valid close frame comes
// back, then the end; nothing behind it is answered.
func TestClose(t *testing.T) {
	big := strings.Repeat("*", 256<<10)
	for _, x := range []exchange{
		{"7.1.1 after a message", [][]byte{last(opText, "Hello"), closing(1000, "")}, failed(1000, `text "Hello"`)},
		{"7.1.2 twice", [][]byte{closing(1000, ""), closing(1000, "")}, failed(1000)},
		{"7.1.3 then a ping", [][]byte{closing(1000, ""), last(opPing, "")}, failed(1000)},
		{"7.1.4 then a text", [][]byte{closing(1000, ""), last(opText, "Hello")}, failed(1000)},
		{"7.1.5 between fragments", [][]byte{more(opText, "fragment1"), closing(1000, ""), last(opCont, "fragment2")}, failed(1000)},
		{"7.1.6 after 256 KiB", [][]byte{last(opText, big), closing(1000, ""), last(opPing, "")}, failed(1000, "text "+show(big))},
		{"7.3.1 empty", [][]byte{last(opClose, "")}, []string{"close", "end"}},
		{"7.3.2 one byte", [][]byte{last(opClose, "a")}, failed(1002)},
		{"7.3.3 a code", [][]byte{closing(1000, "")}, failed(1000)},
		{"7.3.4 and a reason", [][]byte{closing(1000, "Hello, world!")}, failed(1000)},
		{"7.3.5 the longest reason", [][]byte{closing(1000, strings.Repeat("*", 123))}, failed(1000)},
		{"7.3.6 too long", [][]byte{closing(1000, strings.Repeat("*", 124))}, failed(1002)},
		{"7.5.1 reason is not UTF-8", [][]byte{closing(1000, "\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited")}, failed(1007)},
		{"fragmented", [][]byte{more(opClose, closeBody(1000, ""))}, failed(1002)},
	} {
		x.run(t)
	}
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		exchange{fmt.Sprintf("7.7 valid code %d", code), [][]byte{closing(code, "")}, failed(code)}.run(t)
	}
	for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		exchange{fmt.Sprintf("7.9 invalid code %d", code), [][]byte{closing(code, "")}, failed(1002)}.run(t)
	}
}

// The end comes also to one whose frames go on behind the one that was wrong, after our
// reason for it, and not as a reset that overtakes that.
func TestCloseIsReadByOneWhoGoesOnSending(t *testing.T) {
	c := dial(t)
	go func() {
		_, _ = c.Write(frameOf(0x83, "reserved opcode"))
		for range 100 {
			if _, err := c.Write(last(opText, strings.Repeat("*", 16<<10))); err != nil {
				return
			}
		}
	}()
	c.wants(t, "close 1002", "end")
}

// A client that we did not write closes, with a reason, and is satisfied.
func TestAnotherClientCloses(t *testing.T) {
	for _, code := range []websocket.StatusCode{1000, 1001, 1011, 3000, 4999} {
		c := another(t)
		if err := c.Close(code, "reason"); err != nil {
			t.Errorf("close %d: %v", code, err)
		}
	}
}

func another(t testing.TB) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, res, err := websocket.Dial(ctx, "ws://"+addr+"/runCase?case=1", &websocket.DialOptions{CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		t.Fatalf("dial: %v (%+v)", err, res)
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}
