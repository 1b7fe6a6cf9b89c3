// SPDX-License-Identifier: Apache-2.0

package redistest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Standin stands in for a Redis, a sentinel, or the only node of a Redis Cluster. It
// speaks as much of RESP2 as a feed needs in any mode, holds values, a stream and
// subscriptions, and breaks a reply, or what is pushed, where it is told to, see
// [Standin.Break]. It takes commands in any order, as it is not what is tested.
//
//	standin.go    connections, and when a reply is broken
//	commands.go   what the good replies are
//	breakage.go   what may come in place of a good reply, wherever it is due
//	broken.go     the same, where it depends on what is due
type Standin struct {
	listener net.Listener

	mu       sync.Mutex
	values   map[string]string
	stream   []entry
	added    chan struct{} // Closed when the stream has another entry.
	conns    map[*standinConn]struct{}
	gate     chan struct{} // Of connections that are accepted now: open it is held, closed it is not.
	accepted int
	links    int
	armed    *Play
	closed   bool

	serving sync.WaitGroup
}

// entry is one of the stream.
type entry struct{ id, topic, value string }

// Point is where a reply can be broken.
type Point string

// The points are those of an edge's way to its ticks.
const (
	Greeting        Point = "greeting"         // The answer to the first command of a connection.
	GreetingPing    Point = "greeting ping"    // To the first PING, before anything is subscribed.
	Confirmation    Point = "confirmation"     // To SUBSCRIBE.
	Message         Point = "message"          // What is pushed, by [Standin.Push].
	Pong            Point = "pong"             // To PING where something is subscribed.
	Fetch           Point = "fetch"            // To GETRANGE.
	StreamQueue     Point = "stream queue"     // To MULTI.
	StreamRead      Point = "stream read"      // To EXEC.
	StreamAwait     Point = "stream await"     // To an XREAD that waits.
	SentinelState   Point = "sentinel state"   // To SENTINEL MASTER.
	SentinelAddress Point = "sentinel address" // To SENTINEL GET-MASTER-ADDR-BY-NAME.
	Role            Point = "role"             // To ROLE.
	ClusterInfo     Point = "cluster info"     // To CLUSTER INFO.
	ClusterSlots    Point = "cluster slots"    // To CLUSTER SLOTS.

	PatternConfirmation Point = "pattern confirmation" // To PSUBSCRIBE.
	PatternMessage      Point = "pattern message"      // What is pushed to who has subscribed a pattern.
	ShardConfirmation   Point = "shard confirmation"   // To SSUBSCRIBE.
)

// StartStandin returns a stand-in on a port of 127.0.0.1 that ends with the test.
func StartStandin(t testing.TB) *Standin {
	t.Helper()
	s, err := NewStandin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// NewStandin returns a stand-in on a port of 127.0.0.1.
func NewStandin() (*Standin, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("redistest: listen: %w", err)
	}
	s := &Standin{
		listener: listener,
		values:   make(map[string]string),
		added:    make(chan struct{}),
		conns:    make(map[*standinConn]struct{}),
		gate:     make(chan struct{}),
	}
	close(s.gate)
	s.serving.Go(s.accept)
	return s, nil
}

// Close ends the stand-in with all its connections.
func (s *Standin) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.listener.Close()
	s.Release()
	s.Drop()
	s.serving.Wait()
}

// Addr is host:port.
func (s *Standin) Addr() string { return s.listener.Addr().String() }

// Accepted is how many connections there were, with a link or without.
func (s *Standin) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Links is how many of them subscribed to something, or read the stream.
func (s *Standin) Links() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.links
}

// Set sets the value of a key and tells nobody.
func (s *Standin) Set(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[key] = value
}

// Tick does what a publisher does for one tick, in one step: it sets the key, publishes on
// the channel, and adds an entry to the stream.
func (s *Standin) Tick(key, channel, topic, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[key] = value
	s.stream = append(s.stream, entry{streamID(len(s.stream) + 1), topic, value})
	close(s.added)
	s.added = make(chan struct{})
	for c := range s.conns {
		if push := c.push(channel, value); push != nil {
			c.send(sending{bytes: push})
		}
	}
}

