// SPDX-License-Identifier: Apache-2.0

package resp

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"tickedge/internal/broker/redis/redistest"
)

var record = flag.Bool("record", false, "record testdata anew, from the redis-server in PATH")

// The files of testdata: what a Redis has sent to a connection that subscribes, and replies to
// the commands of the feed.
const (
	pushedFile  = "pushed.resp"
	repliesFile = "replies.resp"
)

func recorded(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tape is a connection to a Redis that keeps what it sends.
type tape struct {
	t     *testing.T
	conn  net.Conn
	heard []byte
}

func newTape(t *testing.T, addr string) *tape {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &tape{t: t, conn: conn}
}

// do sends commands and waits until the answer ends with what is due.
func (p *tape) do(due string, commands ...[]string) {
	p.t.Helper()
	var out string
	for _, c := range commands {
		out += push(c...)
	}
	io.WriteString(p.conn, out)
	p.until(due)
}

func (p *tape) until(due string) {
	p.t.Helper()
	p.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	from, b := len(p.heard), make([]byte, 64<<10)
	for !strings.HasSuffix(string(p.heard[from:]), due) {
		n, err := p.conn.Read(b)
		p.heard = append(p.heard, b[:n]...)
		if err != nil {
			p.t.Fatalf("%q and no %q: %v", p.heard[from:], due, err)
		}
	}
}

func words(s string) []string { return strings.Fields(s) }

// TestTraffic lets a real Redis say all that is read here, and finds nothing of it wrong.
func TestTraffic(t *testing.T) {
	s := redistest.Start(t)
	p, other := newTape(t, s.Addr()), newTape(t, s.Addr())
	p.do("+PONG\r\n", words("ping"))
	p.do("$1\r\n1\r\n", words("ping 1"))
	p.do("\r\n", words("auth wrong"))
	p.do("+OK\r\n", words("select 3"))
	p.do("+OK\r\n", words("client setname edge"))
	p.do(":3\r\n", words("subscribe price:A price:B price:C"))
	p.do("2\r\n", words("ping 2"))
	publish := func(channel, value string) { other.do("\r\n", []string{"publish", channel, value}) }
	publish("price:A", `{"p":189.87,"ts":1732181723411}`)
	publish("price:B", "")
	publish("price:C", "\r\n$5\r\n\x00\xff")
	publish("price:A", strings.Repeat("x", keep+100))
	p.do("\r\n", words("get x"))
	p.do(":4\r\n", words("psubscribe price:*"))
	publish("price:A", "1")
	publish("price:"+strings.Repeat("n", NameMax), "2")
	p.do(":1\r\n", words("ssubscribe price:A"))
	other.do("\r\n", words("spublish price:A 3"))
	p.do(":0\r\n", words("sunsubscribe price:A"))
	p.do(":3\r\n", words("unsubscribe price:A"))
	p.do(":2\r\n", words("punsubscribe price:*"))
	p.do("$1\r\n9\r\n", words("ping 9"))

	q := newTape(t, s.Addr())
	q.do("\r\n", words("hello 2"))
	q.do("+OK\r\n", words("set price:A 1"))
	q.do("$1\r\n1\r\n$0\r\n\r\n", words("getrange price:A 0 4096"), words("getrange none 0 4096"))
	q.do("\r\n", words("xadd s 1-1 topic A value 1"), words("xadd s 1-2 topic B value 2"))
	q.do("2\r\n", words("multi"), words("xinfo stream s"), words("xread count 500 streams s 0-0"), words("exec"))
	q.do("-1\r\n", words("xread count 1 streams s 1-2"))
	q.do("\r\n", words("lpush l 1"), words("getrange l 0 1"))
	q.do("\r\n", words("xinfo stream none"))
	q.do("\r\n", words("role"))
	q.do("+PONG\r\n", words("cluster slots"), words("ping"))
	if *record {
		for file, b := range map[string][]byte{pushedFile: p.heard, repliesFile: q.heard} {
			if err := os.WriteFile(filepath.Join("testdata", file), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Servers differ in their texts, but not in what they say.
	kinds := func(stream string) (kinds []string) {
		list, err := events(stream, 4096)
		if err != io.EOF {
			t.Fatal(err)
		}
		for _, e := range list {
			kinds = append(kinds, e[:strings.IndexByte(e, ' ')])
		}
		return kinds
	}
	if now, then := kinds(string(p.heard)), kinds(recorded(t, pushedFile)); !slices.Equal(now, then) {
		t.Errorf("this Redis sends %v, and that of testdata sent %v", now, then)
	}
	for _, stream := range [][]byte{q.heard, p.heard} {
		var f Follower
		if n, err := f.Follow(stream); err != nil || !f.complete() {
			t.Errorf("%d of %d bytes pass, %v", n, len(stream), err)
		}
	}
	// The largest replies that go-redis asks for by itself have room.
	q = newTape(t, s.Addr())
	q.do("\r\n+PONG\r\n", words("command"), words("ping"))
	f, deepest := Follower{}, 0
	for i := range q.heard {
		if _, err := f.Follow(q.heard[i : i+1]); err != nil {
			t.Fatal(err)
		}
		deepest = max(deepest, f.depth)
	}
	t.Logf("COMMAND has %d bytes, arrays %d deep", len(q.heard), deepest)
}

// Whatever becomes of the recorded traffic on its way: the reader does not panic, and makes the
// same of it however it comes.
func TestPrefixesAndMutations(t *testing.T) {
	for _, file := range []string{pushedFile, repliesFile} {
		stream := recorded(t, file)
		for i := range len(stream) {
			if i > 8 && i < len(stream)-8 && strings.Count(stream[i-8:i+8], stream[i:i+1]) == 16 {
				continue // Within a long text, where one byte is like the other.
			}
			same(t, stream[:i])
			old := stream[i]
			for _, c := range []byte{0, '0', '9', '-', '\r', '\n', '*', '$', ':', old ^ 1, old ^ 0x80} {
				same(t, stream[:i]+string([]byte{c})+stream[i+1:])
			}
			same(t, stream[:i]+stream[i+1:])
		}
	}
}

// same fails if a stream is taken differently in other pieces.
func same(t *testing.T, stream string) {
	t.Helper()
	whole, wholeErr := events(stream, len(stream)+1)
	cut, cutErr := events(stream, 97)
	if !slices.Equal(whole, cut) || (wholeErr == io.EOF) != (cutErr == io.EOF) {
		t.Fatalf("%q is\n%q, %v\nand in pieces\n%q, %v", stream, whole, wholeErr, cut, cutErr)
	}
	var f, g Follower
	n, err := follow(&f, stream, len(stream)+1)
	m, err2 := follow(&g, stream, 97)
	if n != m || (err == nil) != (err2 == nil) {
		t.Fatalf("of %q %d bytes pass, %v, and in pieces %d, %v", stream, n, err, m, err2)
	}
}

// scripted is a connection to nobody, from which a stream can be read.
type scripted struct {
	net.Conn
	io.Reader
}

func (c *scripted) Read(b []byte) (int, error)       { return c.Reader.Read(b) }
func (c *scripted) Write(b []byte) (int, error)      { return len(b), nil }
func (c *scripted) Close() error                     { return nil }
func (c *scripted) SetDeadline(time.Time) error      { return nil }
func (c *scripted) SetReadDeadline(time.Time) error  { return nil }
func (c *scripted) SetWriteDeadline(time.Time) error { return nil }
func (c *scripted) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *scripted) LocalAddr() net.Addr              { return &net.TCPAddr{} }

// goRedis is a client that reads a stream once.
func goRedis(stream string) *redis.Client {
	dialled := false
	return redis.NewClient(&redis.Options{
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			if dialled {
				return nil, io.ErrClosedPipe
			}
			dialled = true
			return &scripted{Reader: strings.NewReader("-ERR unknown command\r\n" + stream)}, nil
		},
		Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1, PipelinePoolSize: -1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// goRedisEvents is what go-redis makes of what is pushed, as far as it gets.
func goRedisEvents(stream string) (list []string) {
	client := goRedis(stream)
	defer client.Close()
	sub := client.Subscribe(context.Background())
	defer sub.Close()
	defer func() { recover() }() // It panics with some streams, which is why there is a reader.
	for {
		m, err := sub.Receive(context.Background())
		var said redis.Error
		switch {
		case errors.As(err, &said):
			list = append(list, Event{Kind: Refusal, Payload: []byte(said.Error())}.String())
			continue
		case err != nil:
			return list
		}
		var e Event
		switch m := m.(type) {
		case *redis.Message:
			e = Event{Kind: Message, Channel: []byte(m.Channel), Payload: []byte(m.Payload)}
			if m.PayloadSlice != nil {
				return list
			}
		case *redis.Subscription:
			e = Event{Kind: Kind(m.Kind), Channel: []byte(m.Channel), Count: int64(m.Count)}
		case *redis.Pong:
			e = Event{Kind: Pong, Payload: []byte(m.Payload)}
		}
		list = append(list, e.String())
	}
}

// checkReader compares the reader with go-redis, as far as both get.
func checkReader(t *testing.T, stream string) {
	var ours []string
	r := NewReader(strings.NewReader(stream), keep)
	for {
		e, err := r.Next()
		if err != nil || e.Skipped > 0 || e.Channel == nil && strings.HasSuffix(string(e.Kind), "message") {
			break // What is skipped go-redis would keep.
		}
		switch e.Kind { // These two go-redis does not tell apart.
		case PMessage, SMessage:
			e.Kind = Message
		case OK:
			e.Kind = Pong
		}
		ours = append(ours, e.String())
	}
	theirs := goRedisEvents(stream)
	n := min(len(ours), len(theirs))
	if !slices.Equal(ours[:n], theirs[:n]) {
		t.Fatalf("%q is\n%q\nand to go-redis\n%q", stream, ours, theirs)
	}
}

// checkFollower compares the follower with go-redis: if all of a stream passes, go-redis finds as
// many replies in it, or comes upon something that it does not take.
func checkFollower(t *testing.T, stream string) {
	if len(stream) > 4096 {
		return
	}
	var f Follower
	replies := 0
	for i := range len(stream) {
		if _, err := f.Follow([]byte(stream[i : i+1])); err != nil {
			return
		}
		if f.complete() {
			replies++
		}
	}
	if !f.complete() {
		return
	}
	const last = 4711 // The reply behind them.
	client := goRedis(stream + fmt.Sprintf(":%d\r\n", last))
	defer client.Close()
	pipe := client.Pipeline()
	for range replies + 1 {
		pipe.Do(context.Background(), "x")
	}
	cmds, err := pipe.Exec(context.Background())
	var said redis.Error
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		t.Fatalf("%q has %d replies, and to go-redis less", stream, replies)
	case err != nil && !errors.As(err, &said): // It does not take them.
	case cmds[replies].(*redis.Cmd).Val() != int64(last):
		t.Fatalf("%q has %d replies, and to go-redis the last is %v, %v", stream, replies, cmds[replies].(*redis.Cmd).Val(), err)
	}
}

// seeds are what the fuzzers begin with: every reply and event by itself, and all together.
func seeds(f *testing.F) {
	for _, file := range []string{pushedFile, repliesFile} {
		stream := recorded(f, file)
		f.Add(stream)
		var follower Follower
		for start, i := 0, 0; i < len(stream); i++ {
			follower.Follow([]byte(stream[i : i+1]))
			if follower.complete() {
				f.Add(stream[start : i+1])
				start = i + 1
			}
		}
	}
	for _, s := range []string{"*0\r\n", "*1\r\n", "$-1\r\n", "*-1\r\n", ":-1\r\n", "+\r\n", "*2\r\n*0\r\n$0\r\n\r\n"} {
		f.Add(s)
	}
}

func FuzzReader(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, stream string) {
		same(t, stream)
		checkReader(t, stream)
	})
}

func FuzzFollower(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, stream string) {
		same(t, stream)
		checkFollower(t, stream)
	})
}
