// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// payer is a conn that sends and throws away what comes.
type payer struct {
	*net.TCPConn
	number  int
	sent    int
	marks   chan struct{} // An element for each answer to alive.
	refused atomic.Bool   // Something was, or the conn has ended.
	ended   chan struct{}
}

var (
	tooFast = []byte(`"code":429`)
	marked  = []byte(`"id":"` + aliveID + `"`)
)

// listen reads to the end. Answers are found by their text: nothing of it is in a value.
func (a *payer) listen() {
	defer close(a.ended)
	defer a.refused.Store(true)
	buf, kept := make([]byte, 256<<10), 0
	for {
		n, err := a.Read(buf[kept:])
		if err != nil {
			return
		}
		all := buf[:kept+n]
		if bytes.Contains(all, tooFast) {
			a.refused.Store(true)
		}
		for range bytes.Count(all, marked) {
			a.marks <- struct{}{}
		}
		// An answer may be cut, and none is found twice.
		tail := all[max(0, len(all)-len(marked)+1):]
		if i := bytes.LastIndex(all, marked); i >= 0 {
			tail = all[max(i+len(marked), len(all)-len(marked)+1):]
		}
		kept = copy(buf, tail)
	}
}

// await waits for the answer to alive, which was sent behind all else.
func (a *payer) await() error {
	select {
	case <-a.marks:
		return nil
	case <-a.ended:
		return errors.New("the edge has closed the conn")
	case <-time.After(patience):
		return errors.New("no answer")
	}
}

// dribble sends b byte by byte.
func dribble(to io.Writer, b []byte) error {
	for i := range b {
		if _, err := to.Write(b[i : i+1]); err != nil {
			return err
		}
		if i%2 == 0 { // So that the edge comes to read in between.
			time.Sleep(20 * time.Microsecond)
		}
	}
	return nil
}

// send sends the next n messages and what is to follow them, in as few packets as it can,
// and returns the bytes of the messages.
func (a *payer) send(k *kind, n int, behind []byte) (size float64, err error) {
	var b []byte
	for range n {
		one := k.message(a.number, a.sent)
		a.sent++
		if !k.dribble {
			b = append(b, one...)
			continue
		}
		if err := dribble(a, one); err != nil {
			return size, err
		}
		size += float64(len(one) * (packetHead + 1))
	}
	if !k.dribble {
		size = onWire(len(b))
	}
	_, err = a.Write(append(b, behind...))
	return size, err
}