// streamTime is the time of all entries, which are numbered from 1.
const streamTime = 1700000000000

func streamID(n int) string { return strconv.Itoa(streamTime) + "-" + strconv.Itoa(n) }

// Hold keeps the connections that are accepted from now on without any reply, until
// [Standin.Release].
func (s *Standin) Hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.gate:
		if !s.closed {
			s.gate = make(chan struct{})
		}
	default:
	}
}

// Release ends [Standin.Hold].
func (s *Standin) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.gate:
	default:
		close(s.gate)
	}
}

// Drop closes all connections that there are.
func (s *Standin) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// Play is a breakage that is played once, at the next reply that is due at its point.
type Play struct {
	s        *Standin
	point    Point
	breakage Breakage
	before   func()
	began    bool
	accepted int // Connections that there were when it began.
}

// Break arms a breakage in place of an earlier one. before is called right before it is
// played; it must not call Break.
func (s *Standin) Break(at Point, b Breakage, before func()) *Play {
	p := &Play{s: s, point: at, breakage: b, before: before}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = p
	return p
}

// Push plays a breakage at once to all connections that subscribe to channel. The good
// reply is a message with value.
func (s *Standin) Push(b Breakage, channel, value string, before func()) *Play {
	if before != nil {
		before()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &Play{s: s, point: Message, breakage: b, began: true, accepted: s.accepted}
	for c := range s.conns {
		if push := c.push(channel, value); push != nil {
			c.send(sending{bytes: push, play: p})
		}
	}
	return p
}

// Began reports whether the breakage is being played or was.
func (p *Play) Began() bool {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return p.began
}

// Redialled reports whether a connection was accepted since it began.
func (p *Play) Redialled() bool {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return p.began && p.s.accepted > p.accepted
}

// take is the breakage for a reply that is due at one of the points, or nil. The caller
// holds s.mu.
func (s *Standin) take(points []Point) *Play {
	p := s.armed
	if p == nil || !slices.Contains(points, p.point) {
		return nil
	}
	s.armed = nil
	return p
}

func (s *Standin) isArmed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.armed != nil
}

func (s *Standin) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // It was closed.
		}
		s.mu.Lock()
		c := &standinConn{Conn: conn, s: s, gate: s.gate, ended: make(chan struct{}), due: make(chan struct{}, 1),
			subscribed: make(map[string]string)}
		if s.closed {
			conn.Close()
		}
		s.accepted++
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.serving.Go(c.serve)
		s.serving.Go(c.writeOn)
	}
}

// standinConn is one connection. One goroutine reads commands and one writes, so that the
// end of the connection is seen whatever is being played.
type standinConn struct {
	net.Conn
	s     *Standin
	gate  chan struct{}
	ended chan struct{} // Closed when there is nothing more to be read.
	due   chan struct{} // Has an element when there may be something to be written.

	// Under s.mu.
	subscribed map[string]string // Names, each with the kind of its messages.
	linked     bool
	pinged     bool
	commands   int
	multi      bool
	queue      [][]string // Commands since MULTI.
	sendings   []sending
}

// sending is what is to be written: bytes, or what is played in their place.
type sending struct {
	bytes []byte
	play  *Play
}

// send has something written behind all that was sent before. The caller holds s.mu, so
// that messages, confirmations and values come in the order in which they came about.
func (c *standinConn) send(what sending) {
	c.sendings = append(c.sendings, what)
	select {
	case c.due <- struct{}{}:
	default:
	}
}

func (c *standinConn) writeOn() {
	defer c.Close()
	w := &Wire{c: c}
	for {
		select {
		case <-c.due:
		case <-c.ended:
			c.rearm()
			return
		}
		c.s.mu.Lock()
		sendings := c.sendings
		c.sendings = nil
		c.s.mu.Unlock()
		for _, what := range sendings {
			if what.play == nil {
				w.Write(what.bytes)
				continue
			}
			what.play.begin()
			what.play.breakage.Play(w, what.bytes)
		}
	}
}

// rearm leaves what was to be played on a connection that has ended before to another one.
func (c *standinConn) rearm() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for _, what := range c.sendings {
		if p := what.play; p != nil && !p.began && c.s.armed == nil {
			c.s.armed = p
		}
	}
}

