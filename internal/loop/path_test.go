// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"tickedge/internal/fanout"
)

func TestFromTickToClient(t *testing.T) {
	e := serve(t)
	first := conforming(t, e, "")
	if hello := hear(t, first, "hello"); len(hello.Conn) != 8 || hello.Interval != 100 || hello.MaxTopics != 256 {
		t.Errorf("hello = %+v", hello)
	}
	say(t, first, `{"op":"subscribe","topics":["AAPL","bad name"],"id":"one"}`)
	ack := hear(t, first, "ack")
	if string(ack.ID) != `"one"` || string(ack.Topics) != "1" || len(ack.Rejected) != 1 || ack.Rejected[0].Code != 422 {
		t.Errorf("ack = %+v", ack)
	}
	wantRow := func(m message, n uint64, v string) {
		t.Helper()
		if len(m.Rows) != 1 || m.Rows[0].S != "AAPL" || m.Rows[0].N != n || string(m.Rows[0].V) != v {
			t.Errorf("%s of %+v, want n %d and v %s", m.T, m.Rows, n, v)
		}
	}
	// The value is passed on byte for byte.
	e.publish("AAPL", `{"p": 189.870,"q":1e2}`)
	wantRow(hear(t, first, "update"), 1, `{"p": 189.870,"q":1e2}`)

	second := conforming(t, e, "")
	hear(t, second, "hello")
	say(t, second, `{"op":"subscribe","topics":["AAPL"]}`)
	hear(t, second, "ack")
	wantRow(hear(t, second, "snapshot"), 1, `{"p": 189.870,"q":1e2}`)
	e.publish("AAPL", "2")
	for _, c := range []*websocket.Conn{first, second} {
		wantRow(hear(t, c, "update"), 2, "2")
	}
	say(t, second, `{"op":"unsubscribe","topics":["AAPL"]}`)
	hear(t, second, "ack")
	e.publish("AAPL", "3")
	wantRow(hear(t, first, "update"), 3, "3")
	say(t, second, `{"op":"list","id":7}`)
	if m := hear(t, second, "topics"); string(m.ID) != "7" || string(m.Topics) != "[]" {
		t.Errorf("topics = %+v", m)
	}
	for _, c := range []*websocket.Conn{first, second} {
		if err := c.Close(websocket.StatusNormalClosure, "done"); err != nil {
			t.Error(err)
		}
	}
	e.wantClosed("peer_close", "1000", 2)
	until(t, func() bool { return e.Conns() == 0 && e.table.Subscriptions() == 0 }, "both to be gone")
	if st := e.Stats(); st.Loop[Accepted] != 2 || st.Loop[WebSockets] != 2 || st.Loop[Commands] != 4 || st.Count[fanout.Snapshots] != 1 || st.Count[fanout.UpdateRows] != 4 {
		t.Errorf("stats = %+v", st)
	}
}

func TestOpeningInTheQuery(t *testing.T) {
	e := serve(t)
	c := conforming(t, e, "?topics=AAPL,MSFT&interval=200")
	if hello := hear(t, c, "hello"); hello.Interval != 200 {
		t.Errorf("hello = %+v", hello)
	}
	if ack := hear(t, c, "ack"); string(ack.Topics) != "2" {
		t.Errorf("ack = %+v", ack)
	}
	e.publish("AAPL", "1")
	hear(t, c, "update")
	// Names are what they are when they were unescaped. Of those that are none and can't be
	// shown there is the place.
	world := []string{"^GSPC", "EURUSD=X", "M&M.NS", "ES1!", "btcusdt@depth5", "币安人生USDT", "BTC+ETH", "A#1", "100%"}
	w := conforming(t, e, "?topics="+url.QueryEscape(strings.Join(world[:3], ","))+",%ff,EURUSD=X,A+B&topics="+url.QueryEscape(strings.Join(world[3:], ",")))
	hear(t, w, "hello")
	ack := hear(t, w, "ack")
	if string(ack.Topics) != "9" || len(ack.Rejected) != 2 || ack.Rejected[0].Index != 3 || ack.Rejected[0].Topic != "" || ack.Rejected[1].Topic != "A B" {
		t.Errorf("ack = %+v", ack)
	}
	say(t, w, `{"op":"list"}`)
	var listed []string
	if err := json.Unmarshal(hear(t, w, "topics").Topics, &listed); err != nil || !slices.Equal(listed, world) {
		t.Errorf("topics = %q: %v", listed, err)
	}
	// Rows that are there come with the 101, in one go with it.
	d := conforming(t, e, "?topics=AAPL")
	hear(t, d, "hello")
	hear(t, d, "ack")
	if m := hear(t, d, "snapshot"); len(m.Rows) != 1 || m.Rows[0].S != "AAPL" {
		t.Errorf("snapshot = %+v", m)
	}
	// Too many topics are an error, after which the conn goes on.
	many := dialRaw(t, e.Addr())
	if err := many.handshake("?topics=" + strings.Join(names("T", 257), ",")); err != nil {
		t.Fatal(err)
	}
	many.want("hello")
	if m := many.want("error"); m.Code != 413 {
		t.Errorf("error = %+v", m)
	}
	many.send(command(`{"op":"list"}`))
	if m := many.want("topics"); string(m.Topics) != "[]" {
		t.Errorf("topics = %+v", m)
	}
}

