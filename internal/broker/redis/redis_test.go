// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tickedge/internal/broker"
	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/topics"
)

func TestSnapshotThenTicks(t *testing.T) {
	s := redistest.Start(t)
	s.Do("SET", "price:AAPL", `{"p":1}`)
	r := run(t, plain(s), limits)
	r.acquire("AAPL", "NEW")
	r.eventually("the newest value is fetched", func() bool { return r.row("AAPL") == `{"s":"AAPL","n":0,"v":{"p":1}}` })
	r.settled()
	if got := r.row("NEW"); got != "" {
		t.Errorf("row of a topic without a key = %s, want none", got)
	}
	for name, want := range map[string]bool{"AAPL": false, "NEW": true} {
		if id, _ := r.table.Find([]byte(name)); r.table.IsAbsent(id) != want {
			t.Errorf("%s is known to have no value: %v", name, !want)
		}
	}

	// Digits that a float would lose, and spaces, come through as they are.
	publish(s, "AAPL", `{"p": 0.10000000000000000001}`)
	r.eventually("the tick is the row", func() bool {
		return r.row("AAPL") == `{"s":"AAPL","n":1,"v":{"p": 0.10000000000000000001}}`
	})
	st := r.Stats()
	if st.Counts[broker.Ticks] != 1 || st.Counts[broker.Repairs] != 1 || st.Counts[broker.Gaps] != 0 || !st.Connected || st.Counts[broker.Connects] == 0 || st.Channels != 2 {
		t.Errorf("stats = %+v", st)
	}
}

func TestTemplates(t *testing.T) {
	s := redistest.Start(t)
	s.Do("SET", "md/AAPL/last", `1`)
	cfg := plain(s)
	cfg.Channel, cfg.Key = "md.{topic}.ticks", "md/{topic}/last"
	r := run(t, cfg, limits)
	r.acquire("AAPL")
	r.eventually("the value is fetched by the key's template", func() bool { return r.value("AAPL") == "1" })
	s.Do("PUBLISH", "md.AAPL.ticks", "2")
	r.eventually("the tick comes by the channel's template", func() bool { return r.value("AAPL") == "2" })
}

func TestUnsubscribeAfterLinger(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, plain(s), topics.Config{Max: 10, Linger: 0})
	channels := func() string { return s.Do("PUBSUB", "CHANNELS") }
	r.acquire("AAPL", "MSFT")
	r.eventually("both channels", func() bool { return len(strings.Fields(channels())) == 2 })
	r.release("AAPL")
	r.eventually("one channel", func() bool { return channels() == "[channel:prices:MSFT]" })

	// And back again: a fresh SUBSCRIBE brings the value of meanwhile.
	s.Do("SET", "price:AAPL", "7")
	r.acquire("AAPL")
	r.eventually("the value is fetched", func() bool { return r.value("AAPL") == "7" })
}

// A topic that is wanted again while Redis still has its channel must be subscribed
// anew, because its row was dropped with it.
func TestWantedAgainIsFetchedAgain(t *testing.T) {
	s := redistest.Start(t)
	s.Do("SET", "price:AAPL", "1")
	r := run(t, plain(s), topics.Config{Max: 10, Linger: 0})
	for i := range 20 {
		r.acquire("AAPL")
		r.eventually(fmt.Sprintf("value in round %d", i), func() bool { return r.value("AAPL") == "1" })
		r.release("AAPL")
		r.table.Sweep(time.Now().Add(time.Second))
	}
}

