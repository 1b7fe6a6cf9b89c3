// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/feed"
	"tickedge/internal/resp"
	"tickedge/internal/topics"
)

// fake is a server that answers as a test wants it to.
type fake struct {
	net.Listener
	answer func(conn int, command string) string

	mu    sync.Mutex
	conns int
	heard []string // Commands, with blanks between their words.
}

// newFake starts one. It answers a command on the connection of an index with what answer
// returns.
func newFake(t testing.TB, answer func(conn int, command string) string) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{Listener: l, answer: answer}
	t.Cleanup(func() { l.Close() })
	go func() {
		for index := 0; ; index++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns++
			f.mu.Unlock()
			go f.serve(conn, index)
		}
	}()
	return f
}

func (f *fake) serve(conn net.Conn, index int) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	number := func() int {
		line, _ := in.ReadString('\n')
		n, _ := strconv.Atoi(strings.Trim(line, "*$\r\n"))
		return n
	}
	for {
		words := make([]string, number())
		for i := range words {
			b := make([]byte, number()+2)
			if _, err := io.ReadFull(in, b); err != nil {
				return
			}
			words[i] = string(b[:len(b)-2])
		}
		if len(words) == 0 {
			return
		}
		command := strings.Join(words, " ")
		f.mu.Lock()
		f.heard = append(f.heard, command)
		f.mu.Unlock()
		io.WriteString(conn, f.answer(index, command))
	}
}

func (f *fake) commands() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.heard)
}

func (f *fake) dialled() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conns
}

// wellBehaved answers as a Redis does that holds nothing.
func wellBehaved(command string) string {
	words := strings.Fields(command)
	switch words[0] {
	case "hello":
		return "-ERR unknown command 'HELLO'\r\n"
	case "ping":
		if len(words) == 1 {
			return "+PONG\r\n"
		}
		return fmt.Sprintf("*2\r\n$4\r\npong\r\n$%d\r\n%s\r\n", len(words[1]), words[1])
	case "subscribe":
		var s string
		for i, name := range words[1:] {
			s += fmt.Sprintf("*3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:%d\r\n", len(name), name, i+1)
		}
		return s
	case "getrange":
		return "$0\r\n\r\n"
	}
	return "+OK\r\n"
}

func TestGreeting(t *testing.T) {
	for path, want := range map[string]string{
		"":                                      "ping",
		":" + secret + "@":                      "auth " + secret + ", ping",
		"edge:" + secret + "@":                  "auth edge " + secret + ", ping",
		"edge:" + secret + "@/3?client_name=me": "auth edge " + secret + ", select 3, client setname me, ping",
	} {
		f := newFake(t, func(_ int, command string) string { return wellBehaved(command) })
		userinfo, rest, _ := strings.Cut(path, "@")
		if rest != "" || userinfo != "" {
			userinfo += "@"
		}
		r := run(t, At("redis://"+userinfo+f.Addr().String()+rest), limits)
		r.eventually("up", func() bool { return r.Stats().Connected })
		if got := strings.Join(f.commands(), ", "); !strings.HasPrefix(got, want) {
			t.Errorf("with %s the greeting is %q, want %q", path, got, want)
		}
		r.stop()
	}
}

// A greeting that is answered wrongly ends the attempt, with a line that says what to do and
// does not hold the password, which newLog sees to.
func TestGreetingFails(t *testing.T) {
	for name, test := range map[string]struct {
		to, answer string
		want       []string
	}{
		"password":                {"auth", "-WRONGPASS invalid username-password pair\r\n", []string{"auth: WRONGPASS", "correct the user or the password"}},
		"no password":             {"ping", "-NOAUTH Authentication required.\r\n", []string{"ping: NOAUTH", "Redis wants a password"}},
		"an error that repeats":   {"auth", "-ERR unknown command 'auth', with args beginning with: '" + secret + "'\r\n", []string{"unknown command 'auth', (not shown)"}},
		"another that repeats":    {"auth", "-ERR what is " + secret + "?\r\n", []string{"ERR what is xxxxx?"}},
		"an echo":                 {"auth", "*2\r\n$4\r\nauth\r\n$11\r\n" + secret + "\r\n", []string{"not what Redis sends", "(not shown)"}},
		"database":                {"select", "-ERR DB index is out of range\r\n", []string{"select: ERR DB index"}},
		"loading":                 {"ping", "-LOADING Redis is loading\r\n", []string{"wait until Redis has loaded"}},
		"HTTP":                    {"ping", "HTTP/1.1 400 Bad Request\r\n\r\n", []string{"HTTP/1.1 400", "a web server answers"}},
		"NATS":                    {"ping", "INFO {\"server_id\":\"N\"}\r\n", []string{"INFO {", "use nats://"}},
		"another kind of answer":  {"ping", "+OK\r\n", []string{"another answer than the one that is due"}},
		"an answer that is early": {"select", "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nv\r\n", []string{"select: not what Redis sends"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, func(_ int, command string) string {
				if strings.HasPrefix(command, test.to) {
					return test.answer
				}
				return wellBehaved(command)
			})
			r := run(t, At("redis://edge:"+secret+"@"+f.Addr().String()+"/1"), limits)
			r.eventually("a line in the log", func() bool { return r.log.Count("feed down") == 1 })
			for _, want := range test.want {
				if r.log.Count(want) == 0 {
					t.Errorf("the log lacks %q: %s", want, r.log)
				}
			}
			r.eventually("another attempt", func() bool { return f.dialled() > 1 })
		})
	}
}

