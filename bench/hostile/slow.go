// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tickedge/bench/internal/procfs"
	"tickedge/bench/internal/wire"
)

const (
	// fatTopics is how many topics with long values there are, which is as many as a conn
	// may have, and fatEvery the time between two ticks of each of them.
	fatTopics = 256
	fatEvery  = time.Second
	// lateMax is what an eviction may come late: the edge looks at a conn once a second,
	// the first backlog takes a moment, and this machine may be busy.
	lateMax = 5 * time.Second
	// sip is how often a slow reader reads.
	sip = 50 * time.Millisecond
)

const steadyDemand = "every newest value, conflated, never evicted"

func slowInputs(p *plan) []input {
	onTime := fmt.Sprintf("%d × slow_consumer, %v to %v after the last byte", p.stuck, p.slowTimeout, p.slowTimeout+lateMax)
	return []input{
		{fmt.Sprintf("a client that reads %d kB/s has %d topics of %d bytes, which tick each %v", p.steadyRate/1000, fatTopics, p.fatSize, fatEvery),
			steadyDemand, "PROTOCOL.md, interval", (*run).steady},
		{fmt.Sprintf("%d conns with all of these that read a byte a second", p.stuck), onTime, "OPERATIONS.md, slow-rate", (*run).oneByte},
		{fmt.Sprintf("%d conns with all of these that read nothing", p.stuck), onTime, "OPERATIONS.md, slow-timeout", (*run).nothing},
		{fmt.Sprintf("%d conns at once with all of these that read nothing", p.crowd), p.crowdDemand(), "BUDGET.md, clients that never read", (*run).crowdOfNothing},
	}
}

// crowdMax is how much of the edge's memory a conn may pin that never reads: the buffer
// of a piece, what belongs to a conn with 256 topics, and garbage that waits to be collected.
const crowdMax = 48 << 10

func (p *plan) crowdDemand() string {
	return fmt.Sprintf("%d × slow_consumer or backlog_total, at most %d KiB of memory a conn", p.crowd, crowdMax>>10)
}

func fatName(i int) string { return fmt.Sprintf("FAT-%03d", i) }

func allFat() []byte { return subscribe(list(fatTopics, fatName)) }

// fatTicks publishes the topics with long values until it is stopped.
type fatTicks struct {
	conn       net.Conn
	round      atomic.Int64   // The value of all topics, as it was published last.
	publishing sync.WaitGroup // A goroutine that publishes,
	answered   sync.WaitGroup // and one that reads the answers.
	stop       chan struct{}
	err        error // To be read after end.
}

func (r *run) startFat() (*fatTicks, error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.edge.redis, "redis://"))
	if err != nil {
		return nil, err
	}
	f := &fatTicks{conn: conn, stop: make(chan struct{})}
	f.publish(r.fatSize)
	f.answered.Go(func() { _, _ = io.Copy(io.Discard, conn) })
	f.publishing.Go(func() {
		tick := time.NewTicker(fatEvery)
		defer tick.Stop()
		for {
			select {
			case <-f.stop:
				return
			case <-tick.C:
				f.publish(r.fatSize)
			}
		}
	})
	return f, nil
}

// publish sets and publishes a new value of all topics.
func (f *fatTicks) publish(size int) {
	n := f.round.Load() + 1
	out := bufio.NewWriterSize(f.conn, 256<<10)
	for i := range fatTopics {
		value := fmt.Sprintf(`{"round":%d,"pad":"`, n)
		value += strings.Repeat("p", size-len(value)-2) + `"}`
		for _, words := range [][]string{{"SET", "price:" + fatName(i), value}, {"PUBLISH", "channel:prices:" + fatName(i), value}} {
			fmt.Fprintf(out, "*%d\r\n", len(words))
			for _, w := range words {
				fmt.Fprintf(out, "$%d\r\n%s\r\n", len(w), w)
			}
		}
	}
	if err := out.Flush(); err != nil {
		f.err = errors.Join(f.err, err)
	}
	f.round.Store(n)
}

