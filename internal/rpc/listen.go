// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"tickedge/internal/auth"
	"tickedge/internal/guard"
)

const (
	// ConnsMax and StreamsMax bound what an operator may ask for.
	ConnsMax   = 100_000
	StreamsMax = 100_000
)

// Validate returns what is wrong with c, or nil. It reads the files. Errors begin with the names of fields.
func (c *Config) Validate() error {
	var errs []error
	if c.MaxConns < 1 || c.MaxConns > ConnsMax {
		errs = append(errs, fmt.Errorf("MaxConns is %d, want 1 to %d", c.MaxConns, ConnsMax))
	}
	if c.MaxStreams < 1 || c.MaxStreams > StreamsMax {
		errs = append(errs, fmt.Errorf("MaxStreams is %d, want 1 to %d", c.MaxStreams, StreamsMax))
	}
	_, err := c.loadTLS()
	return errors.Join(append(errs, err)...)
}

// Files is how many files the port has open at most: its connections, and its listener.
func (c *Config) Files() int { return c.MaxConns + 1 }

// credentials are those that new connections get, which are in the clear without TLS.
func (s *Server) credentials() credentials.TransportCredentials {
	if s.secure.Load() == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return s.secure.Load(), nil
	}})
}

// loadTLS reads the files of TLS. It is nil if there are none.
func (c *Config) loadTLS() (*tls.Config, error) {
	switch {
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return nil, errors.New("TLSCert and TLSKey go together: want both or neither")
	case c.TLSCert == "" && c.ClientCA != "":
		return nil, errors.New("ClientCA needs TLS: want TLSCert and TLSKey beside it")
	case c.TLSCert == "":
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("TLSCert: %w", err)
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}}
	if c.ClientCA == "" {
		return secure, nil
	}
	if err := auth.AskCertificates(secure, c.ClientCA, c.Verifier != nil); err != nil {
		return nil, fmt.Errorf("ClientCA: %w", err)
	}
	return secure, nil
}

// door is the listener. It accepts as many connections as there may be, and closes the others at once:
// nothing is read of them.
type door struct {
	net.Listener
	server  *Server
	open    atomic.Int64
	refused atomic.Uint64
}

func (s *Server) listen() (*door, error) {
	l, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("rpc: %w", err)
	}
	return &door{Listener: l, server: s}, nil
}

// Accept implements [net.Listener].
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if admitted := d.admit(c); admitted != nil {
			return admitted, nil
		}
		d.refused.Add(1)
		_ = c.Close() // There is nothing to do about an error of it.
	}
}

// admit gives a connection room, if there is some, or returns nil. A trusted proxy is not held to
// the limits of one address: they are those of its clients, whom streams tell.
func (d *door) admit(c net.Conn) net.Conn {
	if d.open.Add(1) > int64(d.server.cfg.MaxConns) {
		d.open.Add(-1)
		return nil
	}
	remote, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	prefix := guard.PrefixOf(remote.Addr())
	if d.server.cfg.Trusted.Has(remote.Addr()) {
		prefix = 0
	}
	if d.server.cfg.Share.Enter(prefix, time.Now()).Outcome != guard.OK {
		d.open.Add(-1)
		return nil
	}
	return &conn{Conn: c, door: d, prefix: prefix}
}

// conn is a connection that has room.
type conn struct {
	net.Conn
	door   *door
	prefix guard.Prefix
	once   sync.Once
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	c.once.Do(func() {
		c.door.open.Add(-1)
		c.door.server.cfg.Share.Leave(c.prefix)
	})
	return c.Conn.Close()
}