func TestRestartIsRepaired(t *testing.T) {
	s := redistest.Start(t, "--dir", t.TempDir()) // What it saves is there when it starts again.
	r := run(t, plain(s), limits)
	r.acquire("AAPL", "MSFT")
	r.settled()
	publish(s, "AAPL", "1")
	publish(s, "MSFT", "1")
	r.eventually("ticks", func() bool { return r.value("AAPL") == "1" && r.value("MSFT") == "1" })

	s.Do("SET", "price:AAPL", "2") // Missed, not published again.
	s.Do("SET", "price:MSFT", "1")
	s.Do("SAVE")
	s.Kill()
	r.eventually("the feed knows that it is down", func() bool { return !r.Stats().Connected })
	s.Start()
	r.eventually("the missed value is repaired and counts as a tick", func() bool {
		return r.row("AAPL") == `{"s":"AAPL","n":2,"v":2}`
	})
	r.settled()
	if got := r.row("MSFT"); got != `{"s":"MSFT","n":1,"v":1}` {
		t.Errorf("row that nothing happened to = %s", got)
	}
	publish(s, "AAPL", "3")
	r.eventually("ticks go on", func() bool { return r.value("AAPL") == "3" })
	if st := r.Stats(); st.Counts[broker.Gaps] != 1 || st.Counts[broker.Connects] != 2 || st.Channels != 2 || st.LastError == "" {
		t.Errorf("stats = %+v, want 1 gap for 2 topics", st)
	}
	if down, up := r.log.Count("feed down"), r.log.Count("feed up"); down != 1 || up != 2 {
		t.Errorf("logged down %d times, up %d times, want 1 and 2", down, up)
	}
	if r.log.Count("outage=") != 1 || r.log.Count("hint=") != 1 {
		t.Error("the log lacks the outage or the hint")
	}
}

// Ticks that come all the time, and connections that break all the time: the last
// value of every topic gets there.
func TestKilledConnectionsLoseNothing(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, plain(s), limits)
	c := s.Client()
	defer c.Close()
	const names, rounds = 20, 5
	for i := range names {
		r.acquire(fmt.Sprint("T", i))
	}
	r.settled()
	ctx := context.Background()
	subscribes := calls(s, "subscribe")
	for round := range rounds {
		connects := r.Stats().Counts[broker.Connects]
		if err := c.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub").Err(); err != nil {
			t.Fatal(err)
		}
		for i := range names {
			value := fmt.Sprint(round*1000 + i)
			c.Set(ctx, fmt.Sprint("price:T", i), value, 0)
			c.Publish(ctx, fmt.Sprint("channel:prices:T", i), value)
		}
		r.eventually("a new connection", func() bool { return r.Stats().Counts[broker.Connects] > connects })
		for i := range names {
			r.eventually("the last value", func() bool { return r.value(fmt.Sprint("T", i)) == fmt.Sprint(round*1000+i) })
		}
		r.settled()
	}
	if st := r.Stats(); st.Counts[broker.Gaps] != rounds {
		t.Errorf("gaps = %d, want %d, one per connection lost", st.Counts[broker.Gaps], rounds)
	}
	if got := calls(s, "subscribe") - subscribes; got != rounds {
		t.Errorf("%d SUBSCRIBE commands, want %d: go-redis must not connect by itself", got, rounds)
	}
}

// A value that was fetched must not overtake the messages that were published before it
// and are still on their way: the row would step back when they come.
func TestFetchedValueWaitsForOlderMessages(t *testing.T) {
	s := redistest.Start(t)
	y := newRelay(t, s.Addr())
	r := run(t, At(y.url()), limits)
	messages := y.conn(r, 0)
	r.acquire("FIRST")
	r.settled()
	values := y.conn(r, 1)
	values.up.hold(true)
	r.acquire("AAPL")
	r.eventually("the channel is confirmed", func() bool { return r.Stats().Channels == 2 })
	messages.down.hold(true)
	publish(s, "AAPL", "1")
	publish(s, "AAPL", "2")
	answered := values.down.bytes()
	values.up.hold(false)
	r.eventually("the value is fetched", func() bool { return values.down.bytes() > answered })
	asked := messages.up.bytes()
	r.eventually("another ping is written", func() bool { return messages.up.bytes() > asked })
	if got := r.value("AAPL"); got != "" {
		t.Errorf("value = %s while older messages are on their way", got)
	}
	messages.down.hold(false)
	r.settled()
	if got := r.row("AAPL"); got != `{"s":"AAPL","n":2,"v":2}` {
		t.Errorf("row = %s, want that of the second message", got)
	}
	if st := r.Stats(); st.Counts[broker.Repairs] != 0 || st.Counts[broker.Connects] != 1 {
		t.Errorf("stats = %+v, want no repair", st)
	}
}

