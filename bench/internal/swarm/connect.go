// SPDX-License-Identifier: Apache-2.0

//go:build linux

package swarm

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tickedge/bench/internal/wire"
)

const (
	// pendingMax bounds the handshakes under way, so that a server that falls behind
	// is asked more slowly instead of being buried.
	pendingMax = 256
	// sourceConns is how many conns share a source address. A source has 28,000 ports
	// towards one server, but the kernel's search for a free one slows down long
	// before they are used up.
	sourceConns = 8000
	// unsentMax bounds what a conn keeps for a server that does not read: the longest
	// subscribe, 256 topics of 64 bytes, and some pongs.
	unsentMax = 32 << 10
)

// connect opens the conns that are due. It must not be called between the events of
// one poll: there may be one for the descriptor that a vacant conn had.
func (s *Swarm) connect() {
	for len(s.vacant) > 0 && s.pending < pendingMax {
		i := s.vacant[len(s.vacant)-1]
		s.vacant = s.vacant[:len(s.vacant)-1]
		s.renew(i)
		s.dial(i)
	}
	for s.opened < len(s.conns) && s.pending < pendingMax &&
		float64(s.opened) <= s.now.Seconds()*s.cfg.Rate {
		s.dial(int32(s.opened))
		s.opened++
	}
}

func (s *Swarm) dial(i int32) {
	c := &s.conns[i]
	c.since = s.ms()
	family, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(s.cfg.Addr.Port()), Addr: s.cfg.Addr.Addr().As16()})
	if s.cfg.Addr.Addr().Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: int(s.cfg.Addr.Port()), Addr: s.cfg.Addr.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		c.state = closed
		s.tally(s.rep.Refused, i, "socket: "+err.Error(), nil)
		return
	}
	c.fd, c.state = int32(fd), dialing
	s.pending++
	if from := source(s.cfg.Addr.Addr(), s.cfg.First+int(i)+s.renewed%churnSources*sourceConns); from.IsValid() {
		// The port is chosen by connect, where it only has to be free towards this server.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()}); err != nil {
			s.refuse(i, "bind: "+err.Error(), nil)
			return
		}
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := unix.Connect(fd, to); err != nil && err != unix.EINPROGRESS {
		s.refuse(i, "connect: "+err.Error(), nil)
		return
	}
	// Edge-triggered: a level-triggered poll looks at each socket a second time, to
	// find it empty, and has to be told to stop asking for EPOLLOUT.
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: i}
	if err := unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		s.refuse(i, "epoll_ctl: "+err.Error(), nil)
	}
}

// source is the address that conn number n comes from; none, and thus the system's
// choice, unless the server is on the loopback.
func source(server netip.Addr, n int) netip.Addr {
	if !server.Is4() || !server.IsLoopback() {
		return netip.Addr{}
	}
	k := 2 + n/sourceConns
	return netip.AddrFrom4([4]byte{127, 0, byte(k >> 8), byte(k)})
}

// key is the Sec-WebSocket-Key of a conn. It follows from the conn's number and is
// not kept.
func (s *Swarm) key(i int32) (key [16]byte) {
	pcg := rand.NewPCG(^s.cfg.Seed, uint64(s.cfg.First+int(i)))
	binary.LittleEndian.PutUint64(key[:], pcg.Uint64())
	binary.LittleEndian.PutUint64(key[8:], pcg.Uint64())
	return key
}

// dialed sends the request as soon as the connect has come to its end.
func (s *Swarm) dialed(i int32) {
	c := &s.conns[i]
	code, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil || code != 0 {
		s.refuse(i, "connect: "+syscall.Errno(code).Error(), nil)
		return
	}
	c.state, c.since = shaking, s.ms()
	if s.cfg.Events {
		s.out = wire.AppendGet(s.out[:0], s.streamTarget(i), s.cfg.Host)
	} else {
		s.out = wire.AppendRequest(s.out[:0], s.cfg.Target, s.cfg.Host, s.key(i))
	}
	s.send(i, s.out)
}

// streamTarget is the target with the topics of a conn. No byte of their names wants an escape.
func (s *Swarm) streamTarget(i int32) string {
	names := make([]string, 0, TopicsMax)
	for _, id := range s.topics(int(i)) {
		names = append(names, s.names[id])
	}
	return WithQuery(s.cfg.Target, "topics="+strings.Join(names, ","))
}

// WithQuery adds a parameter to the target of a request.
func WithQuery(target, parameter string) string {
	if strings.Contains(target, "?") {
		return target + "&" + parameter
	}
	return target + "?" + parameter
}

// answered looks at the answer to the request. It returns how much of b that was, 0
// if the answer is not complete or the conn has ended.
func (s *Swarm) answered(i int32, b []byte) int {
	c := &s.conns[i]
	good := 101
	size, status, err := 0, 0, error(nil)
	if s.cfg.Events {
		good = 200
		size, status, err = wire.ParseStream(b)
	} else {
		size, status, err = wire.ParseAnswer(b, s.key(i))
	}
	switch {
	case err != nil:
		s.violate(i, err.Error(), b)
		s.refuse(i, err.Error(), b)
		return 0
	case size == 0:
		return 0
	case status != good:
		s.refuse(i, "HTTP "+strconv.Itoa(status), b)
		return 0
	}
	s.pending--
	s.rep.Connected++
	s.gauges.Open++
	c.state, c.since = open, s.ms()
	c.lastFrame, c.lastText = c.since, c.since
	switch {
	case s.cfg.Events:
		s.await(c)
	case len(s.cfg.Screens) > 0:
		s.askScreen(i)
	default:
		s.command(i, "subscribe", s.topics(int(i)), subscribeID)
	}
	return size
}

