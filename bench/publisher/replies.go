// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
)

const (
	// natsInbox is where JetStream sends its acknowledgements.
	natsInbox = "_INBOX.publisher"
	// natsHello is what NATS is told at first. It answers the PING once it has read it.
	natsHello = `CONNECT {"verbose":false,"pedantic":false,"name":"publisher","lang":"bench","version":"1"}` + "\r\nSUB " + natsInbox + " 1\r\nPING\r\n"
	// natsAckMax bounds an acknowledgement.
	natsAckMax = 4 << 10
)

// replies counts the answers of a broker. One goroutine reads, any may look.
type replies struct {
	published atomic.Uint64 // Messages that were answered.
	unheard   atomic.Uint64 // Those that reached nobody, as Redis says.
	pongs     atomic.Uint64 // Of NATS.
}

// read reads answers until the connection fails or Redis answers with an error. Each
// PUBLISH is answered with a number (RESP2: a line that begins with a colon), be it in the
// array of an EXEC, and nothing else that is sent here is.
func (r *replies) read(conn io.Reader) error {
	in := bufio.NewReaderSize(conn, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		switch line[0] {
		case ':':
			if line[1] == '0' {
				r.unheard.Add(1)
			}
			r.published.Add(1)
		case '-':
			return fmt.Errorf("redis answers %q", bytes.TrimSpace(line[1:]))
		}
	}
}

// readNATS does the same for NATS: only messages that JetStream stores are answered. It answers the
// server's own pings.
func (r *replies) readNATS(conn io.ReadWriter) error {
	in := bufio.NewReaderSize(conn, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		switch line = bytes.TrimSpace(line); {
		case bytes.HasPrefix(line, []byte("-")):
			return fmt.Errorf("nats answers %q", line)
		case bytes.Equal(line, []byte("PING")):
			if _, err := io.WriteString(conn, "PONG\r\n"); err != nil { // A whole write goes between those of the writer.
				return fmt.Errorf("write: %w", err)
			}
		case bytes.Equal(line, []byte("PONG")):
			r.pongs.Add(1)
		case bytes.HasPrefix(line, []byte("MSG ")):
			size, err := strconv.Atoi(string(line[bytes.LastIndexByte(line, ' ')+1:]))
			if err != nil || size < 0 || size > natsAckMax {
				return fmt.Errorf("nats answers %q", line)
			}
			if err := r.ack(in, size); err != nil {
				return err
			}
		}
	}
}

// ack reads an acknowledgement.
func (r *replies) ack(in *bufio.Reader, size int) error {
	text, err := in.Peek(size + len("\r\n"))
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if bytes.Contains(text, []byte(`"error"`)) || !bytes.Contains(text, []byte(`"seq"`)) {
		return fmt.Errorf("jetstream answers %q", bytes.TrimSpace(text))
	}
	_, _ = in.Discard(len(text)) // They are there.
	r.published.Add(1)
	return nil
}
