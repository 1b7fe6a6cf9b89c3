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
	var dns *net.DNSError
	var op *net.OpError
	var cert *tls.CertificateVerificationError
	var panicked *panics.Error
	var broken *resp.Error
	if said := goredis.Error(nil); errors.As(err, &said) {
		err = said // go-redis knows some of its errors by how they begin.
	}
	switch {
	case errors.As(err, &panicked):
		return panics.Hint
	case goredis.IsAuthError(err):
		return "correct the user or the password in the Redis URL"
	case goredis.IsPermissionError(err):
		return "permit the Redis user the commands, channels and keys of the feed (ACL SETUSER)"
	case goredis.HasErrorPrefix(err, "WRONGTYPE"):
		return "correct the names of keys: the newest value of a topic has to be a string, and a stream a stream"
	case goredis.IsMaxClientsError(err):
		return "raise maxclients in the configuration of Redis"
	case goredis.IsLoadingError(err), goredis.IsMasterDownError(err):
		return "wait until Redis has loaded its data"
	case goredis.HasErrorPrefix(err, "BUSY "):
		return "wait until the script that runs in Redis has ended, or end it (SCRIPT KILL, FUNCTION KILL)"
	case goredis.HasErrorPrefix(err, "OOM "):
		return "give Redis more memory (maxmemory), or let it evict what is not needed (maxmemory-policy)"
	case goredis.HasErrorPrefix(err, "MISCONF"):
		return "see the log of Redis for why it can't save its data to disk"
	case goredis.HasErrorPrefix(err, "READONLY"):
		return "use the address of the primary in the Redis URL, or sentinels: this server is a replica"
	case errors.As(err, &broken):
		return "find out what answers at the address in the Redis URL, and what is in between: it is no Redis, or is broken"
	case errors.As(err, &dns):
		return "correct the host in the Redis URL, or its entry in the DNS"
	case errors.As(err, &cert):
		return "trust the authority of the server's certificate (-redis-tls-ca, or SSL_CERT_FILE), or use a name in it as the host"
	case errors.As(err, &op) && op.Op == "remote error": // A TLS alert.
		return "show Redis a certificate that it trusts (-redis-tls-cert, -redis-tls-key)"
	case errors.Is(err, errNoMaster):
		return "correct the master's name in the Redis URL, or the hosts of the sentinels"
	case errors.Is(err, errNotMaster):
		return "wait until the failover is over; if it stays so, see the log of the sentinels"
	case err != nil && strings.Contains(err.Error(), "cluster support disabled"):
		return "the server is no part of a Redis Cluster: use redis:// in the URL"
	case isMoved(err):
		return "the server is part of a Redis Cluster: use redis-cluster:// in the URL"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return "start Redis, or correct the address in the Redis URL"
	case errors.Is(err, errSilent), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "find out whether Redis is stopped or overloaded (redis-cli --latency), or packets are dropped on the way"
	case errors.Is(err, errPong), errors.Is(err, errUnanswered), errors.Is(err, errNoPong):
		return "if there is a proxy in front of Redis, see whether it passes all commands and replies on, unchanged and in their order"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "see the log of Redis: a restart, CLIENT KILL, or client-output-buffer-limit pubsub"
	case errors.As(err, &op) && op.Op == "dial":
		return "check the address in the Redis URL and the network"
	}
	return "see the log of Redis"
}

func isMoved(err error) bool {
	_, moved := goredis.IsMovedError(err)
	return moved
}
