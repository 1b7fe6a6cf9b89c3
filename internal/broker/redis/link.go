// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"tickedge/internal/broker"
	"tickedge/internal/resp"
)

const (
	// gatherFor is how long a subscription waits for others to share its command: a
	// page of a hundred topics comes as a hundred changes.
	gatherFor = 3 * time.Millisecond
	// pingsMax bounds the pings without an answer, those of pipelines included.
	pingsMax = 16
	// pingEvery is the most time between two pings, which tell how far the receiver is
	// behind.
	pingEvery = time.Second
)

// link is one connection for messages and one for fetches, to the same server, and all
// that happens over them. It is never repaired: whatever fails ends it.
//
// A fetched value must not overtake the messages that are still on their way, or a row
// would step back when they come. So the fetcher hands the values of a pipeline to the
// writer, who writes a ping behind them. Redis answers it behind all that was published
// before the values were read, and when the receiver comes to that pong, it commits the
// values itself.
//
//	receiver  reads messages and confirmations, into the table and s.wants
//	writer    writes SUBSCRIBE, UNSUBSCRIBE and PING
//	fetcher   gets newest values over the second connection
//	watchdog  ends the link when nothing was heard, or a command not answered, for the timeout
//	follower  ends the link when its target has moved to another server
//	retrier   has what was refused asked for again
type link struct {
	s     *server
	veil  veil
	conn  net.Conn      // For messages. Once greeted, it is read by the receiver and written by the writer alone.
	in    *resp.Reader  // Reads from conn by way of the link.
	at    int64         // When the receiver has read last.
	heard atomic.Uint64 // Counts reads that brought something.

	fetcher fetcher
	fetched chan []repair // From the fetcher to the writer.
	pings   pings
	written uint64 // Commands but pings. Of the writer.
	// up notes, once, that the link has come to work: it is greeted and, where one subscription brings
	// all, has that. A link that fails before is one more attempt, and the outage goes on.
	up func()
}

// runLink runs one link. It calls up when the connection works, and returns why
// it ended, with its goroutines ended and its sockets closed.
func (s *server) runLink(ctx context.Context, up func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer s.wants.reset()

	base, err := s.resolve(ctx)
	if err != nil {
		return err
	}
	s.addr = base.Addr
	conn, err := bareDialer(ctx, base)(ctx, cmp.Or(base.Network, "tcp"), base.Addr)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	l := newLink(s, conn)
	s.copies = copies{}
	l.veil = veil{base.Password}
	if err := l.greet(base); err != nil {
		if l.heard.Load() == 0 {
			err = noWord(conn, err)
		}
		return fmt.Errorf("connect: %w", err)
	}
	base.Dialer = l.dialSame(dialer(ctx, base))
	get := newClient(base)
	defer get.Close()
	l.fetcher = fetcher{s: s, get: get, waiting: make(chan struct{}, waitingMax), after: nothing, hand: l.hand, look: l.look}
	s.pings.Store(&l.pings)
	defer s.pings.Store(nil)
	if l.up = sync.OnceFunc(up); !s.wants.blanket {
		l.up()
	}
	l.look()

	return runAll(ctx, cancel, l.receive, l.write, l.fetcher.run, l.watch, l.follow, s.retry)
}

func newLink(s *server, conn net.Conn) *link {
	l := &link{s: s, conn: conn, fetched: make(chan []repair)}
	l.in = resp.NewReader(l, broker.ValueMax)
	return l
}

// Read reads from the connection, for the link's reader. What it brings all came in at one
// time.
func (l *link) Read(b []byte) (int, error) {
	n, err := l.conn.Read(b)
	if n > 0 {
		l.heard.Add(1)
		l.at = l.s.owner.Now()
	}
	return n, err
}

// resolve asks the target where to connect to.
func (s *server) resolve(ctx context.Context) (*goredis.Options, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	opts, err := s.target.resolve(ctx)
	if err != nil {
		return nil, fmt.Errorf("find the server: %w", err)
	}
	return opts, nil
}