// begin notes that it is played now.
func (p *Play) begin() {
	if p.before != nil {
		p.before()
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if !p.began {
		p.began, p.accepted = true, p.s.accepted
	}
}

func (c *standinConn) serve() {
	defer func() {
		c.Close()
		close(c.ended)
		c.s.mu.Lock()
		delete(c.s.conns, c)
		c.s.mu.Unlock()
	}()
	r := bufio.NewReaderSize(c, 64<<10)
	for {
		args, err := readCommand(r)
		if err != nil {
			return
		}
		<-c.gate
		if c.s.isArmed() && c.gone(r) {
			return
		}
		c.await(args)
		c.s.mu.Lock()
		points := c.points(args)
		c.send(sending{c.reply(args), c.s.take(points)})
		c.s.mu.Unlock()
	}
}

// gone reports whether the client has given up, as one does that is held for long. What is to be broken is
// for the next one then.
func (c *standinConn) gone(r *bufio.Reader) bool {
	defer c.SetReadDeadline(time.Time{})
	c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := r.Peek(1)
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// points are the points that the reply to a command is at. The caller holds s.mu.
func (c *standinConn) points(args []string) (points []Point) {
	if c.commands++; c.commands == 1 {
		points = append(points, Greeting)
	}
	name := strings.ToUpper(args[0])
	if len(args) > 1 && (name == "SENTINEL" || name == "CLUSTER") {
		name += " " + strings.ToUpper(args[1])
	}
	switch name {
	case "PING":
		switch {
		case len(c.subscribed) > 0:
			points = append(points, Pong)
		case !c.pinged:
			c.pinged = true
			points = append(points, GreetingPing)
		}
	case "SUBSCRIBE":
		points = append(points, Confirmation)
	case "PSUBSCRIBE":
		points = append(points, PatternConfirmation)
	case "SSUBSCRIBE":
		points = append(points, ShardConfirmation)
	case "GETRANGE":
		points = append(points, Fetch)
	case "MULTI":
		points = append(points, StreamQueue)
	case "EXEC":
		points = append(points, StreamRead)
	case "XREAD":
		if !c.multi {
			points = append(points, StreamAwait)
		}
	case "SENTINEL MASTER":
		points = append(points, SentinelState)
	case "SENTINEL GET-MASTER-ADDR-BY-NAME":
		points = append(points, SentinelAddress)
	case "ROLE":
		points = append(points, Role)
	case "CLUSTER INFO":
		points = append(points, ClusterInfo)
	case "CLUSTER SLOTS":
		points = append(points, ClusterSlots)
	}
	return points
}

// link notes that the connection is one of those that ticks come over. The caller holds
// s.mu.
func (c *standinConn) link() {
	if !c.linked {
		c.linked = true
		c.s.links++
	}
}

// push is the message of a channel as this connection gets it, nil if it does not. The
// caller holds s.mu.
func (c *standinConn) push(channel, value string) []byte {
	if kind := c.subscribed[channel]; kind != "" {
		return list(bulk(kind), bulk(channel), bulk(value))
	}
	for name, kind := range c.subscribed {
		if kind == "pmessage" {
			if ok, _ := path.Match(name, channel); ok {
				return list(bulk(kind), bulk(name), bulk(channel), bulk(value))
			}
		}
	}
	return nil
}

// commandMost bounds the arguments of a command, and argumentMost the bytes of each.
const (
	commandMost  = 4096
	argumentMost = 1 << 20
)

// readCommand reads one command, as clients write them.
func readCommand(r *bufio.Reader) ([]string, error) {
	n, err := readLength(r, '*', commandMost)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errors.New("redistest: a command without a name")
	}
	args := make([]string, n)
	for i := range args {
		size, err := readLength(r, '$', argumentMost)
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		args[i] = string(b[:size])
	}
	return args, nil
}

func readLength(r *bufio.Reader, kind byte, most int) (int, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(string(line[1:]), "\r\n"))
	if err != nil || line[0] != kind || n < 0 || n > most {
		return 0, fmt.Errorf("redistest: %q is no length of a command", line)
	}
	return n, nil
}
