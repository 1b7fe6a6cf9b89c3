// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tickedge/bench/internal/hist"
	"tickedge/bench/internal/lab"
	"tickedge/bench/internal/swarm"
	"tickedge/bench/internal/wire"
)

const (
	// answerMax bounds an answer: 256 rows of 1 KiB.
	answerMax = 300 << 10
	// answerPatience is how long the last answers may take.
	answerPatience = 10 * time.Second
	// requestsLate is the gap between two looks from which on bench is late, as in package swarm.
	requestsLate = 20 * time.Millisecond
)

// requester sends requests for rows at a steady pace over conns that are kept, each of them in
// its turn, and looks at the answers. It does not slow down for a server that is late: what
// is due when no conn is free goes out later, and its time runs from when it was due. Owned by
// one goroutine.
type requester struct {
	server netip.AddrPort
	names  []string // Of all topics.
	topics int      // Of a request.
	rng    *rand.Rand

	patience time.Duration // How long the last answers may take.

	epoll int
	conns []requestConn
	free  []int32 // Conns without a request under way, in the order of their turns.
	out   []byte
	buf   []byte
	now   time.Duration // Since the start.

	stats requestStats
	times hist.Hist // From when a request was due to its whole answer, in µs.
}

// requestConn is one of them.
type requestConn struct {
	fd    int           // -1 while it is not open.
	due   time.Duration // When the request under way was.
	asked []uint32      // Its topics.
	cut   []byte        // The start of its answer.
}

// requestStats is what came of the requests.
type requestStats struct {
	Sent      uint64            `json:"sent"`
	Failed    map[string]uint64 `json:"failed,omitempty"`
	PerSecond float64           `json:"answered_per_second"`
	P50       float64           `json:"p50_ms"`
	P95       float64           `json:"p95_ms"`
	P99       float64           `json:"p99_ms"`
	Max       float64           `json:"max_ms"`
	Opened    uint64            `json:"conns_opened"`
	Bytes     uint64            `json:"bytes"`

	LatePolls    uint64  `json:"late_polls"`
	LongestGapMS float64 `json:"longest_gap_ms"`
}

func newRequester(server *lab.Server, conns, topics, universe int, seed uint64) (*requester, error) {
	addr, err := netip.ParseAddrPort(server.Addr)
	if err != nil {
		return nil, fmt.Errorf("requests: %w", err)
	}
	names, err := swarm.Names(lab.TopicPattern, universe)
	if err != nil {
		return nil, fmt.Errorf("requests: %w", err)
	}
	r := &requester{
		server: addr, names: names, topics: topics, rng: rand.New(rand.NewPCG(seed, 1)), patience: answerPatience,
		conns: make([]requestConn, conns), buf: make([]byte, answerMax), stats: requestStats{Failed: map[string]uint64{}},
	}
	for i := range r.conns {
		r.conns[i] = requestConn{fd: -1, asked: make([]uint32, topics)}
		r.free = append(r.free, int32(i))
	}
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("requests: epoll_create: %w", err)
	}
	return r, nil
}

