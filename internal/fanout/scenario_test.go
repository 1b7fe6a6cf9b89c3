// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tickedge/internal/contracttest"
	"tickedge/internal/guard"
	"tickedge/internal/protocol"
	"tickedge/internal/topics"
)

var rewrite = flag.Bool("rewrite", false, "write the output of the scenarios into their files")

// A scenario is a sequence of commands and what comes of each, as text:
//
//	# a comment
//	= the name of a case; it starts with a new shard and a new table
//	! max_topics=2 table=3 idle=5s          what differs from testConfig
//	connect a b                             conns that are open at once
//	command a {"op":"list","id":1}
//	    0.000 a topics id=1 []              output: time, conn, the frames of one write
//
// Each command is described at its method. Output lines are indented.
type scenario struct {
	name  string
	cfg   Config
	table topics.Config
	feeds int // Sources: fx:*,crypto:* and all others if there are two.
	piece int // In place of pieceMax.

	newRate, newBurst, snapshotRate, snapshotBurst int // Of sources; 0 is no limit.
	seen                                           *contracttest.Seen
	lines                                          []string // Commands and comments.
	want                                           []string // All lines as they stand in the file.
}

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no scenarios", err)
	}
	var seen contracttest.Seen
	cases, ran := 0, 0
	for _, file := range files {
		base := strings.TrimSuffix(filepath.Base(file), ".txt")
		var all []string
		for _, sc := range readScenarios(t, file) {
			var got []string
			sc.seen = &seen
			cases++
			t.Run(base+"/"+sc.name, func(t *testing.T) {
				ran++
				got = sc.run(t, 0)
				if !*rewrite {
					compareLines(t, got, sc.want)
				}
			})
			all = append(all, got...)
			// Nothing depends on how long the shard has been there.
			t.Run(base+"/"+sc.name+"/wrapping", func(t *testing.T) {
				compareLines(t, sc.run(t, wrapAge), got)
			})
		}
		if *rewrite && !t.Failed() {
			text := strings.TrimRight(strings.Join(all, "\n"), "\n") + "\n"
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	// A loop says bye and what is announced, tokens are not the same twice, and screens have no scenarios. Some cases alone (-run)
	// need not see all else.
	want := slices.DeleteFunc(slices.Clone(contracttest.Server), func(kind string) bool {
		return slices.Contains([]string{"bye", "announcement", "resume", "screen"}, kind)
	})
	if missing := seen.Missing(want); cases == ran && len(missing) > 0 {
		t.Errorf("no scenario has %q", missing)
	}
}

func compareLines(t *testing.T, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		var g, w string
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("line %d of the case:\n got %s\nwant %s\nall of it:\n%s", i+1, g, w, strings.Join(got, "\n"))
		}
	}
}

func readScenarios(t *testing.T, file string) (all []*scenario) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var head []string // Comments before a case belong to it.
	for i, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "= "):
			all = append(all, &scenario{name: line[2:], cfg: testConfig(), table: topics.Config{Max: 64}, feeds: 1, piece: pieceMax, lines: head, want: head})
			head = nil
		case len(all) == 0:
			head = append(head, line)
			continue
		case strings.HasPrefix(line, "! "):
			if err := all[len(all)-1].limits(line[2:]); err != nil {
				t.Fatalf("%s:%d: %v", file, i+1, err)
			}
		}
		sc := all[len(all)-1]
		sc.want = append(sc.want, line)
		if !strings.HasPrefix(line, "    ") {
			sc.lines = append(sc.lines, line)
		}
	}
	return all
}