// The feed is up again once values are current, and not when it is connected.
func TestUpMeansCurrent(t *testing.T) {
	s := redistest.Start(t)
	y := newRelay(t, s.Addr())
	r := run(t, At(y.url()), limits)
	r.eventually("up without a topic", func() bool { return r.table.Health().Up })
	r.acquire("AAPL")
	r.settled()
	first := y.conn(r, 0)
	y.conn(r, 1)
	s.Do("SET", "price:AAPL", "1") // Missed, as it were.
	y.mu.Lock()
	y.hold = 3 // The second link's connection for values.
	y.mu.Unlock()
	first.close()
	messages, values := y.conn(r, 2), y.conn(r, 3)
	asked := messages.up.bytes()
	r.eventually("another ping is written", func() bool { return messages.up.bytes() > asked })
	if r.table.Health().Up || !r.Stats().Connected {
		t.Error("not connected, or up while a topic lacks its newest value")
	}
	values.up.hold(false)
	r.eventually("up", func() bool { return r.table.Health().Up })
	if got := r.value("AAPL"); got != "1" {
		t.Errorf("value = %s when the feed came up", got)
	}
}

// Values that can't be fetched do not keep the feed down: ticks come.
func TestUpWithoutValues(t *testing.T) {
	s := redistest.Start(t)
	s.Do("ACL", "SETUSER", "edge", "on", ">"+secret, "+@all", "-getrange", "allchannels", "resetkeys")
	cfg := plain(s)
	cfg.URL = "redis://edge:" + secret + "@" + s.Addr()
	r := run(t, cfg, limits)
	r.acquire("AAPL")
	r.settled()
	s.Do("CLIENT", "KILL", "TYPE", "pubsub")
	r.eventually("a new connection", func() bool { return r.Stats().Counts[broker.Connects] == 2 })
	r.eventually("up", func() bool { return r.table.Health().Up })
}

// Messages that come late are seen as lag, by clients too, before Redis cuts the feed off.
func TestLag(t *testing.T) {
	s := redistest.Start(t)
	y := newRelay(t, s.Addr())
	cfg := At(y.url())
	cfg.Timeout = time.Minute
	r := run(t, cfg, limits)
	messages := y.conn(r, 0)
	r.eventually("a round trip", func() bool { return r.Stats().Lag > 0 })
	r.eventually("the table knows of no lag", func() bool { return r.table.Health().Lag < lagMax.Milliseconds() })
	messages.down.hold(true)
	r.eventually("the table knows that the feed is behind", func() bool { return r.table.Health().Lag > lagMax.Milliseconds() })
	r.eventually("that is logged", func() bool { return r.log.Count("feed is behind") == 1 })
	messages.down.hold(false)
	r.eventually("the feed has caught up", func() bool { return r.Stats().Lag < lagMax })
	r.eventually("the table knows of no lag", func() bool { return r.table.Health().Lag < lagMax.Milliseconds() })
	if st := r.Stats(); st.Counts[broker.Connects] != 1 || st.Sources[0].Lag == 0 {
		t.Errorf("stats = %+v", st)
	}
}

// Whoever may write the keys can't fill the edge's memory.
func TestNoMoreOfAValueIsReadThanItTakes(t *testing.T) {
	s := redistest.Start(t)
	s.Do("SET", "price:AAPL", strings.Repeat("1", 1<<20))
	y := newRelay(t, s.Addr())
	r := run(t, At(y.url()), limits)
	r.acquire("AAPL")
	r.settled()
	if st := r.Stats(); st.Flaws[broker.TooBig] != 1 || r.value("AAPL") != "" {
		t.Errorf("stats = %+v, want one value that is too big", st)
	}
	if n := y.conn(r, 1).down.bytes(); n > 10*broker.ValueMax { // It is read again at times.
		t.Errorf("%d bytes were read", n)
	}
}

