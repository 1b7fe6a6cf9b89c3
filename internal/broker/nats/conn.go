// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"tickedge/internal/broker"
	"tickedge/internal/panics"
)

// conn is one connection to one server. It is never repaired: whatever fails ends it. What the server
// says of it comes on channels, in goroutines of nats.go.
type conn struct {
	*natsgo.Conn
	tap    *tap
	failed chan error            // Has why the connection has to end, once.
	first  atomic.Pointer[error] // The same, for whoever comes later.
	ended  chan struct{}         // Closed when nothing more will be said of it.
	lame   chan struct{}
	denied atomic.Pointer[func(subject string, publish bool)] // Who is told of subjects that are not permitted.
	full   atomic.Pointer[func()]                             // Who is told of subscriptions that the server has no room for.
}

// dial connects to one of the servers, which are tried in random order, within the timeout each. The
// connection ends with ctx.
func (u *upstream) dial(ctx context.Context, name string) (*conn, error) {
	c := &conn{failed: make(chan error, 1), ended: make(chan struct{}), lame: make(chan struct{})}
	ended := sync.OnceFunc(func() { close(c.ended) })
	lame := sync.OnceFunc(func() { close(c.lame) })
	secure, err := u.tlsConfig()
	if err != nil {
		return nil, err
	}
	o := natsgo.GetDefaultOptions()
	o.Servers, o.Name, o.AllowReconnect, o.IgnoreDiscoveredServers = u.servers, name, false, true
	o.Timeout, o.FlusherTimeout, o.PingInterval, o.MaxPingsOut = u.timeout, u.timeout, max(u.timeout/3, 10*time.Millisecond), 3
	o.CustomDialer, o.SkipHostLookup = &dialer{ctx, u.timeout, secure, u.secure, c}, true // Certificates have names.
	o.AsyncErrorCB = func(_ *natsgo.Conn, sub *natsgo.Subscription, err error) { c.said(sub, err) }
	o.DisconnectedErrCB = func(nc *natsgo.Conn, err error) { c.fail(lost(nc, err)) }
	o.ClosedCB = func(nc *natsgo.Conn) {
		c.fail(lost(nc, nil))
		ended()
	}
	o.LameDuckModeHandler = func(*natsgo.Conn) { lame() }
	if err := u.credentials(&o); err != nil {
		return nil, err
	}
	if c.Conn, err = o.Connect(); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return c, nil
}

// credentials reads who we are.
func (u *upstream) credentials(o *natsgo.Options) error {
	switch user := u.userNow(); {
	case user != nil:
		password, has := user.Password()
		if !has {
			o.Token = user.Username()
			return nil
		}
		o.User, o.Password = user.Username(), password
	case u.creds != "":
		return natsgo.UserCredentials(u.creds)(o)
	case u.nkey != "":
		with, err := natsgo.NkeyOptionFromSeed(u.nkey)
		if err != nil {
			return fmt.Errorf("the NKey of the option nkey: %w", err)
		}
		return with(o)
	}
	return nil
}

// lost is why a connection has ended.
func lost(nc *natsgo.Conn, err error) error {
	if err == nil {
		err = nc.LastError()
	}
	if err == nil {
		err = errors.New("the server has closed the connection")
	}
	return err
}

func (c *conn) fail(err error) {
	c.first.CompareAndSwap(nil, &err)
	select {
	case c.failed <- err:
	default:
	}
}

// violation is what a server says of a subject that is not permitted.
var violation = regexp.MustCompile(`(?i)permissions violation for (publish|subscription) to "([^"]+)"`)

// tooMany is what a server says of a subscription that is beyond its limit. It does not say which.
var tooMany = []byte("maximum subscriptions exceeded")

// hear takes an error of the server, on the goroutine that reads, before what comes behind it is read.
func (c *conn) hear(line []byte) {
	if m := violation.FindSubmatch(line); m != nil {
		if denied := c.denied.Load(); denied != nil {
			(*denied)(string(m[2]), strings.EqualFold(string(m[1]), "publish"))
		}
	} else if bytes.Contains(bytes.ToLower(line), tooMany) {
		if full := c.full.Load(); full != nil {
			(*full)()
			return
		}
		c.fail(natsgo.ErrMaxSubscriptionsExceeded)
	}
}

// said takes what nats.go says beside messages.
func (c *conn) said(sub *natsgo.Subscription, err error) {
	switch {
	case errors.Is(err, natsgo.ErrPermissionViolation), errors.Is(err, natsgo.ErrMaxSubscriptionsExceeded): // Heard.
	case errors.Is(err, natsgo.ErrBadHeaderMsg): // A publisher has written it. The message comes without.
	case errors.Is(err, natsgo.ErrSlowConsumer) && sub != nil && sub.Subject == newestSubject: // Who asks asks again.
	case errors.Is(err, natsgo.ErrSlowConsumer) && sub != nil:
		c.fail(errSlow)
	default:
		c.fail(err)
	}
}

// onDenied says who is told from now on of subjects that are not permitted, on the goroutine that reads.
func (c *conn) onDenied(denied func(subject string, publish bool)) { c.denied.Store(&denied) }

// onFull says who is told from now on of each subscription that the server has no room for, in their order, on the
// goroutine that reads. Without, the connection fails.
func (c *conn) onFull(full func()) { c.full.Store(&full) }

var errSlow = errors.New("messages came faster than they were taken, and some were dropped")

// deliver has the messages of subscriptions of the tap taken, on the goroutine that reads. A panic ends the
// connection.
func (c *conn) deliver(take func(*wireMessage)) {
	c.tap.deliver(func(m *wireMessage) {
		defer func() {
			if p := recover(); p != nil {
				c.fail(panics.Caught(panics.Feed, p))
			}
		}()
		take(m)
	})
}

