// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/resp"
)

// parrot is a server that repeats what it is told, and answers nothing.
func parrot(t *testing.T, repeat func(args []string) string) (addr string) {
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
			go func() {
				defer conn.Close()
				for r := bufio.NewReader(conn); ; {
					args, err := readArgs(r)
					if err != nil {
						return
					}
					io.WriteString(conn, repeat(args))
				}
			}()
		}
	}()
	return l.Addr().String()
}

func readArgs(r *bufio.Reader) (args []string, err error) {
	var n, size int
	if _, err := fmt.Fscanf(r, "*%d\r\n", &n); err != nil {
		return nil, err
	}
	for range n {
		if _, err := fmt.Fscanf(r, "$%d\r\n", &size); err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		args = append(args, string(b[:size]))
	}
	return args, nil
}

// asRedis is how Redis repeats the arguments of a command that it does not know: up to 128 bytes,
// with the last cut, and no line ends.
func asRedis(args []string) string {
	var b strings.Builder
	for _, a := range args[1:] {
		if b.Len() >= 128 {
			break
		}
		fmt.Fprintf(&b, "'%.*s' ", 128-b.Len(), a)
	}
	text := strings.NewReplacer("\r", " ", "\n", " ").Replace(b.String())
	return fmt.Sprintf("-ERR unknown command '%s', with args beginning with: %s\r\n", args[0], text)
}

// Whatever repeats the command that a password is in, no log line, no error and nothing that can
// be read of the source has it.
func TestWhoRepeatsPasswords(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for name, repeat := range map[string]func([]string) string{
		"as Redis does": asRedis,
		"as an error":   func(args []string) string { return "-ERR bad " + strings.Join(args, " ") + "\r\n" },
		"as a status":   func(args []string) string { return "+" + strings.Join(args, " ") + "\r\n" },
		"as a bulk": func(args []string) string {
			text := strings.Join(args, " ")
			return "$" + strconv.Itoa(len(text)) + "\r\n" + text + "\r\n"
		},
		"byte for byte": func(args []string) string { return string(appendCommand(nil, args[0], args[1:])) },
		"as it is":      func(args []string) string { return strings.Join(args, " ") + "\r\n" },
	} {
		addr := parrot(t, repeat)
		for _, mode := range []string{"redis://u:%s@%s", "redis://:%s@%s stream", "redis-sentinel://a:%s@%s/m?sentinel_password=%[1]s", "redis-cluster://:%s@%s"} {
			password, parts := redistest.Password(random)
			password += strings.Repeat("x", 150*random.IntN(2))
			t.Run(name+" "+mode, func(t *testing.T) {
				url, stream, _ := strings.Cut(fmt.Sprintf(mode, redistest.Percent(password), addr), " ")
				cfg := At(url)
				if cfg.Timeout = time.Second; stream != "" {
					cfg.Mode, cfg.Stream = ModeStream, "s"
				}
				if strings.Contains(mode, "cluster") {
					cfg.Channel, cfg.Key = "c:{{topic}}", "k:{{topic}}"
				}
				r := run(t, cfg, limits)
				r.acquire("AAPL")
				r.eventually("an error", func() bool { return r.Stats().LastError != "" })
				p, said := newPublisher(t, cfg)
				go p.Publish(t.Context(), []broker.Tick{{Topic: "AAPL", Value: []byte("1")}})
				r.eventually("an error of the publisher", func() bool { return said.Count("publisher down") > 0 })
				for _, part := range parts {
					if all := r.log.String() + said.String() + fmt.Sprintf("%+v %v", r.Stats(), cfg.Config); strings.Contains(all, part) {
						t.Errorf("%s of the password is in:\n%s", part, all)
					}
				}
			})
		}
	}
}

func TestConceal(t *testing.T) {
	for _, c := range []struct{ text, password, want string }{
		{"ERR bad pa\"ss", "pa\"ss", "ERR bad xxxxx"},
		{`"AUTH pa\"ss"`, "pa\"ss", `"AUTH xxxxx"`},
		{"WRONGPASS invalid username-password pair", "PASS", "WRONGPASS invalid username-password pair"},
		{"WRONGPASS", "WRONGPASS", "WRONGPASS"},
		{"WRONGPASS it is WRONGPASS", "WRONGPASS", "WRONGPASS it is xxxxx"},
		{"ERR unknown command 'AUTH', with args beginning with: 'abcd", "abcdef", "ERR unknown command 'AUTH', (not shown)"},
		{"ERR x", "", "ERR x"},
	} {
		if got := conceal(c.text, c.password); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.text, got, c.want)
		}
	}
	// What is ours stays as it is, and so does its kind.
	for _, err := range []error{nil, io.EOF, &net.DNSError{Name: "redis"}, &resp.Error{What: "x", Near: "y"}} {
		if got := (veil{"redis"}).hide(err); got != err {
			t.Errorf("%v becomes %v", err, got)
		}
	}
}

// What is between an edge and Redis may repeat a password as the answer to a later command, as one
// that has sent its own answer to AUTH before that of Redis does.
func TestWhoRepeatsPasswordsLate(t *testing.T) {
	t.Parallel()
	refusal := "-ERR bad line: auth " + secret + "\r\n"
	for name, repeat := range map[string]func(command string) (reply string, answered bool){
		"SELECT":      func(c string) (string, bool) { return refusal, c == "select" },
		"PING":        func(c string) (string, bool) { return refusal, c == "ping" },
		"SUBSCRIBE":   func(c string) (string, bool) { return refusal, c == "subscribe" },
		"a status":    func(c string) (string, bool) { return "+OK " + secret + "\r\n", c == "subscribe" },
		"a bulk":      func(c string) (string, bool) { return bulkOf("auth " + secret), c == "select" },
		"no reply":    func(c string) (string, bool) { return "AUTH " + secret + "\r\n", c == "subscribe" },
		"GETRANGE":    func(c string) (string, bool) { return refusal, c == "getrange" },
		"another one": func(c string) (string, bool) { return "+OK\r\n" + refusal, c == "auth" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newPuppet(t, func(_ *puppetConn, args []string) (string, bool) {
				if reply, answered := repeat(args[0]); answered {
					return reply, true
				}
				return "+OK\r\n", args[0] == "auth" || args[0] == "select"
			})
			cfg := At("redis://u:" + secret + "@" + s.listener.Addr().String() + "/1")
			cfg.Timeout = time.Second
			r := run(t, cfg, limits) // Whose log must not hold the password.
			r.acquire("AAPL")
			r.eventually("it is said", func() bool { return r.log.Count("level=ERROR")+r.log.Count("level=WARN") > 0 })
			if all := fmt.Sprintf("%+v", r.Stats()); strings.Contains(all, secret) {
				t.Errorf("the password is in %s", all)
			}
		})
	}
}