// A name may stand for several servers: values come from the one that messages come from.
func TestValuesComeFromTheSameServer(t *testing.T) {
	to := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 7), Port: 6379}
	var dialled []string
	dial := func(_ context.Context, network, addr string) (net.Conn, error) {
		dialled = append(dialled, network+" "+addr)
		return addrConn{to: to}, nil
	}
	l := link{conn: addrConn{to: to}}
	l.dialSame(dial)(t.Context(), "tcp", "redis.example:6379")
	again := sticky(dial)
	for range 2 {
		again(t.Context(), "tcp", "redis.example:6379")
	}
	want := []string{"tcp 127.0.0.7:6379", "tcp redis.example:6379", "tcp 127.0.0.7:6379"}
	if !slices.Equal(dialled, want) {
		t.Errorf("dialled %q, want %q", dialled, want)
	}
}

// addrConn is a connection of which nothing is known but where it leads.
type addrConn struct {
	net.Conn
	to net.Addr
}

func (c addrConn) RemoteAddr() net.Addr { return c.to }

// Redis cuts off subscribers that it cannot get rid of its messages to.
func TestOutputBufferLimit(t *testing.T) {
	s := redistest.Start(t, "--client-output-buffer-limit", "pubsub 1mb 0 0")
	r := run(t, plain(s), limits)
	r.acquire("AAPL")
	r.settled()
	s.Do("SET", "price:AAPL", "1")
	s.Do("PUBLISH", "channel:prices:AAPL", strings.Repeat("x", 2<<20))
	r.eventually("a gap", func() bool { return r.Stats().Counts[broker.Gaps] > 0 }) // The value may have been fetched before.
	r.eventually("the value is repaired over a new connection", func() bool { return r.value("AAPL") == "1" })
	if st := r.Stats(); st.Counts[broker.Gaps] != 1 || !strings.Contains(r.log.String(), "client-output-buffer-limit pubsub") {
		t.Errorf("stats = %+v; want a gap, and the limit named in the log", st)
	}
}

func TestFrozenServer(t *testing.T) {
	s := redistest.Start(t)
	cfg := plain(s)
	cfg.Timeout = 300 * time.Millisecond
	r := run(t, cfg, limits)
	r.acquire("AAPL")
	r.settled()
	s.Freeze()
	defer s.Thaw()
	r.eventually("the silence is noticed", func() bool { return r.Stats().LastError != "" })
	if st := r.Stats(); st.LastError != errSilent.Error() || st.Connected {
		t.Errorf("stats = %+v, want no connection, and %q", st, errSilent)
	}
	r.acquire("MSFT") // Wanted while nothing can be written.
	s.Thaw()
	r.settled()
	publish(s, "AAPL", "5")
	publish(s, "MSFT", "6")
	r.eventually("ticks after the thaw", func() bool { return r.value("AAPL") == "5" && r.value("MSFT") == "6" })
	if st := r.Stats(); st.Counts[broker.Gaps] == 0 {
		t.Error("the gap was not counted")
	}
}

// A quiet market is no outage: pongs are heard too.
func TestQuietIsNotSilent(t *testing.T) {
	s := redistest.Start(t)
	cfg := plain(s)
	cfg.Timeout = 1500 * time.Millisecond // A busy machine is not silent for as long.
	r := run(t, cfg, limits)
	r.eventually("connected without a topic", func() bool { return r.Stats().Connected })
	pings := func() int { return calls(s, "ping") }
	r.eventually("pings over several timeouts", func() bool { return pings() >= 2*watchBeats })
	r.acquire("AAPL")
	r.settled()
	at := pings()
	r.eventually("pings while subscribed", func() bool { return pings() >= at+2*watchBeats })
	if st := r.Stats(); st.Counts[broker.Connects] != 1 {
		t.Errorf("connections = %d, want 1", st.Counts[broker.Connects])
	}
}