// end stops the ticks. The last values stay.
func (f *fatTicks) end() error {
	close(f.stop)
	f.publishing.Wait() // It may be in the middle of a round.
	_ = f.conn.(*net.TCPConn).CloseWrite()
	f.answered.Wait()
	return errors.Join(f.err, f.conn.Close())
}

// steady is a client on a thin line: it always takes what it is sent, at its own pace,
// while more is published than it can take. When that ends it has to have the last of all.
func (r *run) steady() string {
	fat, err := r.startFat()
	if err != nil {
		return err.Error()
	}
	p, err := r.edge.upgradedBy("", 0, smallBuffer)
	if err != nil {
		return err.Error()
	}
	defer p.Close()
	_ = p.SetDeadline(time.Time{})
	if _, err := p.Write(allFat()); err != nil {
		return err.Error()
	}
	begin, ended := time.Now(), false
	pass := time.Duration(fatTopics*r.fatSize/r.steadyRate+1) * time.Second
	have := make(map[string]int64)
	rows := 0
	for {
		if since := time.Since(begin); since > r.steadyFor && !ended {
			ended = true
			if err := fat.end(); err != nil {
				return err.Error()
			}
		} else if since > r.steadyFor+3*pass+lateMax {
			return fmt.Sprintf("%d rows, and still not all of the newest", rows)
		}
		newest, behind := fat.round.Load(), 0
		for i := range fatTopics {
			if have[fatName(i)] < newest {
				behind++
			}
		}
		if ended && behind == 0 {
			fmt.Fprintf(r.log, "        %d rows of %d ticks in %.0f s, the last of them %.1f s after the last tick\n",
				rows, newest*fatTopics, time.Since(begin).Seconds(), (time.Since(begin) - r.steadyFor).Seconds())
			if int64(rows) >= newest*fatTopics {
				return "all rows, not conflated"
			}
			return steadyDemand
		}
		n, err := p.sip(r.steadyRate, have)
		if err != nil {
			return fmt.Sprintf("%s after %.0f s and %d rows", ending(err), time.Since(begin).Seconds(), rows)
		}
		rows += n
	}
}