// Whatever is pushed that Redis would not push: it ends the link with a line that shows it, and
// the next link works.
func TestBrokenPush(t *testing.T) {
	for _, broken := range []string{
		"*0\r\n", "*-1\r\n", "*3\r\n$7\r\nmessage\r\n$-1\r\n$1\r\n1\r\n", "*3\r\n$9\r\nsubscribe\r\n$1\r\nA\r\n$1\r\n1\r\n",
		"*3\r\n$7\r\nmessage\r\n$1\r\nA\r\n*1\r\n$1\r\n1\r\n", "*3\r\n$7\r\nmessage\r\n$9999999999\r\n", "*1000000000\r\n",
		strings.Repeat("*1\r\n", 1000), "$-1\r\n", ":1\r\n", "+OK\r\n", ">2\r\n", "*2\r\n$4\r\npong\r\n:1\r\n", "-" + strings.Repeat("x", 10_000) + "\r\n",
	} {
		f := newFake(t, func(conn int, command string) string {
			if conn == 0 && strings.HasPrefix(command, "subscribe") {
				return broken
			}
			return wellBehaved(command)
		})
		r := run(t, At("redis://"+f.Addr().String()), limits)
		r.acquire("A")
		r.settled()
		if r.log.Count("feed down") != 1 || r.log.Count("receive: not what Redis sends") != 1 || r.log.Count("panic") > 0 {
			t.Errorf("%.40q: the log is %s", broken, r.log)
		}
		if st := r.Stats(); st.Counts[broker.Connects] != 2 || st.Counts[broker.Broken] != 1 {
			t.Errorf("%.40q: stats = %+v", broken, st)
		}
		r.stop()
	}
}

// A length that is claimed costs nothing, whatever asked for it, and the values come all the
// same.
func TestBrokenFetch(t *testing.T) {
	for _, broken := range []string{"$1073741824\r\n", "$-5\r\n", "+" + strings.Repeat("x", 1<<20), "*1000000000\r\n", "%1\r\n", "$4\r\n12345678"} {
		var once sync.Once
		f := newFake(t, func(_ int, command string) string {
			if strings.HasPrefix(command, "getrange") {
				answer := "$1\r\n5\r\n"
				once.Do(func() { answer = broken })
				return answer
			}
			return wellBehaved(command)
		})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := run(t, At("redis://"+f.Addr().String()), limits)
		r.acquire("A")
		r.eventually("the value", func() bool { return r.value("A") == "5" })
		if r.log.Count("newest values not fetched") != 1 || r.log.Count("not what Redis sends") != 1 {
			t.Errorf("%.40q: the log is %s", broken, r.log)
		}
		r.stop()
		if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 16<<20 {
			t.Errorf("%.40q: %d bytes were allocated", broken, after.TotalAlloc-before.TotalAlloc)
		}
	}
}

// looped is a connection from which a text comes again and again.
type looped struct {
	net.Conn
	text string
	at   int
}

func (c *looped) Read(b []byte) (n int, err error) {
	for n < len(b) {
		more := copy(b[n:], c.text[c.at:])
		n, c.at = n+more, (c.at+more)%len(c.text)
	}
	return n, nil
}