// Ids of commands, which come back in acks.
const (
	subscribeID   = 1 // All topics of a new conn.
	unsubscribeID = 2 // The topic to be exchanged.
	resubscribeID = 3 // The one instead.
)

// command sends a command whose ack is awaited. It may end the conn.
func (s *Swarm) command(i int32, op string, topics []uint32, id int) {
	cmd := append(append([]byte(`{"op":"`), op...), `","topics":[`...)
	for k, t := range topics {
		if k > 0 {
			cmd = append(cmd, ',')
		}
		cmd = append(append(append(cmd, '"'), s.names[t]...), '"')
	}
	cmd = append(strconv.AppendInt(append(cmd, `],"id":`...), int64(id), 10), '}')
	s.await(&s.conns[i])
	s.sendFrame(i, wire.OpText, cmd)
}

// await notes that an ack is to come.
func (s *Swarm) await(c *conn) {
	c.known |= awaiting
	c.asked = s.ms()
	s.waiting++
}

// settle notes that nothing of a conn is awaited any more.
func (s *Swarm) settle(c *conn) {
	if c.known&awaiting != 0 {
		c.known &^= awaiting
		s.waiting--
	}
}

func (s *Swarm) sendFrame(i int32, op wire.Op, payload []byte) {
	var key [4]byte
	binary.LittleEndian.PutUint32(key[:], s.rng.Uint32())
	s.out = wire.AppendFrame(s.out[:0], op, key, payload)
	s.send(i, s.out)
}

// send writes b, or keeps what the socket does not take. It may end the conn.
func (s *Swarm) send(i int32, b []byte) {
	c := &s.conns[i]
	if kept, ok := s.unsent[i]; ok {
		if len(kept)+len(b) > unsentMax {
			s.lose(i, "server does not read")
			return
		}
		s.unsent[i] = append(kept, b...)
		return
	}
	n, err := unix.Write(int(c.fd), b)
	if err != nil && err != unix.EAGAIN {
		s.broken(i, "write: "+err.Error())
		return
	}
	if n = max(n, 0); n < len(b) {
		s.unsent[i] = append([]byte(nil), b[n:]...)
	}
}

// resend goes on with what send had to keep.
func (s *Swarm) resend(i int32) {
	b := s.unsent[i]
	delete(s.unsent, i)
	s.send(i, b)
}

// refuse ends a conn that never came to be open.
func (s *Swarm) refuse(i int32, kind string, detail []byte) {
	s.pending--
	s.tally(s.rep.Refused, i, kind, detail)
	s.end(i)
}

// lose ends a conn that was open.
func (s *Swarm) lose(i int32, kind string) {
	s.tally(s.rep.Lost, i, kind, nil)
	s.end(i)
}

// broken ends a conn whose socket failed, whatever its state.
func (s *Swarm) broken(i int32, kind string) {
	switch s.conns[i].state {
	case open:
		s.lose(i, kind)
	case leaving:
		s.unanswered(i)
	default:
		s.refuse(i, kind, nil)
	}
}

// end closes the descriptor. An event that is still to come in this poll finds the
// conn closed.
func (s *Swarm) end(i int32) {
	c := &s.conns[i]
	if c.state == open {
		s.depart(c)
	}
	unix.Close(int(c.fd))
	delete(s.unsent, i)
	c.state, c.partial = closed, nil
}

// depart takes a conn out of those that are open.
func (s *Swarm) depart(c *conn) {
	s.settle(c)
	s.gauges.Open--
	if c.known&acked != 0 {
		s.gauges.Acked--
	}
}

// normalClosure is the payload of our close frames: code 1000.
var normalClosure = []byte{0x03, 0xe8}

// closeAll says goodbye to all conns, without waiting for answers.
func (s *Swarm) closeAll() {
	for i := range s.conns {
		c := &s.conns[i]
		if c.state == open && !s.cfg.Events {
			var key [4]byte
			s.out = wire.AppendFrame(s.out[:0], wire.OpClose, key, normalClosure)
			_, _ = unix.Write(int(c.fd), s.out)
		}
		if c.state != unopened && c.state != closed {
			s.end(int32(i))
		}
	}
}

// tally counts an event of conn i, with an example if it is the first of its kind in
// this report.
func (s *Swarm) tally(t Tallies, i int32, kind string, detail []byte) {
	const detailMax = 300
	of := t.add(kind, s.now)
	if of == nil {
		return
	}
	of.Example = fmt.Sprintf("conn %d at %v", s.cfg.First+int(i), s.now.Round(time.Millisecond))
	if len(detail) > 0 {
		of.Example += fmt.Sprintf(": %.*q", detailMax, detail)
	}
}
