// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/panics"
	"tickedge/internal/resp"
)

// hint says what an operator can do about an error of a Redis connection.
func hint(err error) string {
	var panicked *panics.Error
	if errors.As(err, &panicked) {
		return panics.Hint
	}
	if said := goredis.Error(nil); errors.As(err, &said) {
		return replyHint(said.Error())
	}
	if closed := (*farewell)(nil); errors.As(err, &closed) {
		return replyHint(closed.said)
	}
	for _, of := range []func(error) string{streamHint, handshakeHint, networkHint} {
		if text := of(err); text != "" {
			return text
		}
	}
	return "see the log of Redis"
}

// replyHint is that for what Redis says in place of an answer.
func replyHint(text string) string {
	if h := answerOf(text).hint; h != "" {
		return h
	}
	if lower := strings.ToLower(text); strings.HasPrefix(lower, "err unknown command") {
		switch {
		case strings.Contains(lower, "sentinel"):
			return "the server is no sentinel: give the sentinels, mostly on port 26379, or use redis:// in the URL"
		case strings.Contains(lower, "ssubscribe"), strings.Contains(lower, "cluster"):
			return "a Redis Cluster has to be Redis 7 or later, which has sharded Pub/Sub, with no proxy in between"
		}
		return "if the server is a sentinel use redis-sentinel://host:26379/master in the URL; " +
			"else permit the command, in Redis (rename-command) or a proxy in front of it"
	}
	return "see the log of Redis"
}

// streamHint is that for what came and is not what Redis sends, and for what is wrong with where
// the servers are.
func streamHint(err error) string {
	var broken *resp.Error
	switch {
	case errors.As(err, &broken) && strings.Contains(broken.Near, tlsAlert):
		return "the port is one for TLS: use rediss:// in the URL"
	case errors.As(err, &broken) && strings.Contains(broken.Near, `"HTTP/`):
		return "a web server answers at the address in the Redis URL: correct host and port"
	case errors.As(err, &broken) && strings.Contains(broken.Near, `"INFO {`):
		return "a NATS server answers at the address in the Redis URL: use nats:// in the URL"
	case errors.As(err, &broken):
		return "find out what answers at the address in the Redis URL, and what is in between: it is no Redis, or is broken"
	case errors.Is(err, errNoMaster):
		return "correct the master's name in the Redis URL, or the hosts of the sentinels"
	case errors.Is(err, errTheirLoopback):
		return "have the sentinels monitor the master by an address that is reached from here (SENTINEL MONITOR, replica-announce-ip)"
	case errors.Is(err, errNotMaster):
		return "wait until the failover is over; if it stays so, see the log of the sentinels"
	case errors.Is(err, errOnePlace), errors.Is(err, errNoHost):
		return "let the nodes say where they are (cluster-announce-ip, or cluster-announce-hostname and cluster-preferred-endpoint-type hostname)"
	case errors.Is(err, errPong), errors.Is(err, errUnanswered), errors.Is(err, errNoPong):
		return "if there is a proxy in front of Redis, see whether it passes all commands and replies on, unchanged and in their order"
	}
	return ""
}

// tlsAlert is how an alert begins (RFC 8446, 5.1), as it is quoted in an error.
const tlsAlert = `"\x15\x03`

// handshakeHint is that for a connection that did not become one by TLS.
func handshakeHint(err error) string {
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var op *net.OpError
	var failed *handshakeError
	switch {
	case errors.As(err, &cert):
		return "trust the authority of the server's certificate (-redis-tls-ca, or SSL_CERT_FILE), or use a name in it as the host"
	case errors.As(err, &record):
		return "the port is not one for TLS: use redis:// without the second s in the URL, or the port that tls-port of Redis names"
	case errors.As(err, &op) && op.Op == "remote error": // A TLS alert.
		return "show Redis a certificate that it trusts (-redis-tls-cert, -redis-tls-key)"
	case errors.As(err, &failed):
		return "the server takes connections and does not answer in TLS: if the port is a plain one use redis:// without the second s in the URL, " +
			"else see the log of Redis"
	}
	return ""
}

// networkHint is that for what the network says.
func networkHint(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	dialled := errors.As(err, &op) && op.Op == "dial"
	timeout := errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
	switch {
	case errors.As(err, &dns):
		return "correct the host in the Redis URL, or its entry in the DNS"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return "start Redis, or correct the address in the Redis URL"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return "permit the edge to connect: the socket of Redis (unixsocketperm, the groups of the user), or the firewall of this host"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no way from this host to the address in the Redis URL: correct it, or see routes, firewalls and the network of the container"
	case dialled && timeout:
		return "nothing answers at the address in the Redis URL: correct it, or see whether a firewall drops packets to it"
	case timeout, errors.Is(err, errSilent):
		return "find out whether Redis is stopped or overloaded (redis-cli --latency), or packets are dropped on the way"
	case errors.Is(err, errNoWord):
		return "if the port is one for TLS use rediss:// in the URL; else see the log of Redis, or of what is in front of it"
	case errors.Is(err, errNoSecureWord):
		return "see the log of Redis: it may want a certificate (-redis-tls-cert, -redis-tls-key)"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "see the log of Redis: a restart, CLIENT KILL, or client-output-buffer-limit pubsub"
	case dialled:
		return "check the address in the Redis URL and the network"
	}
	return ""
}

// isMoved goes by the first word alone: what is behind it may leave the host out.
func isMoved(err error) bool { return goredis.HasErrorPrefix(err, "MOVED ") }