func TestServerComesLater(t *testing.T) {
	s := redistest.New(t)
	r := run(t, plain(s), limits)
	r.acquire("AAPL")
	r.eventually("an error", func() bool { return r.Stats().LastError != "" })
	if st := r.Stats(); st.Counts[broker.Connects] > 0 {
		t.Errorf("stats = %+v", st)
	}
	s.Start()
	r.settled()
	publish(s, "AAPL", "1")
	r.eventually("the tick", func() bool { return r.value("AAPL") == "1" })
	if st := r.Stats(); st.Counts[broker.Gaps] != 0 || st.Counts[broker.Connects] == 0 {
		t.Errorf("stats = %+v, want no gap: nothing was subscribed before", st)
	}
	if r.log.Count("start Redis, or correct the address") != 1 {
		t.Error("the log does not say once what to do")
	}
}

func TestInvalidValuesAreDropped(t *testing.T) {
	s := redistest.Start(t)
	s.Do("SET", "price:BAD", "not JSON")
	s.Do("SET", "price:GOOD", "1")
	s.Do("LPUSH", "price:LIST", "1")
	r := run(t, plain(s), limits)
	r.acquire("GOOD", "BAD", "LIST")
	r.eventually("what can be read is, and the rest refused", func() bool {
		st := r.Stats()
		return r.value("GOOD") == "1" && st.Refused[broker.BadValue] == 1 && st.Refused[broker.WrongType] == 1
	})
	r.eventually("the flaw of a fetched value is counted", func() bool { return r.Stats().Flaws[broker.NotJSON] == 1 })
	for _, v := range []string{"", "{} {}", `{"p":NaN}`, "\"\xff\"", `"` + strings.Repeat("x", broker.ValueMax) + `"`} {
		s.Do("PUBLISH", "channel:prices:GOOD", v)
	}
	s.Do("PUBLISH", "channel:prices:GOOD", `"`+strings.Repeat("x", broker.ValueMax-2)+`"`)
	r.eventually("the longest value is taken", func() bool { return len(r.value("GOOD")) == broker.ValueMax })
	st := r.Stats()
	if st.Flaws[broker.NotJSON] != 4 || st.Flaws[broker.NotUTF8] != 1 || st.Flaws[broker.TooBig] != 1 || st.Counts[broker.Ticks] != 1 || !st.Connected {
		t.Errorf("stats = %+v", st)
	}
	if got := r.row("BAD") + r.row("LIST"); got != "" {
		t.Errorf("rows of invalid values: %s", got)
	}
	if r.Stats().Counts[broker.FetchFailures] == 0 {
		t.Error("a key that holds no string was read")
	}
	if n := r.log.Count("value dropped"); n != 6 { // The log of a program lets ten in 10 s through.
		t.Errorf("%d log lines for 6 values", n)
	}
}

func TestManyTopicsInFewCommands(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, plain(s), limits)
	r.eventually("connected", func() bool { return r.Stats().Connected })
	const n = 5000
	for i := range n {
		r.acquire(fmt.Sprint("T", i))
	}
	r.settled()
	r.eventually("all are fetched", func() bool { return calls(s, "getrange") == n })
	// How many exactly depends on how fast they came.
	if got := calls(s, "subscribe"); got > n/10 {
		t.Errorf("%d SUBSCRIBE commands for %d topics, want about %d", got, n, n/commandMax)
	}
	if st := r.Stats(); st.Channels != n {
		t.Errorf("channels = %d", st.Channels)
	}
	for name := range r.ids {
		r.release(name)
	}
	r.table.Sweep(time.Now().Add(time.Hour))
	r.eventually("all are given up", func() bool { return r.Stats().Channels == 0 && r.Stats().Held == 0 })
	if got := calls(s, "unsubscribe"); got > n/10 {
		t.Errorf("%d UNSUBSCRIBE commands for %d topics", got, n)
	}
}

