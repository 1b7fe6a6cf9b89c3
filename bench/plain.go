// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tickedge/bench/internal/lab"
	"tickedge/bench/internal/wire"
)

const (
	// plainPending bounds the handshakes under way, so that none waits in a full
	// backlog of the listener and is delayed by a second.
	plainPending = 256
	// plainPause is the time between two looks at the handshakes under way.
	plainPause = time.Millisecond
	// plainPatience bounds every wait for a server, which may be busy.
	plainPatience = 30 * time.Second
	// plainSource is how many conns share a source address, as in package swarm.
	plainSource = 8000
	// plainRead bounds one read. A read that fills it has found the server's frames
	// piled up.
	plainRead = 64 << 10
)

// plainConns are clients for modes in which bench has to be cheap: raw sockets without
// epoll, whose reader hops from one frame's header to the next and looks into none.
// What is in the frames is checked on the conns of a swarm beside them. Owned by one
// goroutine at a time.
type plainConns struct {
	server  netip.AddrPort
	request []byte
	conns   []plainConn
	asked   int // So many of them have subscribed.
	buf     []byte

	// Any goroutine may look at these.
	frames atomic.Uint64 // Text frames that came.
	full   atomic.Uint64 // Reads that filled the buffer.
}

// plainConn is one of them.
type plainConn struct {
	fd     int    // -1 once closed.
	cut    []byte // The start of the answer, of a header or of a control frame.
	skip   int    // Bytes of a frame that are still to come.
	shaken bool
	frames uint32 // Text frames that came.
}

func newPlain(server *lab.Server) (*plainConns, error) {
	addr, err := netip.ParseAddrPort(server.Addr)
	if err != nil {
		return nil, fmt.Errorf("plain conns: %w", err)
	}
	return &plainConns{
		server: addr, request: wire.AppendRequest(nil, "/ws", server.Addr, [16]byte{}),
		buf: make([]byte, wire.HeadMax+plainRead),
	}, nil
}

// open opens n more conns at a rate per second, and returns when all have the server's
// answer and its hello.
func (p *plainConns) open(ctx context.Context, n int, rate float64) error {
	var waiting []int
	first, began, progress := len(p.conns), time.Now(), time.Now()
	for len(p.conns) < first+n || len(waiting) > 0 {
		for len(p.conns) < first+n && len(waiting) < plainPending && float64(len(p.conns)-first) <= time.Since(began).Seconds()*rate {
			if err := p.dial(); err != nil {
				return fmt.Errorf("plain conns: conn %d: %w", len(p.conns), err)
			}
			waiting = append(waiting, len(p.conns)-1)
			progress = time.Now()
		}
		var err error
		waiting = slices.DeleteFunc(waiting, func(i int) bool {
			err = errors.Join(err, p.read(i))
			return p.conns[i].frames > 0
		})
		if err == nil && time.Since(progress) > plainPatience {
			err = fmt.Errorf("plain conns: %d handshakes without an answer for %v", len(waiting), plainPatience)
		}
		if err := errors.Join(err, pause(ctx, plainPause)); err != nil {
			return err
		}
	}
	return nil
}

// dial opens a conn and sends its request.
func (p *plainConns) dial() error {
	// Sources of their own, apart from those of swarms and of slow clients.
	fd, err := dialRaw(p.server, [4]byte{127, 2, 0, byte(1 + (len(p.conns)+1)/plainSource)}, 0, p.request)
	if err == nil {
		p.conns = append(p.conns, plainConn{fd: fd})
	}
	return err
}

// dialRaw opens a socket from an address of the loopback and sends the request. A buffer
// above 0 is that for its input. On the loopback the kernel finishes the connect without
// the server.
func dialRaw(server netip.AddrPort, from [4]byte, buffer int, request []byte) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	fail := func(call string, err error) (int, error) {
		unix.Close(fd)
		return -1, fmt.Errorf("%s: %w", call, err)
	}
	if buffer > 0 { // Before the connect, which tells the server the size of the window.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer); err != nil {
			return fail("setsockopt", err)
		}
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from}); err != nil {
		return fail("bind", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(server.Port()), Addr: server.Addr().As4()}); err != nil {
		return fail("connect", err)
	}
	if n, err := syscall.Write(fd, request); err != nil || n < len(request) {
		return fail(fmt.Sprintf("the request was not taken: %d of %d bytes", n, len(request)), err)
	}
	return fd, nil
}

