// SPDX-License-Identifier: Apache-2.0

// Package sdnotify tells a supervisor, such as systemd, how a program is: what sd_notify(3) of it does.
package sdnotify

import (
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What a supervisor can be told.
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
	Alive    = "WATCHDOG=1"
)

// sendTime bounds a message: a supervisor that does not read must not hold a program up.
const sendTime = time.Second

// statusMost bounds a status, which may quote what a peer has said.
const statusMost = 512

// Status is the line that "systemctl status" shows.
func Status(text string) string {
	if text = strings.ToValidUTF8(strings.Map(oneLine, text), ""); len(text) > statusMost {
		text = strings.ToValidUTF8(text[:statusMost], "")
	}
	return "STATUS=" + text
}

// oneLine has a text not say more than its own line: the next one would be taken for another message.
func oneLine(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}

// Reloading is that the configuration is read anew. When that is done, [Ready] is to follow.
func Reloading() string {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil { // Every kernel has this clock.
		return "RELOADING=1"
	}
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/int64(time.Microsecond))
}

// Socket is where a supervisor listens. Nil is none.
type Socket struct{ addr net.UnixAddr }

// Open reads the address of a supervisor, as it is in NOTIFY_SOCKET: a path, or a name of Linux behind an @. Empty is none.
func Open(addr string) (*Socket, error) {
	switch {
	case addr == "":
		return nil, nil
	case addr[0] != '/' && addr[0] != '@':
		return nil, fmt.Errorf("NOTIFY_SOCKET is %q, want a path from / on, or a name behind @: unset it if nobody supervises this", addr)
	}
	return &Socket{net.UnixAddr{Name: addr, Net: "unixgram"}}, nil
}

// Send says things at once.
func (s *Socket) Send(states ...string) error {
	if s == nil {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &s.addr)
	if err != nil {
		return fmt.Errorf("the supervisor was not told: %w", err)
	}
	defer conn.Close()
	if err = conn.SetWriteDeadline(time.Now().Add(sendTime)); err == nil {
		_, err = conn.Write([]byte(strings.Join(states, "\n")))
	}
	if err != nil {
		return fmt.Errorf("the supervisor was not told: %w", err)
	}
	return nil
}