func (sc *scenario) limits(text string) error {
	times := map[string]*time.Duration{
		"interval": &sc.cfg.Interval, "heartbeat": &sc.cfg.Heartbeat, "ping": &sc.cfg.PingInterval, "pong": &sc.cfg.PongTimeout,
		"slow": &sc.cfg.SlowTimeout, "idle": &sc.cfg.IdleTimeout, "handshake": &sc.cfg.HandshakeTimeout, "close": &sc.cfg.CloseTimeout,
		"age": &sc.cfg.MaxAge, "stale_floor": &sc.table.StaleFloor, "stale_after": &sc.table.StaleAfter,
	}
	numbers := map[string]*int{
		"max_topics": &sc.cfg.MaxTopics, "table": &sc.table.Max, "feeds": &sc.feeds,
		"command_rate": &sc.cfg.CommandRate, "command_burst": &sc.cfg.CommandBurst,
		"subscribe_rate": &sc.cfg.SubscribeRate, "subscribe_burst": &sc.cfg.SubscribeBurst,
		"max_valueless": &sc.cfg.MaxValueless, "new_rate": &sc.newRate, "new_burst": &sc.newBurst,
		"snapshot_rate": &sc.snapshotRate, "snapshot_burst": &sc.snapshotBurst,
		"slow_rate": &sc.cfg.SlowRate, "piece": &sc.piece,
	}
	for _, word := range strings.Fields(text) {
		name, value, _ := strings.Cut(word, "=")
		var err error
		if d := times[name]; d != nil {
			*d, err = time.ParseDuration(value)
		} else if n := numbers[name]; n != nil {
			*n, err = strconv.Atoi(value)
		} else {
			err = fmt.Errorf("no limit %q", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// player is a scenario that runs.
type player struct {
	*world
	parser *protocol.Parser
	ids    map[string]ConnID
	names  map[ConnID]string
	out    []string
	stats  Stats // As they were shown last.
}

func (sc *scenario) run(t *testing.T, age time.Duration) []string {
	cfg := sc.cfg
	cfg.NewTopics = guard.NewPrefixLimit(guard.Rate{PerSecond: sc.newRate, Burst: sc.newBurst}, epoch)
	cfg.Snapshots = guard.NewPrefixLimit(guard.Rate{PerSecond: sc.snapshotRate, Burst: sc.snapshotBurst}, epoch)
	p := &player{
		world:  newWorldOf(t, cfg, sc.table, age),
		parser: protocol.NewParser(sc.cfg.MaxTopics + 4),
		ids:    make(map[string]ConnID),
		names:  make(map[ConnID]string),
	}
	p.shard.piece = sc.piece
	if sc.feeds == 2 {
		p.table.SetSources([]string{"fx:*,crypto:*", ""})
	}
	p.sink.onFrames = func(id ConnID, frames []byte) {
		for _, m := range decode(t, frames) {
			if m.raw != nil {
				if err := sc.seen.Receive(m.raw); err != nil {
					t.Error(err)
				}
			}
			if m.TS != 0 && m.TS != p.now.UnixMilli() {
				t.Errorf("%s: %s has the time %d", sc.name, m, m.TS)
			}
		}
		p.print("%s %s", p.names[id], text(t, frames))
	}
	p.sink.onEvict = func(id ConnID, r Reason) { p.print("%s evicted: %s", p.names[id], r) }
	for _, line := range sc.lines {
		p.out = append(p.out, line)
		if line == "" || strings.ContainsAny(line[:1], "#=!") {
			continue
		}
		if err := p.do(line); err != nil {
			t.Fatalf("%s: %s: %v", sc.name, line, err)
		}
		p.check()
	}
	return p.out
}

func (p *player) print(format string, args ...any) {
	p.out = append(p.out, fmt.Sprintf("    %.3f ", p.now.Sub(epoch).Seconds())+fmt.Sprintf(format, args...))
}

var largeValue = `"` + strings.Repeat("v", 4000) + `"`

func (p *player) do(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	args := strings.Fields(rest)
	switch word {
	case "connect": // connect NAME...: add and open them.
		for _, name := range args {
			p.add(name)
			p.sink.deliver(p.ids[name], p.shard.Open(p.ids[name], WebSocket, 1, 0, nil))
		}
		return nil
	case "hold": // hold TOPIC...: others have subscribed it, so that it may tick.
		p.hold(args...)
		return nil
	case "publish": // publish TOPIC VALUE
		if p.table.Publish(args[0], args[1], topics.Meta{At: p.now.UnixMilli()}) != topics.Committed {
			p.print("nobody wants %s", args[0])
		}
		return nil
	case "repair": // repair TOPIC VALUE: the feed has fetched it. large is one of 4,000 bytes.
		if args[1] == "large" {
			args[1] = largeValue
		}
		if mark, ok := p.table.Mark(args[0]); !ok || p.table.Repair(args[0], args[1], mark, topics.Meta{At: p.now.UnixMilli()}) != topics.Committed {
			p.print("no repair of %s", args[0])
		}
		return nil
	case "absent": // absent TOPIC...: the feed has found no value.
		for _, name := range args {
			p.table.Absent(name)
		}
		return nil
	case "large": // large TOPIC...: others have subscribed it, and it has a value of 4,000 bytes.
		p.hold(args...)
		for _, name := range args {
			if err := p.do("publish " + name + " " + largeValue); err != nil {
				return err
			}
		}
		return nil
	case "ticks": // ticks COUNT TIME TOPIC...: one of each topic each TIME, with the wheel between them.
		count, err := strconv.Atoi(args[0])
		for range count {
			if err == nil {
				err = p.do("advance " + args[1])
			}
			for _, topic := range args[2:] {
				err = errors.Join(err, p.do("publish "+topic+" 0"))
			}
		}
		return err
	case "watch": // The feed looks for topics that are stale.
		p.table.Watch(p.now.UnixMilli())
		return nil
	case "refuse": // refuse TOPIC [WHY]: the feed gets no values of it.
		mark, _ := p.table.Mark(args[0])
		why, err := topics.NotPermitted, error(nil)
		if len(args) > 1 {
			var n int
			n, err = strconv.Atoi(args[1])
			why = topics.Why(n)
		}
		p.table.GoStale(args[0], mark, why)
		return err
	case "up", "down": // up SOURCE, from 0; down SOURCE
		source, err := strconv.Atoi(args[0])
		if err == nil {
			p.table.SetSourceState(source, word == "up", p.now.UnixMilli())
		}
		return err
	case "lag": // lag MS: the feed is behind.
		ms, err := strconv.ParseInt(args[0], 10, 64)
		p.table.SetLag(0, ms)
		return err
	case "changes": // The feed comes by.
		p.table.Changes(0, nil, all)
		return nil
	case "sweep": // The linger is over, and the feed has taken it.
		p.table.Sweep(p.now.Add(time.Hour))
		p.table.Changes(0, nil, all)
		return nil
	case "stats": // What has changed in them since they were shown last.
		p.showStats()
		return nil
	case "evictions": // All that are kept.
		for _, e := range p.shard.Evictions(nil) {
			p.print("%.3f %s lag=%v %s", e.At.Sub(epoch).Seconds(), e.Reason, e.Lag, describe(e.ConnInfo))
		}
		return nil
	case "evict-all": // At once, because of a drain.
		p.shard.EvictAll(Drain)
		return nil
	case "advance", "stall", "drain": // advance TIME: slot by slot. stall TIME: in one go. drain TIME: over this time.
		d, err := time.ParseDuration(rest)
		switch {
		case err != nil:
			return err
		case word == "advance":
			p.advance(d)
		case word == "stall":
			p.tick(d)
		default:
			p.shard.Drain(d)
		}
		return nil
	case "add": // add NAME: it has opened a socket.
		p.add(args[0])
		return nil
	}
	id, ok := p.ids[args[0]]
	if !ok || p.shard.conn(id).state == free {
		return fmt.Errorf("no conn %q", args[0])
	}
	return p.doConn(word, args[0], id, strings.TrimSpace(strings.TrimPrefix(rest, args[0])))
}

// doConn does a command about one conn.
func (p *player) doConn(word, name string, id ConnID, arg string) (err error) {
	peer := p.sink.peer(id)
	switch word {
	case "open": // open NAME MS
		ms := 0
		if ms, err = strconv.Atoi(arg); err == nil {
			p.sink.deliver(id, p.shard.Open(id, WebSocket, 1, ms, nil))
		}
	case "command": // command NAME JSON
		cmd, refused := p.parser.Parse([]byte(arg))
		if refused == nil {
			cmd.Size = protocol.Size{Bytes: len(arg), Parts: 1}
			out, why := p.carryOut(id, cmd)
			p.sink.deliver(id, out)
			if why != 0 {
				p.shard.Evict(id, why)
			}
			break
		}
		refused.Size = protocol.Size{Bytes: len(arg), Parts: 1}
		out, why := p.shard.Refuse(id, refused, nil)
		p.sink.deliver(id, out)
		if why != 0 {
			p.shard.Evict(id, why)
		}
	case "subscribe", "unsubscribe": // subscribe NAME TOPIC...
		list := `"` + strings.ReplaceAll(arg, " ", `","`) + `"`
		return p.doConn("command", name, id, `{"op":"`+word+`","topics":[`+list+`]}`)
	case "from": // from NAME SOURCE
		var source uint64
		source, err = strconv.ParseUint(arg, 10, 64)
		peer.source = guard.Prefix(source)
	case "pad": // pad NAME BYTES JSON: a command with blanks behind it.
		size, text, _ := strings.Cut(arg, " ")
		n, err := strconv.Atoi(size)
		if err != nil {
			return err
		}
		return p.doConn("command", name, id, fmt.Sprintf("%-*s", n, text))
	case "backlog": // backlog NAME BYTES: its socket takes nothing more.
		peer.backlog, err = strconv.Atoi(arg)
	case "clog": // clog NAME: what is written to it from now on stays in its backlog.
		peer.clogged = true
	case "takes": // takes NAME BYTES: its socket takes so many in a second.
		var rate int
		rate, err = strconv.Atoi(arg)
		peer.takes = rate / int(second)
	case "drained": // drained NAME
		peer.backlog, peer.clogged, peer.takes = 0, false, 0
	case "heard": // heard NAME: a byte came.
		p.shard.Heard(id)
	case "info": // info NAME: what is known of it.
		info, _ := p.shard.Info(id)
		p.print("%s %s", name, describe(info))
	case "remove": // remove NAME: its socket is closed.
		p.shard.Remove(id)
	case "break": // break NAME: the next write to it fails.
		peer.broken = true
	case "rude": // rude NAME: it is removed at once when it is evicted.
		peer.gone = true
	default:
		err = fmt.Errorf("no such command")
	}
	return err
}

func describe(info ConnInfo) string {
	return fmt.Sprintf("%s age=%v topics=%d window=%v step=%d backlog=%d for=%v heard=%v rtt=%v", info.State, info.Age,
		info.Topics, info.Window, info.Step, info.Backlog, info.BacklogFor, info.Heard, info.RTT)
}

func (p *player) add(name string) {
	id := p.shard.Add()
	p.sink.peer(id).reset()
	p.ids[name], p.names[id] = id, name
}

func (p *player) showStats() {
	now, old := p.shard.Stats(), p.stats
	line := fmt.Sprintf("opening=%d open=%d closing=%d", now.Opening, now.Open, now.Closing)
	for _, c := range []struct {
		name string
		n    uint64
	}{
		{"visits", now.Count[Visits] - old.Count[Visits]}, {"flushes", now.Count[Flushes] - old.Count[Flushes]},
		{"snapshots", now.Count[Snapshots] - old.Count[Snapshots]}, {"rows", now.rows() - old.rows()},
		{"update_rows", now.Count[UpdateRows] - old.Count[UpdateRows]}, {"skipped", now.Count[Skipped] - old.Count[Skipped]},
		{"pieces", now.Count[Pieces] - old.Count[Pieces]},
		{"pings", now.Count[Pings] - old.Count[Pings]}, {"heartbeats", now.Count[Heartbeats] - old.Count[Heartbeats]},
		{"feeds_told", now.Count[FeedsTold] - old.Count[FeedsTold]}, {"stale_told", now.Count[StaleTold] - old.Count[StaleTold]},
		{"withdrawn", now.Count[Withdrawn] - old.Count[Withdrawn]},
		{"stalls", now.Count[Stalls] - old.Count[Stalls]},
		{"slowed_down", now.Count[SlowedDown] - old.Count[SlowedDown]}, {"recovered", now.Count[Recovered] - old.Count[Recovered]},
		{"commands_refused", now.Count[CommandsRefused] - old.Count[CommandsRefused]},
		{"topics_refused", now.Count[TopicsRefused] - old.Count[TopicsRefused]},
		{"new_topics_refused", now.Count[NewTopicsRefused] - old.Count[NewTopicsRefused]},
		{"valueless_refused", now.Count[ValuelessRefused] - old.Count[ValuelessRefused]},
		{"snapshots_delayed", now.Count[SnapshotsDelayed] - old.Count[SnapshotsDelayed]},
	} {
		if c.n > 0 {
			line += fmt.Sprintf(" %s=+%d", c.name, c.n)
		}
	}
	for r := range Reason(Reasons) {
		if n := now.Evicted[r] - old.Evicted[r]; n > 0 {
			line += fmt.Sprintf(" %s=+%d", r, n)
		}
	}
	p.stats = now
	p.print("%s", line)
}