func TestFramesWithTheRequest(t *testing.T) {
	e := serve(t)
	c := dialRaw(t, e.Addr())
	c.send(bytes.Join([][]byte{
		[]byte(upgradeRequest("?topics=A")), subscribe("B"), frame(opPing, "now"), command(`{"op":"list"}`)[:5],
	}, nil))
	if err := c.switched(); err != nil {
		t.Fatal(err)
	}
	c.want("hello")
	c.want("ack")
	if ack := c.want("ack"); string(ack.Topics) != "2" {
		t.Errorf("ack = %+v", ack)
	}
	c.wantFrame(opPong, "now")
	c.send(command(`{"op":"list"}`)[5:])
	if m := c.want("topics"); string(m.Topics) != `["A","B"]` {
		t.Errorf("topics = %+v", m)
	}
}

// inTwo sends a stream in two reads of the server, cut at every byte in turn, each cut
// on a connection of its own, and then byte by byte. check reads the answers.
func inTwo(t *testing.T, e *edge, prepare func(*raw), stream []byte, check func(*raw)) {
	t.Helper()
	var clients []*raw
	sent := func() (n uint64) {
		e.onLoops(func(l *loop) { l.publish(time.Now()) })
		return e.Stats().Loop[BytesIn]
	}
	for range len(stream) + 1 {
		c := dialRaw(t, e.Addr())
		prepare(c)
		clients = append(clients, c)
	}
	before := uint64(0)
	if e.Conns() > 0 {
		before = sent()
	}
	want := before
	for cut, c := range clients[:len(stream)] {
		c.send(stream[:cut])
		want += uint64(cut)
	}
	until(t, func() bool { return sent() == want }, "the first parts")
	for cut, c := range clients[:len(stream)] {
		c.send(stream[cut:])
	}
	for b := range slices.Chunk(stream, 1) {
		clients[len(stream)].send(b)
	}
	for _, c := range clients {
		check(c)
		c.close()
	}
}

func TestRequestCutAnywhere(t *testing.T) {
	e := serve(t)
	stream := append([]byte(upgradeRequest("?topics=A&interval=1000")), frame(opPing, "p")...)
	inTwo(t, e, func(*raw) {}, stream, func(c *raw) {
		t.Helper()
		if err := c.switched(); err != nil {
			t.Fatal(err)
		}
		if m := c.want("hello"); m.Interval != 1000 {
			t.Errorf("hello = %+v", m)
		}
		c.want("ack")
		c.wantFrame(opPong, "p")
	})
}

func TestFramesCutAnywhere(t *testing.T) {
	e := serve(t)
	stream := bytes.Join([][]byte{
		fragment(opText, `{"op":"subscribe",`), frame(opPing, "between"), frame(opCont, `"topics":["A"],"id":1}`),
		frame(opPong, "unasked"), command(`{"op":"list","id":%q}`, strings.Repeat("i", 64)), frame(opPing, ""),
	}, nil)
	inTwo(t, e, func(c *raw) { c.upgrade("") }, stream, func(c *raw) {
		t.Helper()
		c.wantFrame(opPong, "between")
		c.want("ack")
		if m := c.want("topics"); len(m.ID) != 66 {
			t.Errorf("topics = %+v", m)
		}
		c.wantFrame(opPong, "")
	})
}

// The kernel spreads connections over the listeners of all loops.
func TestEveryLoopHasConnections(t *testing.T) {
	e := serve(t)
	for range 64 {
		dialRaw(t, e.Addr()).upgrade("")
	}
	e.onLoops(func(l *loop) { l.publish(time.Now()) })
	sum := 0
	for _, l := range e.loops {
		l.published.Lock()
		n := l.published.stats.Open
		l.published.Unlock()
		if n == 0 {
			t.Errorf("loop %d has no connection", l.index)
		}
		sum += n
	}
	if sum != 64 {
		t.Errorf("%d connections on the loops, want 64", sum)
	}
}

func TestIPv6(t *testing.T) {
	if c, err := listenPlain("[::1]:0"); err != nil {
		t.Skip(err)
	} else {
		c.Close()
	}
	e := serve(t, func(c *Config) { c.Listen = "[::1]:0" })
	if a := tcpAddr(e.Addr()); a.IP.String() != "::1" || a.Port == 0 {
		t.Errorf("Addr = %v", a)
	}
	c := conforming(t, e, "?topics=A")
	hear(t, c, "hello")
	hear(t, c, "ack")
	e.publish("A", "1")
	hear(t, c, "update")
}

// Every message of a burst is answered, in order, though the answers fill many writes.
func TestManyCommandsAtOnce(t *testing.T) {
	e := serve(t)
	c := dialRaw(t, e.Addr()).upgrade("")
	var burst []byte
	const count = 5000
	for i := range count {
		burst = append(burst, command(`{"op":"ping","id":%d}`, i)...)
	}
	go c.Write(burst)
	for i := range count {
		if m := c.want("pong"); string(m.ID) != fmt.Sprint(i) {
			t.Fatalf("pong %s, want %d", m.ID, i)
		}
	}
}
