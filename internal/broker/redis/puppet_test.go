// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// puppet is a server that does what a feed asks of Redis, as far as a test does not have it
// do something else.
type puppet struct {
	t        *testing.T
	listener net.Listener
	// odd answers a command in place of the server, if it says so. It is called for one
	// command at a time.
	odd func(c *puppetConn, args []string) (reply string, answered bool)

	mu     sync.Mutex
	conns  []*puppetConn     // In the order in which they came.
	values map[string]string // Of keys.
	asked  map[string]int    // How often a command with its first argument came.
}

// puppetConn is one connection to a puppet.
type puppetConn struct {
	net.Conn
	index    int // From 0.
	channels []string
}

func newPuppet(t *testing.T, odd func(c *puppetConn, args []string) (string, bool)) *puppet {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &puppet{t: t, listener: l, odd: odd, values: make(map[string]string), asked: make(map[string]int)}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			c := &puppetConn{Conn: conn, index: len(s.conns)}
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			go s.serve(c)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		s.cut()
	})
	return s
}

func (s *puppet) config() config { return At("redis://" + s.listener.Addr().String()) }

// cut closes all connections.
func (s *puppet) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
}

func (s *puppet) set(topic, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values["price:"+topic] = value
}

// count is how often a command came, with its first argument.
func (s *puppet) count(command string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[command]
}