// On a new connection all are there at once, so the commands are full. As many are here as
// the feed takes out of the table while there is no Redis.
func TestReconnectionFillsItsCommands(t *testing.T) {
	s := redistest.New(t)
	r := run(t, plain(s), limits)
	const n = aheadMax
	for i := range n {
		r.acquire(fmt.Sprint("T", i))
	}
	r.eventually("the feed knows all", func() bool { return r.Stats().Held == n })
	s.Start()
	r.settled()
	if got := calls(s, "subscribe"); got != n/commandMax {
		t.Errorf("%d SUBSCRIBE commands for %d topics, want %d", got, n, n/commandMax)
	}
}

// calls is how often the server ran a command.
func calls(s *redistest.Server, command string) (n int) {
	for line := range strings.Lines(s.Do("INFO", "commandstats")) {
		fmt.Sscanf(line, "cmdstat_"+command+":calls=%d", &n)
	}
	return n
}

// While Redis is away, topics come and go: the table must not fill up with those that
// went, nor the feed's own memory of them.
func TestDrainsWithoutRedis(t *testing.T) {
	const most = 100
	r := run(t, plain(redistest.New(t)), topics.Config{Max: most, Linger: 0})
	for i := range 20 * most {
		name := fmt.Sprint("T", i)
		var id topics.ID
		r.eventually("there is room for another topic", func() (ok bool) {
			var err error
			id, err = r.table.Acquire([]byte(name), 0)
			return err == nil
		})
		r.table.Release(id, time.Now())
	}
	if n := r.wants.len(); n > most {
		t.Errorf("the feed holds %d topics, the table at most %d", n, most)
	}
}

// What Redis does not permit costs nobody else a tick.
func TestRefusedTopicLeavesTheOthers(t *testing.T) {
	s := redistest.Start(t)
	s.Do("ACL", "SETUSER", "edge", "on", ">"+secret, "+@all", "~*", "resetchannels", "&channel:prices:A*")
	cfg := plain(s)
	cfg.URL = "redis://edge:" + secret + "@" + s.Addr()
	r := run(t, cfg, limits)
	r.eventually("connected", func() bool { return r.Stats().Connected })
	r.acquire("B0", "B1")
	good := []string{"A0", "A1", "A2"}
	r.acquire(good...)
	for _, name := range good {
		r.eventually("the tick of "+name, func() bool {
			s.Do("PUBLISH", "channel:prices:"+name, "1")
			return r.value(name) == "1"
		})
	}
	st := r.Stats()
	if st.Refusals[broker.NotPermitted] == 0 || st.Refused[broker.NotPermitted] != 2 || st.Counts[broker.Connects] != 1 || st.Channels != 3 {
		t.Errorf("stats = %+v, want refused subscriptions on one connection", st)
	}
	if r.log.Count("&channel:prices:*") != 1 {
		t.Error("the log does not say once what to permit")
	}
}

func TestPasswordStaysSecret(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "another")
	for name, user := range map[string]*url.Userinfo{"wrong": url.UserPassword("default", secret), "none": nil} {
		t.Run(name, func(t *testing.T) {
			u := url.URL{Scheme: "redis", User: user, Host: s.Addr()}
			r := run(t, At(u.String()), limits)
			r.eventually("an error", func() bool { return r.Stats().LastError != "" })
			if e := r.Stats().LastError; strings.Contains(e, secret) || !strings.Contains(e, "WRONGPASS") && !strings.Contains(e, "NOAUTH") {
				t.Errorf("last error = %q", e)
			}
			if r.log.Count("correct the user or the password")+r.log.Count("Redis wants a password") != 1 {
				t.Error("the log does not say what to do")
			}
		})
	}
}