// sip reads as much as a line of so many bytes a second brings until the next sip. It
// notes the values of rows that are complete, and returns how many there were.
func (p *peer) sip(rate int, have map[string]int64) (rows int, err error) {
	next := time.Now().Add(sip)
	buf := make([]byte, rate*int(sip)/int(time.Second))
	_ = p.SetReadDeadline(next)
	n, err := io.ReadFull(p, buf)
	p.in = append(p.in, buf[:n]...)
	if err != nil && ending(err) != "silence" {
		return 0, err
	}
	time.Sleep(time.Until(next)) // This is the thin line.
	for {
		h, err := wire.ParseHeader(p.in)
		if errors.Is(err, wire.ErrShort) || err == nil && len(p.in) < h.Size+h.Length {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		payload := p.in[h.Size : h.Size+h.Length]
		p.in = p.in[h.Size+h.Length:]
		switch h.Op {
		case wire.OpClose:
			code, _, _ := wire.ParseClose(payload)
			return rows, fmt.Errorf("close %d", code)
		case wire.OpPing:
			if _, err := p.Write(wire.AppendFrame(nil, wire.OpPong, key, payload)); err != nil {
				return rows, err
			}
		case wire.OpText:
			var m struct {
				D []struct {
					S string
					V struct{ Round int64 }
				}
			}
			if err := json.Unmarshal(payload, &m); err != nil {
				return rows, err
			}
			for _, row := range m.D {
				if row.V.Round < have[row.S] {
					return rows, fmt.Errorf("%s stepped back", row.S)
				}
				have[row.S] = row.V.Round
				rows++
			}
		}
	}
}

// oneByte reads so little that it is as good as nothing.
func (r *run) oneByte() string {
	return r.slowPeers(func(p *peer) {
		var one [1]byte
		for tick := time.Tick(time.Second); ; <-tick {
			if _, err := p.Read(one[:]); err != nil {
				return // The edge's reset, or our own at the end.
			}
		}
	})
}

func (r *run) nothing() string { return r.slowPeers(func(*peer) {}) }

// slowPeers opens conns with all topics that have long values and little room for them,
// and waits until the edge has evicted all of them.
func (r *run) slowPeers(read func(*peer)) string {
	fat, err := r.startFat()
	if err != nil {
		return err.Error()
	}
	before := r.edge.closings()
	begin := time.Now()
	what := r.stuckPeers(func(p *peer) error {
		_, err := p.Write(allFat())
		go read(p)
		return err
	}, "slow_consumer")
	took := time.Since(begin)
	if err := fat.end(); err != nil {
		return err.Error()
	}
	if n := int(r.edge.closings()["slow_consumer"] - before["slow_consumer"]); n != r.stuck {
		return what
	}
	if took < r.slowTimeout || took > r.slowTimeout+lateMax {
		return fmt.Sprintf("%s, the last after %.1f s", what, took.Seconds())
	}
	return fmt.Sprintf("%s, %v to %v after the last byte", what, r.slowTimeout, r.slowTimeout+lateMax)
}

// crowdOfNothing opens many conns that read nothing, and watches the edge's memory until
// it has given up all of them.
func (r *run) crowdOfNothing() string {
	fat, err := r.startFat()
	if err != nil {
		return err.Error()
	}
	before, err := r.edge.level()
	if err != nil {
		return err.Error()
	}
	closed, kernel := r.edge.closings(), tcpMemory()
	peers := make(peers, r.crowd)
	defer peers.reset()
	opening := make(chan string, 1)
	go func() {
		opening <- crowd(r.crowd, 64, func(i int) string {
			p, err := r.edge.upgradedBy("", i, smallBuffer)
			if err != nil {
				return err.Error()
			}
			peers[i] = p
			if _, err := p.Write(allFat()); err != nil {
				return err.Error()
			}
			return "opened"
		})
	}()
	reasons := []string{"slow_consumer", "backlog_total"}
	peak, most, backlog, tcp := int64(0), 0.0, 0.0, int64(0)
	gone := func() (n float64) {
		now := r.edge.closings()
		for _, reason := range reasons {
			n += now[reason] - closed[reason]
		}
		return n
	}
	ended := r.edge.until(stuckMax, func() bool {
		if v, err := r.edge.level(); err == nil {
			peak, most = max(peak, v.rss), max(most, v.conns-before.conns)
		}
		if m, err := r.edge.server.Metrics(); err == nil {
			backlog = max(backlog, m["edge_backlog_bytes"])
		}
		tcp = max(tcp, tcpMemory()-kernel)
		return gone() >= float64(r.crowd)
	})
	what := <-opening
	if err := fat.end(); err != nil {
		return err.Error()
	}
	if !ended || what != fmt.Sprintf("%d × opened", r.crowd) {
		return fmt.Sprintf("%s, %.0f evicted", what, gone())
	}
	grown := peak - before.rss
	fmt.Fprintf(r.log, "        up to %.0f at a time; RSS from %d to %d MiB, %.1f KiB a conn; backlog up to %.0f MiB; the kernel's TCP memory, both ends, up to %d MiB\n",
		most, before.rss>>20, peak>>20, float64(grown)/most/(1<<10), backlog/(1<<20), tcp>>20)
	if grown > crowdSlack+int64(most)*crowdMax {
		return fmt.Sprintf("%d MiB of memory for %.0f conns", grown>>20, most)
	}
	return r.crowdDemand()
}

// crowdSlack is what an edge may need beside, however few conns there are.
const crowdSlack = 32 << 20

// tcpMemory is what the kernel has for all TCP sockets of this host, in bytes.
func tcpMemory() int64 {
	n, _ := procfs.TCPMem() // 0 if it can't be read: it is only told.
	return n
}
