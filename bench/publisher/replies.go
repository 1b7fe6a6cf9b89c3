// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
)

// replies counts the answers of Redis. One goroutine reads, any may look.
type replies struct {
	published atomic.Uint64 // PUBLISH commands that were answered.
	unheard   atomic.Uint64 // Those that reached nobody.
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