// run sends rate requests a second until over is closed, and awaits the last answers.
func (r *requester) run(rate float64, over <-chan struct{}) (*requestStats, error) {
	defer r.close()
	began, events := time.Now(), make([]unix.EpollEvent, 128)
	var ended time.Duration // When over was closed; 0 before that.
	for last := time.Duration(0); ended == 0 || len(r.free) < len(r.conns) && r.now < ended+r.patience; last = r.now {
		r.now = time.Since(began)
		if gap := r.now - last; gap > requestsLate {
			r.stats.LatePolls++
			r.stats.LongestGapMS = max(r.stats.LongestGapMS, ms(gap))
		}
		select {
		case <-over:
			over, ended = nil, max(r.now, 1)
			r.stats.PerSecond = float64(r.times.N()) / ended.Seconds()
		default:
		}
		for ended == 0 && len(r.free) > 0 {
			due := time.Duration(float64(r.stats.Sent) / rate * float64(time.Second))
			if due > r.now {
				break
			}
			if err := r.send(due); err != nil {
				return nil, err
			}
		}
		n, err := unix.EpollWait(r.epoll, events, 1)
		if err != nil && err != unix.EINTR {
			return nil, fmt.Errorf("requests: epoll_wait: %w", err)
		}
		r.now = time.Since(began)
		for _, e := range events[:max(n, 0)] {
			r.read(e.Fd)
		}
	}
	for range len(r.conns) - len(r.free) {
		r.stats.Failed["no answer within "+r.patience.String()]++
	}
	us := func(q float64) float64 { return float64(r.times.Quantile(q)) / 1000 }
	r.stats.P50, r.stats.P95, r.stats.P99, r.stats.Max = us(0.5), us(0.95), us(0.99), float64(r.times.Max())/1000
	return &r.stats, nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// send sends the request that was due, on the conn whose turn it is. An error means that there
// is no socket for it.
func (r *requester) send(due time.Duration) error {
	i := r.free[0]
	r.free = r.free[1:]
	c := &r.conns[i]
	c.due = due
	target := "/prices?topics="
	for k := range c.asked {
		c.asked[k] = uint32(r.rng.IntN(len(r.names)))
		target += r.names[c.asked[k]] + ","
	}
	r.out = wire.AppendGet(r.out[:0], strings.TrimSuffix(target, ","), r.server.String())
	r.stats.Sent++
	if c.fd >= 0 {
		if n, err := unix.Write(c.fd, r.out); err != nil || n < len(r.out) {
			r.fail(i, "the request was not taken")
		}
		return nil
	}
	// An address for each conn, as they are many clients. Swarms and others have other ones.
	fd, err := dialRaw(r.server, [4]byte{127, 3, byte(i >> 8), byte(i)}, 0, r.out)
	if err != nil {
		return fmt.Errorf("requests: %w", err)
	}
	c.fd = fd
	r.stats.Opened++
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: i}
	if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("requests: epoll_ctl: %w", err)
	}
	return nil
}

// read takes what has come on a conn.
func (r *requester) read(i int32) {
	c := &r.conns[i]
	have := copy(r.buf, c.cut)
	n, _, err := unix.Recvfrom(c.fd, r.buf[have:], unix.MSG_DONTWAIT)
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if err != nil || n == 0 {
		r.fail(i, "the conn ended before its answer")
		return
	}
	r.stats.Bytes += uint64(n)
	b := r.buf[:have+n]
	head, err := wire.ParseResponse(b)
	if err != nil {
		r.fail(i, err.Error())
		return
	}
	length, err := strconv.Atoi(string(head.Field("Content-Length")))
	switch {
	case head.Size > 0 && (err != nil || length < 0 || head.Size+length > answerMax):
		r.fail(i, "an answer without a good length")
	case head.Size == 0 || len(b) < head.Size+length:
		c.cut = append(c.cut[:0], b...)
	case head.Status != 200:
		r.fail(i, "HTTP "+strconv.Itoa(head.Status))
	case len(b) > head.Size+length || !r.whole(c, b[head.Size:]):
		r.fail(i, "an answer without all rows, or with more behind it")
	default:
		r.times.Add(uint64((r.now - c.due).Microseconds()))
		r.next(i, head.Has("Connection", "close"))
	}
}

// whole reports whether an answer has a row of each topic.
func (r *requester) whole(c *requestConn, body []byte) bool {
	for _, id := range c.asked {
		if !bytes.Contains(body, []byte(`{"s":"`+r.names[id]+`","n":`)) {
			return false
		}
	}
	return bytes.HasPrefix(body, []byte(`{"d":[`)) && bytes.HasSuffix(body, []byte(`],"missing":[]}`))
}

// fail counts a request that came to nothing. What its conn says from now on is of no use.
func (r *requester) fail(i int32, kind string) {
	r.stats.Failed[kind]++
	r.next(i, true)
}

// next lets a conn wait for its turn. One that ends is opened anew then.
func (r *requester) next(i int32, ends bool) {
	c := &r.conns[i]
	if ends && c.fd >= 0 {
		unix.Close(c.fd)
		c.fd = -1
	}
	c.cut = c.cut[:0]
	r.free = append(r.free, i)
}

func (r *requester) close() {
	for i := range r.conns {
		if r.conns[i].fd >= 0 {
			unix.Close(r.conns[i].fd)
		}
	}
	unix.Close(r.epoll)
}