func bulkOf(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

func (s *puppet) serve(c *puppetConn) {
	defer c.Close()
	r := bufio.NewReader(c)
	line := func() string {
		text, _ := r.ReadString('\n')
		return strings.TrimSpace(text)
	}
	for {
		n, err := strconv.Atoi(strings.TrimPrefix(line(), "*"))
		if err != nil {
			return
		}
		args := make([]string, n)
		for i := range args {
			size, _ := strconv.Atoi(strings.TrimPrefix(line(), "$"))
			b := make([]byte, size+2)
			if _, err := io.ReadFull(r, b); err != nil {
				return
			}
			args[i] = string(b[:size])
		}
		args[0] = strings.ToLower(args[0])
		s.mu.Lock()
		s.asked[strings.Join(args[:min(len(args), 2)], " ")]++
		reply, answered := s.odd(c, args)
		if !answered {
			reply = s.answer(c, args)
		}
		_, err = io.WriteString(c, reply)
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// answer does what Redis does. The caller holds s.mu.
func (s *puppet) answer(c *puppetConn, args []string) (reply string) {
	switch args[0] {
	case "ping":
		switch {
		case len(args) == 1:
			return "+PONG\r\n"
		case len(c.channels) == 0:
			return bulkOf(args[1])
		}
		return bulk("pong", args[1])
	case "subscribe", "psubscribe":
		for _, channel := range args[1:] {
			c.channels = append(c.channels, channel)
			reply += fmt.Sprintf("*3\r\n%s%s:%d\r\n", bulkOf(args[0]), bulkOf(channel), len(c.channels))
		}
		return reply
	case "unsubscribe":
		for _, channel := range args[1:] {
			c.channels = slices.DeleteFunc(c.channels, func(has string) bool { return has == channel })
			reply += fmt.Sprintf("*3\r\n%s%s:%d\r\n", bulkOf(args[0]), bulkOf(channel), len(c.channels))
		}
		return reply
	case "getrange":
		return bulkOf(s.values[args[1]])
	}
	return "-ERR unknown command\r\n"
}

// Whatever a link does not serve ends it, and the next one serves it: a pong that is lost or
// changed, and commands that are not answered while other things come.
func TestWhatIsNotServedEndsTheLink(t *testing.T) {
	silent := func(command string) func(*puppetConn, []string) (string, bool) {
		return func(_ *puppetConn, args []string) (string, bool) { return "", args[0] == command }
	}
	for name, c := range map[string]struct {
		mode  Mode
		odd   func(c *puppetConn, args []string) (string, bool) // Of the first connection, once the first topic is served.
		error error
	}{
		"a pong is lost": {odd: func() func(*puppetConn, []string) (string, bool) {
			lost := false
			return func(_ *puppetConn, args []string) (string, bool) {
				if args[0] != "ping" || lost {
					return "", false
				}
				lost = true
				return "", true
			}
		}(), error: errPong},
		"a pong is changed": {odd: func(_ *puppetConn, args []string) (string, bool) {
			return bulk("pong", "0"), args[0] == "ping"
		}, error: errPong},
		"pings are not answered, and messages come": {odd: func(_ *puppetConn, args []string) (string, bool) {
			return bulk("message", "channel:prices:FIRST", "7"), args[0] == "ping"
		}, error: errNoPong},
		"SUBSCRIBE is not answered":   {odd: silent("subscribe"), error: errUnanswered},
		"UNSUBSCRIBE is not answered": {odd: silent("unsubscribe"), error: errUnanswered},
		"nothing is answered":         {odd: func(*puppetConn, []string) (string, bool) { return "", true }, error: errSilent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begin := false // Under the puppet's lock.
			s := newPuppet(t, func(conn *puppetConn, args []string) (string, bool) {
				if !begin || conn.index > 0 {
					return "", false
				}
				return c.odd(conn, args)
			})
			cfg := s.config()
			cfg.Timeout = 2 * time.Second // A busy machine is not silent for as long.
			r := run(t, cfg, topics.Config{Max: 100})
			s.set("FIRST", "1")
			r.acquire("FIRST", "LEAVES")
			r.settled()
			r.eventually("up", func() bool { return r.table.Health().Up })
			s.mu.Lock()
			begin = true
			s.mu.Unlock()
			s.set("SECOND", "2")
			r.acquire("SECOND")
			r.release("LEAVES")
			r.eventually("the link ends for what is wrong", func() bool { return r.Stats().LastError != "" })
			if e := r.Stats().LastError; !strings.Contains(e, c.error.Error()) {
				t.Errorf("last error = %q, want %q", e, c.error)
			}
			r.eventually("the value over the next link", func() bool { return r.value("SECOND") == "2" })
			r.eventually("up", func() bool { return r.table.Health().Up })
			if st := r.Stats(); st.Counts[broker.Connects] < 2 || st.Lag > cfg.Timeout {
				t.Errorf("stats = %+v", st)
			}
		})
	}
}

// A pattern that is not confirmed serves nothing: the feed is not up, and the link ends.
func TestPatternIsNotAnswered(t *testing.T) {
	var refused int
	s := newPuppet(t, func(c *puppetConn, args []string) (string, bool) {
		if args[0] == "psubscribe" && refused < 2 {
			refused++
			return "", true
		}
		return "", false
	})
	cfg := s.config()
	cfg.Mode, cfg.Timeout = ModePattern, time.Second
	r := run(t, cfg, limits)
	up := false
	r.eventually("a third link", func() bool {
		s.mu.Lock() // What is confirmed is so after refused has become 2.
		up = up || refused < 2 && r.table.Health().Up
		n := s.asked["psubscribe channel:prices:*"]
		s.mu.Unlock()
		return n == 3
	})
	if up {
		t.Error("up without a subscription")
	}
	if n := r.log.Count("feed up"); n > 1 {
		t.Errorf("the log says %d times that the feed is up", n)
	}
	if e := r.Stats().LastError; e != errUnanswered.Error() {
		t.Errorf("last error = %q", e)
	}
	r.eventually("up", func() bool { return r.table.Health().Up })
}

// While Redis is away clients ask for what they like. When it is back, that has no part in
// whether the feed is up: not while the new names can't be read, nor when links come and go.
func TestNamesOfAnOutageDoNotKeepTheFeedDown(t *testing.T) {
	away := false // Under the puppet's lock, as is ready.
	ready := map[string]bool{}
	s := newPuppet(t, func(c *puppetConn, args []string) (string, bool) {
		if away && args[0] == "ping" {
			return "-LOADING Redis is loading the dataset in memory\r\n", true
		}
		if args[0] == "getrange" && strings.HasPrefix(args[1], "price:NEW") {
			return "-LOADING Redis is loading the dataset in memory\r\n", true
		}
		if args[0] == "getrange" && !ready[args[1]] {
			return "-LOADING Redis is loading the dataset in memory\r\n", true
		}
		return "", false
	})
	become := func(isAway, isReady bool) {
		s.mu.Lock()
		away, ready["price:OLD"] = isAway, isReady
		s.mu.Unlock()
	}
	become(true, true)
	r := run(t, s.config(), limits)
	r.acquire("NEW0")
	r.eventually("an attempt", func() bool { return r.Stats().LastError != "" })
	become(false, true)
	r.eventually("up, as nothing was wanted when the process began", func() bool { return r.table.Health().Up })
	r.acquire("OLD")
	r.eventually("the value is read", func() bool { read, _ := r.wants.hasRead("OLD"); return read })

	become(true, true)
	r.release("NEW0")
	r.table.Sweep(time.Now().Add(time.Hour))
	r.eventually("it is given up", func() bool { return r.wants.len() == 1 })
	s.cut()
	r.eventually("down", func() bool { return !r.table.Health().Up }) // The gap has begun.
	for i := range 4 {
		r.acquire(fmt.Sprint("NEW1", i))
		asked := s.count("ping")
		r.eventually("another attempt", func() bool { return s.count("ping") > asked })
	}
	if r.table.Health().Up {
		t.Error("up without a link")
	}
	become(false, false)
	connects := r.Stats().Counts[broker.Connects]
	r.eventually("a link", func() bool { return r.Stats().Counts[broker.Connects] > connects })
	asked := s.count("getrange price:OLD")
	r.eventually("several fetches", func() bool { return s.count("getrange price:OLD") > asked+3 })
	if r.table.Health().Up {
		t.Error("up, and a value that was there before could not be read")
	}
	become(false, true)
	r.eventually("up", func() bool { return r.table.Health().Up })
	if r.value("NEW10") != "" || s.count("getrange price:NEW10") == 0 {
		t.Error("the new names were read after all: this shows nothing")
	}
}

// A key whose fetch fails for ever, and for itself, costs nobody else the time until the next
// attempt, and the feed is up without it: its topic is stale.
func TestOneKeyFails(t *testing.T) {
	fails := true // Under the puppet's lock.
	s := newPuppet(t, func(_ *puppetConn, args []string) (string, bool) {
		return "-ERR upstream failure\r\n", fails && args[0] == "getrange" && args[1] == "price:BROKEN"
	})
	r := run(t, s.config(), limits)
	r.acquire("BROKEN")
	r.eventually("it is stale", func() bool { return r.table.Stale(r.ids["BROKEN"]) > 0 })
	before := s.count("getrange price:BROKEN")
	const others = 40
	for i := range others {
		name := fmt.Sprint("T", i)
		s.set(name, "1")
		r.acquire(name)
		r.eventually("the value of "+name, func() bool { return r.value(name) == "1" })
	}
	if n := s.count("getrange price:BROKEN") - before; n > others/2 {
		t.Errorf("%d attempts for %d topics: they wait for each other", n, others)
	}
	s.cut()
	r.eventually("another link", func() bool { return r.Stats().Counts[broker.Connects] == 2 })
	r.eventually("up without it", func() bool { return r.table.Health().Up })
	s.set("BROKEN", "2")
	s.mu.Lock()
	fails = false
	s.mu.Unlock()
	r.eventually("its value, once it can be read", func() bool { return r.value("BROKEN") == "2" })
	if r.table.Stale(r.ids["BROKEN"]) > 0 {
		t.Error("stale with its newest value")
	}
}
