// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
)

// errNoTLS is for a server that does not speak TLS where it is asked for.
var errNoTLS = errors.New("the server does not speak TLS")

// greet reads what a server says first, speaks TLS with it if secure asks for that or the server does, and
// returns the connection for nats.go, which is to be told to leave TLS alone (a dialer with a method
// SkipTLSHandshake that is true). config holds the server's name. The caller sets a deadline, and closes
// conn if there is an error.
func greet(conn net.Conn, config *tls.Config, secure bool) (*tap, error) {
	t := newTap(conn)
	// Byte by byte, as what comes next may be TLS.
	for t.end == 0 || t.in[t.end-1] != '\n' {
		if t.end == len(t.in) {
			return nil, fmt.Errorf("%w: a greeting of more than %d bytes", errWire, len(t.in))
		}
		if _, err := conn.Read(t.in[t.end : t.end+1]); err != nil {
			return nil, err
		}
		t.end++
	}
	text, ok := bytes.CutPrefix(t.in[:t.end], []byte("INFO "))
	var info struct {
		Required  bool `json:"tls_required"`
		Available bool `json:"tls_available"`
	}
	if !ok || json.Unmarshal(text, &info) != nil {
		return nil, fmt.Errorf("%w: %.80q", errWire, t.in[:t.end])
	}
	switch {
	case !secure && !info.Required:
		return t, nil
	case !info.Required && !info.Available:
		return nil, errNoTLS
	}
	// The handshake has the deadline of conn.
	wrapped := tls.Client(conn, config)
	if err := wrapped.Handshake(); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	t.Conn = wrapped
	return t, nil
}
