// SPDX-License-Identifier: Apache-2.0

// Package backoffice is the port for operators' programs: they publish values, look at connections and topics,
// and end connections. It is HTTP/1.1, and everybody who calls it is known by a key or a certificate.
//
//	backoffice.go  Port: the server, its bounds, and what it counts
//	config.go      Config: where it listens, and who may call it
//	caller.go      who calls, and who is refused
//	answer.go      answers, problems, and the audit
//	publish.go     POST /publish
//	stream.go      POST /publish with a stream of lines
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
	"sync"
	"time"

	"tickedge/internal/admin"
	"tickedge/internal/broker"
	"tickedge/internal/guard"
)

const (
	// answerTime bounds the time of a request from its head to the last byte of its answer. A stream has it anew with
	// each batch, and may pause for streamIdle.
	answerTime = 15 * time.Second
	streamIdle = time.Minute
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

// Port is a back office.
type Port struct {
	edge     Edge
	listener *admin.Listener
	server   *http.Server
	secure   *tls.Config
	names    admin.Names
	keys     Keys
	log      *slog.Logger
	clock    broker.Clock
	wait     time.Duration // See waitTime.
	slots    chan struct{}

	wrong    *guard.PrefixLimit // Wrong keys of an address.
	wrongAll *guard.PrefixLimit // Those of all.
	texts    *guard.PrefixLimit // Announcements.

	mu     sync.Mutex
	counts map[Count]uint64
	ending context.Context // Ends with the port: streams have to.
	end    context.CancelFunc
}

// Count is what requests are counted by. There are as many as routes, times the codes that these answer with.
type Count struct {
	Route string // As in the table of routes, or "other".
	Code  int
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
	p := &Port{
		listener: ln, secure: secure, keys: keys, log: log, names: c.Names.Called(host), wait: waitTime,
		slots: make(chan struct{}, requestsMost), counts: make(map[Count]uint64),
		wrong: guard.NewPrefixLimit(wrongRate, time.Now()), wrongAll: guard.NewPrefixLimit(wrongRateAll, time.Now()),
		texts: guard.NewPrefixLimit(textRate, time.Now()),
	}
	p.ending, p.end = context.WithCancel(context.Background())
	return p, nil
}

// Addr is where the port listens.
func (p *Port) Addr() net.Addr { return p.listener.Addr() }

// Serve answers requests from now on.
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
	if p.secure != nil {
		ln = tls.NewListener(ln, p.secure)
	}
	go func() {
		if err := p.server.Serve(ln); err != http.ErrServerClosed {
			p.log.Error("the back office ended", "error", err)
		}
	}()
}

// Requests is how many requests were answered.
func (p *Port) Requests() map[Count]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[Count]uint64, len(p.counts))
	for c, n := range p.counts {
		all[c] = n
	}
	return all
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