// dialSame returns a dialer to the very address that the messages come from: a name may
// stand for several servers, and a value of another one may be older than what was
// published on this.
func (l *link) dialSame(dial dialFunc) dialFunc {
	to := l.conn.RemoteAddr()
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dial(ctx, to.Network(), to.String())
	}
}

// follow ends the link when its target has moved to another server.
func (l *link) follow(ctx context.Context) error { return l.s.target.watch(ctx, l.s.addr) }

// greet says who we are and waits for the answer to a ping. A server that accepts and then
// says nothing has not answered.
func (l *link) greet(o *goredis.Options) error {
	l.conn.SetDeadline(time.Now().Add(l.s.cfg.Timeout))
	defer l.conn.SetDeadline(time.Time{})
	if o.Password != "" {
		if err := l.authenticate(o.Username, o.Password); err != nil {
			return err
		}
	}
	if o.DB != 0 {
		if err := l.ask(resp.OK, "select", strconv.Itoa(o.DB)); err != nil {
			return err
		}
	}
	if o.ClientName != "" {
		if err := l.ask(resp.OK, "client", "setname", o.ClientName); err != nil {
			return err
		}
	}
	if err := l.ask(resp.Pong, "ping"); !isAlive(err) {
		return err
	}
	return nil
}

// authenticate sends the password. Its errors hold nothing of it, whatever the other side
// makes of the command: some repeat the arguments of what they don't know.
func (l *link) authenticate(user, password string) error {
	args := []string{password}
	if user != "" {
		args = []string{user, password}
	}
	err := l.ask(resp.OK, "auth", args...)
	if broken := (*resp.Error)(nil); errors.As(err, &broken) {
		return fmt.Errorf("auth: %w", &resp.Error{What: broken.What, Near: "(not shown)"})
	}
	return err
}

// ask sends a command and waits for an answer of a kind.
func (l *link) ask(want resp.Kind, name string, args ...string) error {
	if err := l.send(name, args...); err != nil {
		return err
	}
	switch e, err := l.in.Next(); {
	case err != nil:
		return fmt.Errorf("%s: %w", name, l.veil.hide(err))
	case e.Kind == resp.Refusal:
		return fmt.Errorf("%s: %w", name, l.said(e))
	case e.Kind != want:
		return fmt.Errorf("%s: %w", name, l.veil.hide(errUnexpected(e)))
	}
	return nil
}

// said is a refusal, without the password: what is between us and Redis may repeat it long after it
// was sent, as the answer to something else.
func (l *link) said(e resp.Event) redisError {
	return redisError(conceal(string(e.Payload), l.veil...))
}

// errUnexpected is the error of a connection on which something came that was not due.
func errUnexpected(e resp.Event) error {
	return &resp.Error{What: "another answer than the one that is due", Near: string(e.Kind) + " " + broker.Excerpt(text(e.Payload))}
}

// receive has no deadline: one that expires in the middle of a message would leave
// its rest in the stream. The end of ctx closes the socket.
func (l *link) receive(context.Context) error {
	counted := false
	for {
		e, err := l.in.Next()
		if err != nil {
			return fmt.Errorf("receive: %w", l.veil.hide(err))
		}
		switch e.Kind {
		case resp.Refusal:
			if err := l.refused(l.said(e)); err != nil {
				return fmt.Errorf("receive: %w", err)
			}
			l.look()
		case resp.Pong:
			if err := l.answered(string(e.Payload)); err != nil {
				return err
			}
		case resp.OK:
			return fmt.Errorf("receive: %w", l.veil.hide(errUnexpected(e)))
		default:
			if e.Kind == resp.PSubscribe {
				l.up()
			}
			if l.s.receive(e, l.at) && !counted {
				counted = true
				l.s.counters[broker.Gaps].Add(1)
			}
		}
	}
}

// refused takes an error in place of an answer. Redis answers in order, so it is known to what.
func (l *link) refused(err redisError) error {
	if !l.pings.due(l.s.wants.landedCommands()) {
		return l.s.refuse(err)
	}
	if token, _ := l.pings.oldest(); isAlive(err) {
		return l.answered(strconv.FormatUint(token, 10))
	}
	return fmt.Errorf("ping: %w", err)
}

