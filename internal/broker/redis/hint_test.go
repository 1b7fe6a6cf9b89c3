// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker/redis/redistest"
)

// says is a server that says one thing to whoever comes, and closes the connection.
func says(t *testing.T, text string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, text)
			conn.(*net.TCPConn).CloseWrite()
			time.AfterFunc(time.Minute, func() { conn.Close() })
		}
	}()
	return l.Addr().String()
}

// hold takes a place among the clients of a server, as soon as there is one.
func hold(t *testing.T, s *redistest.Server) {
	t.Helper()
	redistest.Eventually(t, "a place among the clients", func() bool {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			return false
		}
		io.WriteString(conn, "PING\r\n")
		line, _ := bufio.NewReader(conn).ReadString('\n')
		if !strings.HasPrefix(line, "+PONG") {
			conn.Close()
			return false
		}
		t.Cleanup(func() { conn.Close() })
		return true
	})
}

// What operators do wrong with real servers, and what the log tells them to do about it.
func TestHintsOfMistakes(t *testing.T) {
	t.Parallel()
	ca := redistest.NewCA(t)
	open, secured := redistest.StartTLS(t, ca), redistest.Start(t, "--requirepass", secret)
	full := redistest.Start(t)
	full.Do("CONFIG", "SET", "maxclients", "1")
	hold(t, full)
	web := httptest.NewServer(nil)
	t.Cleanup(web.Close)
	webAddr := web.Listener.Addr().String()
	denied := says(t, "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user.\r\n")
	for _, c := range []struct{ name, url, want string }{
		{"plain on a port for TLS", "redis://" + open.TLSAddr(), "use rediss:// in the URL"},
		{"TLS on a plain port", "rediss://" + open.Addr() + "?skip_verify=true", "use redis:// without the second s"},
		{"a cluster by TLS on a plain port", "rediss-cluster://" + open.Addr() + "?skip_verify=true", "use redis:// without the second s"},
		{"maxclients", full.URL(), "raise maxclients"},
		{"maxclients of sentinels", "redis-sentinel://" + full.Addr() + "/m", "raise maxclients"},
		{"a wrong password", "redis://:x@" + secured.Addr(), "correct the user or the password"},
		{"a wrong user", "redis://nobody:" + secret + "@" + secured.Addr(), "correct the user or the password"},
		{"no password", secured.URL(), "Redis wants a password: put it into the Redis URL"},
		{"a password too much", "redis://:x@" + open.Addr(), "Redis asks for no password"},
		{"no such database", open.URL() + "/99", "correct the database"},
		{"protected mode", "redis://" + denied, "protected mode"},
		{"a web server", "redis://" + webAddr, "a web server answers"},
		{"a web server as a cluster", "redis-cluster://" + webAddr, "a web server answers"},
		{"nobody", "redis://" + redistest.New(t).Addr(), "start Redis, or correct the address"},
		{"no socket", "unix:///nowhere/redis.sock", "start Redis, or correct the address"},
		// A sentinel takes subscriptions as a server does, and knows no values.
		{"a sentinel", redistest.StartGuard(t, open).URL(), "use redis-sentinel://host:26379/master"},
		{"no cluster", "redis-cluster://" + open.Addr(), "the server is no part of a Redis Cluster"},
		{"no sentinel", "redis-sentinel://" + open.Addr() + "/m", "the server is no sentinel"},
		{"closed without a word", "redis://" + says(t, ""), "if the port is one for TLS use rediss://"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := At(c.url)
			cfg.Timeout = 2 * time.Second
			if strings.Contains(c.url, "-cluster") {
				cfg.Channel, cfg.Key = "c:{{topic}}", "k:{{topic}}"
			}
			r := run(t, cfg, limits)
			r.acquire("AAPL")
			r.eventually("the hint", func() bool { return r.log.Count(c.want) > 0 })
		})
	}
}