// subscribe lets each conn that has not yet ask for so many topics of its own, drawn from all.
func (p *plainConns) subscribe(all []string, topics int, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, uint64(p.asked)))
	names := make([]string, topics)
	for i := p.asked; i < len(p.conns); i++ {
		for k, id := range rng.Perm(len(all))[:topics] {
			names[k] = all[id]
		}
		frame := appendSubscribe(nil, names)
		if n, err := syscall.Write(p.conns[i].fd, frame); err != nil || n < len(frame) {
			return fmt.Errorf("plain conns: conn %d: the subscribe was not taken: %d of %d bytes, %w", i, n, len(frame), err)
		}
	}
	p.asked = len(p.conns)
	return nil
}

// appendSubscribe appends a subscribe as a client's frame.
func appendSubscribe(dst []byte, names []string) []byte {
	cmd := []byte(`{"op":"subscribe","topics":[`)
	for i, name := range names {
		if i > 0 {
			cmd = append(cmd, ',')
		}
		cmd = strconv.AppendQuote(cmd, name)
	}
	return wire.AppendFrame(dst, wire.OpText, [4]byte{}, append(cmd, `],"id":1}`...))
}

// awaitFrames reads until each conn has had so many text frames.
func (p *plainConns) awaitFrames(ctx context.Context, frames uint32) error {
	late := 0
	return until(ctx, plainPatience, plainPause, func() (bool, error) {
		err := p.readAll()
		late = slices.IndexFunc(p.conns, func(c plainConn) bool { return c.frames < frames })
		return late < 0, err
	}, func() error {
		return fmt.Errorf("plain conns: conn %d has %d frames after %v, want %d", late, p.conns[late].frames, plainPatience, frames)
	})
}

// readAll takes what has come on all conns.
func (p *plainConns) readAll() error {
	for i := range p.conns {
		if err := p.read(i); err != nil {
			return err
		}
	}
	return nil
}

// read takes what has come on conn i. An error means that the conn is of no use.
func (p *plainConns) read(i int) error {
	c := &p.conns[i]
	have := copy(p.buf, c.cut)
	// Not by way of package unix, which would ask for the address and allocate it.
	got, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(&p.buf[have])), plainRead, unix.MSG_DONTWAIT, 0, 0)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return nil
	case errno != 0:
		return fmt.Errorf("plain conns: conn %d: read: %w", i, errno)
	case got == 0:
		return fmt.Errorf("plain conns: conn %d: ended by the server", i)
	case got == plainRead:
		p.full.Add(1)
	}
	b := p.buf[:have+int(got)]
	if !c.shaken {
		size, status, err := wire.ParseAnswer(b, [16]byte{})
		if err != nil || size > 0 && status != 101 {
			return fmt.Errorf("plain conns: conn %d: answered with status %d, %w", i, status, err)
		}
		c.shaken = size > 0
		b = b[size:]
	}
	if c.shaken {
		var err error
		if b, err = p.hop(c, b); err != nil {
			return fmt.Errorf("plain conns: conn %d: %w", i, err)
		}
	}
	c.cut = append(c.cut[:0], b...)
	return nil
}

// hop counts the frames in b and returns the rest that has to be seen again.
func (p *plainConns) hop(c *plainConn, b []byte) ([]byte, error) {
	for {
		n := min(c.skip, len(b))
		c.skip -= n
		b = b[n:]
		h, err := wire.ParseHeader(b)
		if errors.Is(err, wire.ErrShort) {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
		switch h.Op {
		case wire.OpText:
			c.frames++
			p.frames.Add(1)
		case wire.OpClose:
			return nil, errors.New("closed by the server")
		case wire.OpPing:
			if len(b) < h.Size+h.Length {
				return b, nil
			}
			pong := wire.AppendFrame(nil, wire.OpPong, [4]byte{}, b[h.Size:h.Size+h.Length])
			if _, err := syscall.Write(c.fd, pong); err != nil {
				return nil, fmt.Errorf("pong: %w", err)
			}
		}
		c.skip = h.Size + h.Length
	}
}

// closeSome closes conns from number first on, at a rate per second.
func (p *plainConns) closeSome(ctx context.Context, first int, rate float64) error {
	began := time.Now()
	for i := first; i < len(p.conns); {
		for ; i < len(p.conns) && float64(i-first) <= time.Since(began).Seconds()*rate; i++ {
			p.close(i)
		}
		if err := pause(ctx, plainPause); err != nil {
			return err
		}
	}
	return nil
}

func (p *plainConns) close(i int) {
	if c := &p.conns[i]; c.fd >= 0 {
		unix.Close(c.fd)
		c.fd = -1
	}
}

func (p *plainConns) closeAll() {
	for i := range p.conns {
		p.close(i)
	}
}