func TestRunLeavesNothingBehind(t *testing.T) {
	s := redistest.Start(t)
	absent := redistest.New(t)
	frozen := redistest.Start(t)
	for name, server := range map[string]*redistest.Server{"up": s, "absent": absent, "frozen": frozen} {
		t.Run(name, func(t *testing.T) {
			g, d := resources(t)
			cfg := plain(server)
			cfg.Timeout = 2 * redistest.Patience // Whatever waits for that long has not been ended.
			r := run(t, cfg, limits)
			if server != absent {
				r.acquire("AAPL", "MSFT")
				r.settled()
			}
			if server == frozen {
				server.Freeze()
				defer server.Thaw()
				r.acquire("GOOGL")
			}
			begin := time.Now()
			r.stop()
			if took := time.Since(begin); took > redistest.Patience {
				t.Errorf("Run took %v to end", took)
			}
			returnsTo(t, g, d)
			if st := r.Stats(); st.Connected || st.Channels != 0 {
				t.Errorf("stats after the end = %+v", st)
			}
		})
	}
}

// A server that accepts and says nothing must not hold up the end either.
func TestStopWhileConnecting(t *testing.T) {
	s := redistest.Start(t)
	s.Freeze()
	defer s.Thaw()
	g, d := resources(t)
	r := run(t, config{Config: Config{URL: s.URL(), Timeout: time.Hour}}, limits)
	r.eventually("a connection that waits", func() bool { _, now := resources(t); return now > d })
	r.stop()
	returnsTo(t, g, d)
}

// While squatters ask for a hundred thousand names that do not exist, a client that asks for
// one that does has its value at once.
func TestFirstValueBesideAStorm(t *testing.T) {
	const squatters, each = 50, 2000
	s := redistest.Start(t)
	s.Do("SET", "price:REAL", `"value"`)
	r := run(t, plain(s), topics.Config{Max: 2 * squatters * each, Linger: time.Minute})
	r.acquire("FIRST")
	r.settled()
	for by := range squatters {
		for i := range each {
			if _, err := r.table.Acquire(fmt.Append(nil, "S", by, ".", i), uint64(1+by)); err != nil {
				t.Fatal(err)
			}
		}
	}
	id, err := r.table.Acquire([]byte("REAL"), squatters+1)
	if err != nil {
		t.Fatal(err)
	}
	r.ids["REAL"] = id
	r.eventually("the value is there", func() bool { return r.value("REAL") != "" })
	// In time that depends on the machine. In order it does not: most of what came before it
	// waits still.
	if waiting := r.table.Waiting(); waiting < squatters*each/2 {
		t.Errorf("the value came when %d of %d names of others were left", waiting, squatters*each)
	}
}

func TestOlderTicksAreDropped(t *testing.T) {
	s := redistest.Start(t)
	s.Do("SET", "price:AAPL", `{"seq":5}`)
	cfg := plain(s)
	cfg.VersionField = "seq"
	r := run(t, cfg, limits)
	r.acquire("AAPL")
	r.eventually("the value is fetched", func() bool { return r.value("AAPL") == `{"seq":5}` })
	for _, v := range []string{`{"seq":4}`, `{"seq":5}`, `{"p":1}`, `{"seq":"x"}`, `{"seq":6}`, `{"seq":5.9}`, `{"seq":6,"p":2}`, `{"seq":"6.1"}`} {
		s.Do("PUBLISH", "channel:prices:AAPL", v)
	}
	r.eventually("the newest is the row", func() bool { return r.row("AAPL") == `{"s":"AAPL","n":3,"v":{"seq":"6.1"}}` })
	if st := r.Stats(); st.Counts[broker.Ticks] != 3 || st.Counts[broker.Older] != 2 || st.Counts[broker.Repeated] != 1 || st.Flaws[broker.NoVersion] != 2 || st.Counts[broker.VersionResets] != 0 {
		t.Errorf("stats = %+v", st)
	}

	// What a Redis holds that lost its newest writes does not come back.
	s.Do("SET", "price:AAPL", `{"seq":2}`)
	s.Do("CLIENT", "KILL", "TYPE", "pubsub")
	r.eventually("a new connection", func() bool { return r.Stats().Counts[broker.Connects] == 2 })
	r.eventually("the fetched value is older", func() bool { return r.Stats().Counts[broker.Older] == 3 })
	if got := r.value("AAPL"); got != `{"seq":"6.1"}` {
		t.Errorf("value = %s", got)
	}
}
