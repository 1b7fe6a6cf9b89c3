// SPDX-License-Identifier: Apache-2.0

// Package nats is NATS as a broker: a source that reads subjects, or a JetStream stream which keeps the
// newest message of each, and a publisher. It alone knows nats.go.
//
//	config.go     what can be set
//	url.go        URLs, cut apart
//	subject.go    topics as subjects
//	conn.go       a connection, and what operators are told of one that fails
//	source.go     what is wanted, over all links; refused.go what is refused of it
//	link.go       one connection, and what it has in common in both modes
//	core.go       a link without a stream
//	jetstream.go  a link to a stream: what comes; position.go has where it is, get.go its newest values,
//	              multi.go those that are asked for in batches
//	newest.go     how newest values are asked for where no broker has them
//	publisher.go  publishing; fence.go into a stream, responder.go without one
package nats

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"tickedge/internal/broker"
)

// DefaultTimeout is the silence after which a connection is taken for dead, unless the configuration has
// another.
const DefaultTimeout = 5 * time.Second

// Config is one source, or one publisher: where the servers are, and how topics are named there.
type Config struct {
	// URL is where the servers are, of which one is connected to:
	//
	//	nats://[user:password@|token@]host[:port][,host[:port]…][?options]
	//
	// tls in place of nats wants TLS; with nats it is used if a server wants it. The options are
	//
	//	subject=md.prod.{topic}    the subject of a topic, {topic} by default
	//	mode=core or jetstream     without or with a stream; by default with one if there is one
	//	stream=NAME                the stream; by default the one that has the subjects
	//	wildcard=true              without a stream: one subscription for all topics
	//	creds=FILE, nkey=FILE      a credentials file, or one with the seed of an NKey
	//	tls_ca=FILE                authorities of the server's certificate, besides those of the system
	//	tls_cert=FILE, tls_key=FILE  the certificate that is shown to the server, and its key
	//
	// Files are PEM, and read anew for each connection.
	URL string
	// Timeout is the silence after which a connection is taken for dead, and bounds every connect and
	// request. The default is [DefaultTimeout].
	Timeout time.Duration
	// Renewed may have a URL with another user and password, or another token, than URL has. Nil has none.
	Renewed *broker.Renewed
}

// Is reports whether a URL is for this package.
func Is(url string) bool {
	scheme := schemeOf(url)
	return scheme == "nats" || scheme == "tls"
}

// String is the URL, with xxxxx for what is secret.
func (c Config) String() string { return redact(c.URL) }

// Validate returns what is wrong with c, or nil. It never repeats a URL, which may hold a password.
func (c Config) Validate() error {
	_, err := c.upstream()
	return err
}

// Source implements [broker.Config].
func (c Config) Source(owner broker.Owner, log *slog.Logger) (broker.Source, error) {
	u, err := c.upstream()
	if err != nil {
		return nil, err
	}
	return newSource(u, owner, log), nil
}

// Publisher implements [broker.Config].
func (c Config) Publisher(ctx context.Context, log *slog.Logger) (broker.Publisher, error) {
	u, err := c.upstream()
	if err != nil {
		return nil, err
	}
	return newPublisher(ctx, u, log), nil
}

// connFiles is how many descriptors a connection takes. While it is dialled, two sockets look its name
// up, and then two may try addresses of both families (RFC 8305). A new one is made before the old is closed.
const connFiles = 4

// Files implements [broker.Config].
func (c Config) Files() int { return connFiles }

func (c Config) timeout() time.Duration { return cmp.Or(c.Timeout, DefaultTimeout) }
