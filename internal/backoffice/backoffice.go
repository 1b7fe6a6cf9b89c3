// SPDX-License-Identifier: Apache-2.0

// Package backoffice is the port for operators' programs: they publish values, look at connections and topics,
// and end connections. It is HTTP/1.1, and everybody who calls it is known by a key or a certificate. Package grpcapi is another
// door in front of the same service.
//
//	backoffice.go  Port: the server and its bounds
//	service.go     Service: what all doors share, requests, and what is counted
//	config.go      Config: where it listens, and who may call it
//	renew.go       other keys, certificates and authorities, while it is served
//	caller.go      who calls, and who is refused
//	answer.go      answers, problems, and the audit
//	publish.go     POST /publish
//	stream.go      POST /publish with a stream of lines
//	operate.go     what becomes of connections, for all doors
//	conns.go       connections, users and topics
//	announce.go    POST /announce
package backoffice

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"tickedge/internal/admin"
	"tickedge/internal/broker"
	"tickedge/internal/guard"
)

const (
	// AnswerTime bounds the time of a request from its head to the last byte of its answer. A stream has it anew with
	// each batch, and may pause for StreamIdle.
	AnswerTime = 15 * time.Second
	StreamIdle = time.Minute
	// requestsMost is how many requests are answered at a time; of a stream, that is until it ends.
	requestsMost = 16
	// waitTime is how long a caller waits for the broker before it is told so.
	waitTime = 5 * time.Second
)

// Edge is what the port does its work with. All of it may be called from any goroutine.
type Edge interface {
	// Publish takes a tick on its way to the broker of its topic, see [broker.Queue.Put].
	Publish(t broker.Tick, done func(broker.Fate)) error
	// Conns returns at most n of the connections that f lets through, by name, of those behind after. The error is that of ctx.
	Conns(ctx context.Context, f Filter, after string, n int) ([]Conn, error)
	// Disconnect ends the connections that f lets through, and returns how many. The error is that of ctx.
	Disconnect(ctx context.Context, f Filter, bye Bye) (int, error)
	// TellDisconnect has the other edges of the broker end a user's connections. told is closed when the broker has that;
	// if it has not within half a minute, it is given up.
	TellDisconnect(user string, bye Bye) (told <-chan struct{}, err error)
	// Announce writes a text to the connections that f lets through, and returns how many have it, and how many were passed
	// over as they are behind. The error is that of ctx.
	Announce(ctx context.Context, f Filter, text string) (sent, skipped int, err error)
	// TellAnnounce is TellDisconnect for a text to a user, or to all if that is empty.
	TellAnnounce(user, text string) (told <-chan struct{}, err error)
	// Topics returns at most n topics whose names begin with prefix, of which those with the most subscribers, and how many
	// there are.
	Topics(prefix string, n int) (top []Topic, all int)
}

// Port is a back office, as HTTP/1.1.
type Port struct {
	*Service
	listener *admin.Listener
	server   *http.Server
	names    admin.Names
}

// How many wrong keys are looked at: of one address, and of all together.
var (
	wrongRate    = guard.Rate{PerSecond: 1, Burst: 10}
	wrongRateAll = guard.Rate{PerSecond: 10, Burst: 100}
	textRate     = guard.Rate{PerSecond: 10, Burst: 10} // Announcements.
)

// Listen binds the port. It answers nobody before [Port.Serve].
func Listen(c Config, log *slog.Logger) (*Port, error) {
	keys, secure, err := c.load()
	if err != nil {
		return nil, err
	}
	ln, host, err := admin.Bind(c.Addr)
	if err != nil {
		return nil, fmt.Errorf("back office: %w", err)
	}
	return &Port{Service: newService(newAccess(keys, secure), log), listener: ln, names: c.Names.Called(host)}, nil
}

// Addr is where the port listens.
func (p *Port) Addr() net.Addr { return p.listener.Addr() }

// Serve answers requests from now on, and lets other doors in front of the service do so.
func (p *Port) Serve(e Edge) {
	p.edge = e
	p.server = &http.Server{
		Handler:           p.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ConnState: func(c net.Conn, s http.ConnState) {
			if t, is := c.(*tls.Conn); is {
				c = t.NetConn()
			}
			p.listener.Note(c, s)
		},
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	var ln net.Listener = p.listener
	if secure := p.secured(); secure != nil {
		ln = tls.NewListener(ln, secure)
	}
	go func() {
		if err := p.server.Serve(ln); err != http.ErrServerClosed {
			p.log.Error("the back office ended", "error", err)
		}
	}()
}

// Close ends the port. Streams are told which of their lines were published.
func (p *Port) Close() {
	p.end()
	if p.server == nil {
		p.listener.Close()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if p.server.Shutdown(ctx) != nil {
		p.server.Close()
	}
}