// What Redis says, as it says it, and what to do.
func TestHintsOfReplies(t *testing.T) {
	for said, want := range map[string]string{
		"NOAUTH Authentication required.": "put it into the Redis URL",
		"NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option": "put it into the Redis URL",
		"WRONGPASS invalid username-password pair or user is disabled.":                                                            "correct the user or the password",
		"ERR invalid password":                         "correct the user or the password",
		"ERR Client sent AUTH, but no password is set": "asks for no password",
		"ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?": "asks for no password",
		"ERR wrong number of arguments for 'auth' command":                                 "older than 6",
		"ERR max number of clients reached":                                                "raise maxclients",
		"ERR max number of clients + cluster connections reached":                          "raise maxclients",
		"NOPERM this user has no permissions to run the 'subscribe' command":               "ACL SETUSER",
		"DENIED Redis is running in protected mode because":                                "requirepass",
		"LOADING Redis is loading the dataset in memory":                                   "has loaded",
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": "lost its primary",
		"READONLY You can't write against a read only replica.":                            "give the primary",
		"MISCONF Redis is configured to save RDB snapshots":                                "disk that is full",
		"OOM command not allowed when used memory > 'maxmemory'.":                          "maxmemory",
		"BUSY Redis is busy running a script.":                                             "SCRIPT KILL",
		"CLUSTERDOWN Hash slot not served":                                                 "redis-cli --cluster check",
		"MOVED 3999 :6381":                                                                 "redis-cluster://",
		"MOVED 3999 ?:6381":                                                                "redis-cluster://",
		"ASK 3999 fd00::1:6381":                                                            "redis-cluster://",
		"WRONGTYPE Operation against a key holding the wrong kind of value":                "has to be a string",
		"ERR unknown command 'GETRANGE', with args beginning with: 'k' ":                   "redis-sentinel://",
		"ERR unknown command `ssubscribe`, with args beginning with: ":                     "Redis 7 or later",
		"ERR something else":                                                               "see the log of Redis",
	} {
		for _, err := range []error{redisError(said), fmt.Errorf("connect: auth: %w", redisError(said))} {
			if got := hint(err); !strings.Contains(got, want) {
				t.Errorf("hint of %v is %q, want %q in it", err, got, want)
			}
		}
	}
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	for want, err := range map[string]error{
		"firewall of this host":     dial(os.NewSyscallError("connect", syscall.EACCES)),
		"no way from this host":     dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)),
		"firewall drops packets":    dial(os.ErrDeadlineExceeded),
		"stopped or overloaded":     fmt.Errorf("receive: %w", errSilent),
		"does not answer in TLS":    &handshakeError{os.ErrDeadlineExceeded},
		"its entry in the DNS":      dial(&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}),
		"client-output-buffer":      fmt.Errorf("receive: %w", io.EOF),
		"may want a certificate":    fmt.Errorf("connect: %w: %w", errNoSecureWord, io.EOF),
		"redis-cli --cluster check": goredis.Error(redisError("CLUSTERDOWN The cluster is down")),
		"SENTINEL MONITOR":          fmt.Errorf("127.0.0.1:7: %w: %w", errTheirLoopback, dial(os.NewSyscallError("connect", syscall.ECONNREFUSED))),
		"see the log of Redis":      errors.New("x"),
	} {
		if got := hint(err); !strings.Contains(got, want) {
			t.Errorf("hint of %v is %q, want %q in it", err, got, want)
		}
	}
}

// MOVED and ASK say which slot, however little they say of the host.
func TestMovedWithoutAHost(t *testing.T) {
	for text, want := range map[string]uint16{
		"MOVED 3999 127.0.0.1:6381": 3999, "MOVED 3999 :6381": 3999, "MOVED 3999 ?:6381": 3999, "ASK 7 ::1:6381": 7, "MOVED 3999 ": 3999,
		"ASK 16383 [::1]:6381": 16383, "MOVED 3999": 3999,
	} {
		err := redisError(text)
		if slot, given := slotIn(err); !isMisplaced(err) || !given || slot != want {
			t.Errorf("%q: misplaced %v, slot %d, %v", text, isMisplaced(err), slot, given)
		}
	}
}
