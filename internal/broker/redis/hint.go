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

// saids are what Redis says, by how it begins, and what to do about it. The first that fits holds.
var saids = []struct{ begins, hint string }{
	{"NOAUTH", "Redis wants a password: put it into the Redis URL, redis://user:password@host, or redis://:password@host without a user"},
	{"WRONGPASS", "correct the user or the password in the Redis URL (ACL LIST shows the users)"},
	{"ERR invalid password", "correct the user or the password in the Redis URL"},
	{"ERR AUTH <password> called without", "Redis asks for no password: leave it out of the Redis URL, or set requirepass there"},
	{"ERR Client sent AUTH, but no password", "Redis asks for no password: leave it out of the Redis URL, or set requirepass there"},
	{"ERR wrong number of arguments for 'auth'", "this Redis is older than 6 and has no users: leave the user out of the Redis URL, redis://:password@host"},
	{"NOPERM", "permit the Redis user the commands, channels and keys of the feed (ACL SETUSER)"},
	{"DENIED", "Redis is in protected mode, which lets in its own host only: set a password (requirepass) and put it into the Redis URL, " +
		"or bind it to a private address and set protected-mode no"},
	{"ERR max number of clients", "raise maxclients in the configuration of Redis, and its limit of open files with it, or find out who holds the connections (CLIENT LIST)"},
	{"WRONGTYPE", "correct the names of keys: the newest value of a topic has to be a string, and a stream a stream"},
	{"LOADING", "wait until Redis has loaded its data"},
	{"MASTERDOWN", "the server is a replica that has lost its primary: wait, or give the primary, or the sentinels (redis-sentinel://)"},
	{"READONLY", "the server is a replica, which takes no writes: give the primary, or the sentinels (redis-sentinel://)"},
	{"CLUSTERDOWN", "the Redis Cluster is down, or has slots without a node: redis-cli --cluster check"},
	{"MISCONF", "Redis can't store its data and takes no writes: see its log, mostly for a disk that is full"},
	{"OOM", "Redis has as much memory as it may: raise maxmemory, or set an eviction policy"},
	{"BUSY ", "a script runs in Redis: wait, or end it (SCRIPT KILL, FUNCTION KILL)"},
	{"MOVED", "the server is part of a Redis Cluster: use redis-cluster:// in the URL"},
	{"ASK", "the server is part of a Redis Cluster: use redis-cluster:// in the URL"},
	{"ERR This instance has cluster support disabled", "the server is no part of a Redis Cluster: use redis:// in the URL"},
	{"ERR DB index is out of range", "correct the database in the Redis URL, or raise databases in the configuration of Redis"},
	{"ERR SELECT is not allowed in cluster mode", "a Redis Cluster has no databases: use redis-cluster:// in the URL, without one"},
}

// replyHint is that for what Redis says in place of an answer.
func replyHint(text string) string {
	for _, s := range saids {
		if strings.HasPrefix(text, s.begins) {
			return s.hint
		}
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