// loopedLink is a link to nobody that receives messages of T0, T1 and so on, with these
// values by turns.
func loopedLink(t *testing.T, cfg config, values ...string) (*link, *topics.Table, *feed.Feed) {
	t.Helper()
	table := topics.New(limits)
	f := cfg.feed(t, table, slog.New(slog.DiscardHandler))
	s := cfg.server()
	var text string
	for i, v := range values {
		name := fmt.Sprint("T", i)
		if _, err := table.Acquire([]byte(name), 0); err != nil {
			t.Fatal(err)
		}
		channel := s.channel.name(name)
		text += fmt.Sprintf("*3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(channel), channel, len(v), v)
	}
	return newLink(s, &looped{text: text}), table, f
}

// next receives one event.
func (l *link) next(t *testing.T) resp.Event {
	t.Helper()
	e, err := l.in.Next()
	if err != nil {
		t.Fatal(err)
	}
	l.s.receive(e, l.at)
	return e
}

// The row is all that a message costs.
func TestMessageAllocatesItsRow(t *testing.T) {
	cfg := At("redis://127.0.0.1:1")
	for field, value := range map[string]string{"": benchValue, "seq": `{"seq":"12.5","m":{"ts":1}}`} {
		cfg.VersionField = field
		l, _, _ := loopedLink(t, cfg, strings.Replace(value, "12.5", "1", 1), value)
		if field == "" {
			if n := testing.AllocsPerRun(1000, func() { l.next(t) }); n != 1 {
				t.Errorf("%v allocations per message, want 1", n)
			}
			continue
		}
		l.next(t)
		l.next(t)
		if n := testing.AllocsPerRun(1000, func() { l.next(t) }); n != 0 {
			t.Errorf("%v allocations per message that is the row already", n)
		}
	}
}

// Names and values are looked at where they were read. Nothing of them is kept: the next read
// takes their place.
func TestNothingIsKeptOfTheBuffer(t *testing.T) {
	cfg := At("redis://127.0.0.1:1")
	cfg.VersionField = "v"
	l, table, _ := loopedLink(t, cfg, `{"v":2}`, `{"v":"x"}`, `{"v":1}`, `[`)
	id, _ := table.Find([]byte("T0"))
	for range 3 {
		e := l.next(t)
		for _, b := range [][]byte{e.Channel, e.Payload} {
			for i := range b {
				b[i] = 'X'
			}
		}
	}
	if got := string(table.Row(id).JSON()); got != `{"s":"T0","n":1,"v":{"v":2}}` {
		t.Errorf("row = %s", got)
	}
}

// A message to a channel whose name is too long is of no topic, even where the name is all
// there is.
func TestMessageWithoutAName(t *testing.T) {
	cfg := At("redis://127.0.0.1:1")
	cfg.Channel = placeholder
	l, _, f := loopedLink(t, cfg, "1")
	l.s.receive(resp.Event{Kind: resp.PMessage}, 1)
	if st := f.Stats(); st.Counts[broker.Unwanted] != 1 || st.Flaws[broker.NotJSON] != 0 {
		t.Errorf("stats = %+v", st)
	}
}

// The filter lets pass what comes before the fault, and nothing behind it.
func TestFilter(t *testing.T) {
	near, far := net.Pipe()
	go io.WriteString(far, "+OK\r\n$99999999\r\nmore")
	f := &filter{Conn: near}
	got, err := io.ReadAll(f)
	if string(got) != "+OK\r\n$999999" || err == nil || !strings.Contains(err.Error(), "a bulk of more") {
		t.Errorf("%q, %v", got, err)
	}
	if _, again := f.Read(make([]byte, 10)); again != err {
		t.Errorf("then %v", again)
	}
	if err := near.SetDeadline(time.Now()); err != io.ErrClosedPipe {
		t.Errorf("the connection is not closed: %v", err)
	}
}

// A message that is too long is skipped, and costs nobody the next one.
func TestSkippedMessage(t *testing.T) {
	for _, mode := range []Mode{ModeChannel, ModePattern} {
		s := redistest.Start(t)
		cfg := plain(s)
		cfg.Mode = mode
		r := run(t, cfg, limits)
		r.acquire("AAPL")
		r.eventually("subscribed", func() bool { return r.Stats().Channels == 1 })
		s.Do("PUBLISH", "channel:prices:AAPL", huge)
		s.Do("PUBLISH", "channel:prices:"+strings.Repeat("n", 100_000), huge)
		publish(s, "AAPL", "2")
		r.eventually("the tick behind them", func() bool { return r.value("AAPL") == "2" })
		if st := r.Stats(); st.Flaws[broker.TooBig] != 1 || st.Counts[broker.Connects] != 1 || mode == ModePattern && st.Counts[broker.Unwanted] != 1 {
			t.Errorf("stats = %+v", st)
		}
		if r.log.Count(fmt.Sprint("bytes=", len(huge))) != 1 {
			t.Errorf("the log does not say how long it is: %s", r.log)
		}
	}
}