func (l *link) write(ctx context.Context) error {
	ping := time.NewTicker(min(pingEvery, l.s.cfg.Timeout/watchBeats))
	defer ping.Stop()
	if l.s.wants.blanket {
		l.written++
		if err := l.send(l.s.verbs.subscribe, l.s.channel.glob()); err != nil {
			return err
		}
	}
	for {
		if err := l.writeCommands(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.s.wants.written:
			broker.Sleep(ctx, gatherFor)
		case <-l.s.wants.room:
		case <-ping.C:
			l.look() // Topics that were behind may have been given up.
			if l.pings.len() < pingsMax-waitingMax {
				if err := l.ping(nil); err != nil {
					return err
				}
			}
		case batch := <-l.fetched:
			if err := l.ping(batch); err != nil {
				return err
			}
		}
	}
}

// ping writes a ping, whose pong lets the values of batch into the table.
func (l *link) ping(batch []repair) error {
	return l.send("ping", l.pings.add(time.Now(), batch, l.written))
}

// answered takes a pong. Whatever was published before its ping was written has been
// received. That of the greeting was taken by greet, so there is none without a ping.
func (l *link) answered(token string) error {
	batch, err := l.pings.answered(time.Now(), token)
	if batch != nil {
		l.fetcher.commit(batch)
	}
	return err
}

// hand passes the values of a pipeline on to the writer.
func (l *link) hand(ctx context.Context, batch []repair) {
	select {
	case <-ctx.Done():
	case l.fetched <- batch:
	}
}

// look finds out whether values are current, which ends the gap before this link.
func (l *link) look() {
	if l.s.wants.endGap() {
		l.s.changed(true)
	}
}

// writeCommands writes what is to be subscribed and unsubscribed, as far as flight has
// room for it.
func (l *link) writeCommands(ctx context.Context) error {
	for ctx.Err() == nil {
		c := l.s.wants.next(l.s.verbs.most)
		if len(c.topics) == 0 {
			return nil
		}
		verb, names := l.s.spell(c)
		l.written++
		if err := l.send(verb, names...); err != nil {
			return err
		}
	}
	return nil
}

// spell is a command as it is written.
func (s *server) spell(c command) (verb string, names []string) {
	switch c.name {
	case psubscribe, punsubscribe:
		return c.name, c.topics
	case unsubscribe:
		verb = s.verbs.unsubscribe
	default:
		verb = s.verbs.subscribe
	}
	names = make([]string, len(c.topics))
	for i, topic := range c.topics {
		names[i] = s.channel.name(topic)
	}
	return verb, names
}

// send writes one command.
func (l *link) send(name string, args ...string) error {
	l.conn.SetWriteDeadline(time.Now().Add(l.s.cfg.Timeout))
	if _, err := l.conn.Write(appendCommand(nil, name, args)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// appendCommand appends a command as Redis reads it (RESP).
func appendCommand(dst []byte, name string, args []string) []byte {
	dst = append(dst, '*')
	dst = strconv.AppendInt(dst, int64(1+len(args)), 10)
	dst = append(dst, "\r\n"...)
	dst = appendBulk(dst, name)
	for _, a := range args {
		dst = appendBulk(dst, a)
	}
	return dst
}

func appendBulk(dst []byte, s string) []byte {
	dst = append(dst, '$')
	dst = strconv.AppendInt(dst, int64(len(s)), 10)
	dst = append(dst, "\r\n"...)
	dst = append(dst, s...)
	return append(dst, "\r\n"...)
}

// watch ends a link that is silent, and one over which commands are not answered while
// other things come: what it serves may be nothing.
func (l *link) watch(ctx context.Context) error {
	return watch(ctx, l.s.cfg.Timeout,
		sign{func() (uint64, bool) { return l.heard.Load(), true }, errSilent},
		sign{l.s.wants.unanswered, errUnanswered},
		sign{l.pings.oldest, errNoPong})
}