// dialer is that of nats.go. Its connections end with ctx.
type dialer struct {
	ctx     context.Context
	timeout time.Duration
	config  *tls.Config // Nil is the usual.
	secure  bool
	c       *conn // Which gets the tap.
}

// SkipTLSHandshake tells nats.go that connections speak TLS already where they have to.
func (*dialer) SkipTLSHandshake() bool { return true }

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.ctx, d.timeout)
	defer cancel()
	to := net.Dialer{}
	nc, err := to.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	of := &bound{Conn: nc, stop: context.AfterFunc(d.ctx, func() { nc.Close() })}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if d.config != nil {
		config = d.config.Clone()
	}
	config.ServerName, _, _ = net.SplitHostPort(address)
	_ = nc.SetDeadline(time.Now().Add(d.timeout)) // It fails only if the connection has ended.
	if d.c.tap, err = greet(of, config, d.secure || d.config != nil); err != nil {
		of.Close()
		return nil, err
	}
	_ = nc.SetDeadline(time.Time{})
	if !of.stop() {
		return nil, d.ctx.Err()
	}
	// A link that ends has a moment to take its leave.
	of.stop = context.AfterFunc(d.ctx, func() { time.AfterFunc(leaveWait, func() { nc.Close() }) })
	d.c.tap.timeout, d.c.tap.said = d.timeout, d.c.hear
	return d.c.tap, nil
}

// bound is a connection that ends with a context.
type bound struct {
	net.Conn
	stop func() bool
}

func (b *bound) Close() error {
	b.stop()
	return b.Conn.Close()
}

// leaveWait is how long a connection lasts behind its link, if it is not closed before.
const leaveWait = 300 * time.Millisecond

// hint says what an operator can do about an error of a connection.
func hint(err error) string {
	text := strings.ToLower(err.Error())
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("certificate required", "bad certificate", "remote error: tls: unknown certificate"):
		return "show the server a certificate that it trusts: the options tls_cert and tls_key"
	case has("certificate is valid for", "cannot validate certificate", "certificate is not valid for"):
		return "use a name or an address that is in the server's certificate as the host in the URL"
	case has("x509: certificate has expired"):
		return "renew the server's certificate, or correct the clock of this host"
	case has("authentication expired"):
		return "issue new credentials, and put them into the file of the option creds: it is read for each connection"
	case has("authentication revoked"):
		return "the credentials were revoked: issue new ones, and put them into the file of the option creds: it is read for each connection"
	case has("authorization violation", "authentication"):
		return "correct user and password, token, NKey or credentials file in the URL, or issue new credentials if they have expired or were revoked; " +
			"the server's log says who was refused"
	case errors.Is(err, errSlow):
		return "give the edge more CPU, or read only what is wanted: mode=core without wildcard"
	case has("maximum payload", "maximum size", "exceeds maximum"):
		return "raise max_payload of the server, or the stream's max_msg_size, or publish shorter values"
	case errors.Is(err, errNoSubject):
		return "add the subjects of the topics to the stream (nats stream edit --subjects)"
	case has("maximum connections", "max_connections", "maximum account"):
		return "raise max_connections of the server, or of its account"
	case has("maximum subscriptions"):
		return "raise max_subscriptions of the server, or of its account, or use one subscription for all topics: wildcard=true"
	case errors.Is(err, errEverything):
		return "give the subjects a fixed part (subject=md.{topic}), use one subscription for all topics (wildcard=true), or a stream"
	case has("stale connection"):
		return "the server did not answer pings: it or the network was busy; raise -feed-timeout if that is usual"
	case has("tls", "certificate", "x509", "first record does not look like"):
		return "use tls:// if the server wants TLS and nats:// if it has none; the authority of its certificate goes into the option tls_ca"
	case errors.Is(err, errPart):
		return "name the stream of the topics in the URL (stream=NAME), or use mode=core; topics of which it has no subject get no ticks"
	case errors.Is(err, errRetention):
		return "the stream is to have retention limits and max-msgs-per-subject 1: another one deletes newest values as they are read"
	case errors.Is(err, errNoStream), has("stream not found"):
		return "create the stream (nats stream add), or use mode=core"
	case errors.Is(err, errSubjects):
		return "correct the option subject or stream of the URL, or give the stream the subjects (nats stream edit)"
	case errors.Is(err, errStream):
		return "none is needed: the edge goes over to the stream"
	case has("subjects overlap", "capturing all subjects"):
		return "name the stream that has the subjects by the option stream, or give these topics others, such as subject=md.{topic}"
	case has("jetstream not enabled", "no responders", "10039", "10076"):
		return "enable JetStream for the server and the account, or use mode=core"
	case has("maximum messages", "maximum bytes"):
		return "the stream is full, and does not discard old messages: raise its limits, or give it discard old"
	case has("permissions violation", "not permitted"):
		return "permit the subjects that docs/FEED.md lists for the user"
	case errors.Is(err, os.ErrDeadlineExceeded), has("timeout", "deadline"):
		return "the server does not answer: look at it, and at routes and firewalls"
	case has("connection refused", "no such host", "no route", "no servers"):
		return "start NATS, or correct -source"
	case has("eof", "reset by peer", "broken pipe", "connection closed", "closed the connection", "use of closed"):
		return "the server has closed the connection: it was stopped, or its log says why"
	}
	return "see the log of NATS"
}

// causeOf is why a broker refuses a topic, by an error.
func causeOf(err error) broker.Cause {
	text := strings.ToLower(err.Error())
	switch {
	case strings.Contains(text, "permission"):
		return broker.NotPermitted
	case strings.Contains(text, "no responders"), strings.Contains(text, "503"):
		return broker.Down
	}
	return broker.Unreachable
}
