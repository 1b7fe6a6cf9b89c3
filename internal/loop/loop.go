package loop

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"tickedge/internal/fanout"
	"tickedge/internal/panics"
	"tickedge/internal/wsproto"
)

const (
	// A slab of 1,024 conns is 64 KB and stands in pages of its own. Go rounds a smaller
	// object with pointers in it up to its next class of sizes: with 256 conns, by 8 bytes
	// for each.
	slabBits = 10
	slabMask = 1<<slabBits - 1

	// publishEvery is how old the figures of [Server.Stats] may be.
	publishEvery = 200 * time.Millisecond
)

// loop is one gnet engine with one event loop, and the state of its conns. All
// fields are owned by the event loop's goroutine, but for those said otherwise.
type loop struct {
	gnet.BuiltinEventEngine

	server  *Server
	index   int
	shard   *fanout.Shard
	parser  *wsproto.Parser
	limits  limits
	slabs   []*[1 << slabBits]conn // By fanout.ConnID.
	out     []byte                 // Scratch for what a turn of a conn writes.
	counts  counts
	rng     *rand.Rand
	ended   bool      // The listener was closed.
	failing bool      // The last accept has failed.
	begun   time.Time // When its time began.
	now     time.Time // Of the read that is handled.

	evicted   []Identity // Of the evictions that the shard keeps, in the same places.
	evictedAt int        // The oldest of them.

	unfinished   []unfinished // Conns that may have an incomplete message.
	unfinishedAt time.Time    // When they were looked at.

	expiries expiries // Of the conns with a token.

	// Set before the loop accepts, not changed after that.
	engine     gnet.Engine
	addr       net.Addr
	families   string // Of its clients.
	listenerFD int    // -1 if it could not be found.

	// Shared with the driver and others.
	events    atomic.Pointer[gnet.EventLoop] // Known from the first connection on.
	queued    atomic.Bool                    // A turn waits in gnet's queue, or runs.
	awake     atomic.Bool                    // There is something for turns to do.
	poke      chan struct{}                  // Turn now.
	held      chan int                       // The epoll that the listener was taken out of.
	ready     chan struct{}                  // Closed by OnBoot.
	bootErr   error                          // Set before ready is closed.
	endOnce   sync.Once                      // For ending.
	ending    chan struct{}                  // Closed when the engine begins to end.
	driven    chan struct{}                  // Closed when drive has returned.
	done      chan struct{}                  // Closed when the engine has ended.
	stopping  atomic.Bool                    // The engine's end is asked for.
	requests  requests
	published struct {
		sync.Mutex
		stats   Stats
		at      time.Time // Owned by the loop.
		settled bool      // Owned by the loop: published since the last conn went.
	}
}

// requests is what other goroutines ask a loop to do.
type requests struct {
	sync.Mutex
	list []func()
}

func newLoop(s *Server, index int) *loop {
	l := &loop{
		server: s, index: index, listenerFD: -1,
		parser: wsproto.NewParser(s.cfg.Shard.MaxTopics),
		limits: s.cfg.limits,
		poke:   make(chan struct{}, 1),
		held:   make(chan int, 1),
		ready:  make(chan struct{}),
		ending: make(chan struct{}),
		driven: make(chan struct{}),
		done:   make(chan struct{}),
	}
	cfg := s.cfg.Shard
	cfg.Seed += uint64(index)
	l.rng = rand.New(rand.NewPCG(cfg.Seed, 1))
	l.begun = time.Now()
	l.shard = fanout.New(cfg, s.table, l, l.begun)
	return l
}

// start runs the engine and returns when it accepts connections. listen is the address as
// gnet takes it.
func (l *loop) start(listen string) error {
	failed := make(chan error, 1)
	l.server.finished.Add(2)
	go func() {
		defer l.server.finished.Done()
		defer close(l.done)
		defer l.endDriver()
		err := gnet.Run(l, listen, l.options()...)
		failed <- err
		if !l.stopping.Load() {
			// gnet.Run also returns nil when epoll has failed; it has logged why.
			if err == nil {
				err = errors.New("waiting for events failed, see the error before this one")
			}
			l.server.fail <- fmt.Errorf("event loop %d ended: %w", l.index, err)
		}
	}()
	go func() {
		defer l.server.finished.Done()
		l.drive()
	}()
	select {
	case <-l.ready:
		return l.bootErr
	case err := <-failed:
		return err
	}
}

// stop ends the engine and waits until it has, or ctx ends.
func (l *loop) stop(ctx context.Context) {
	l.stopping.Store(true)
	// Stop looks whether the engine has stopped only twice a second. It says when
	// that is so itself, by closing done.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go l.engine.Stop(ctx)
	select {
	case <-l.done:
	case <-ctx.Done():
	}
}

// drive makes the loop turn every slot time, and listen again after a pause. It runs on a
// goroutine of its own and is the only one that calls Execute, so there is never more than
// one turn queued.
func (l *loop) drive() {
	defer close(l.driven)
	slot := time.NewTicker(fanout.SlotTime)
	defer slot.Stop()
	resume := time.NewTimer(0)
	resume.Stop()
	epoll := -1
	ctx := context.Background()
	for {
		select {
		case <-l.ending:
			return
		case epoll = <-l.held:
			resume.Reset(acceptPause)
			continue
		case <-resume.C:
			if !l.listenAgain(epoll) {
				resume.Reset(acceptPause)
			}
			continue
		case <-slot.C:
		case <-l.poke:
		}
		events := l.events.Load()
		if events == nil || !l.awake.Load() || !l.queued.CompareAndSwap(false, true) {
			continue
		}
		if err := (*events).Execute(ctx, l); err != nil {
			l.queued.Store(false) // The engine is stopping.
		}
	}
}

// ask lets the loop call f in a turn. A loop that never had a connection has no turns
// (gnet gives no way to run anything on it before), so f is not called there.
func (l *loop) ask(f func()) {
	l.requests.Lock()
	l.requests.list = append(l.requests.list, f)
	l.awake.Store(true)
	l.requests.Unlock()
	l.again()
}

// again has the driver call for a turn at once.
func (l *loop) again() {
	select {
	case l.poke <- struct{}{}:
	default:
	}
}

// Run is one turn: a [gnet.Runnable].
func (l *loop) Run(context.Context) error {
	more := l.turn()
	l.queued.Store(false)
	if more {
		l.again() // After queued, or the driver would let it pass.
	}
	return nil
}

// turn does what was asked for and turns the wheel. It reports whether the wheel was
// stopped before it was through.
func (l *loop) turn() (more bool) {
	begin := time.Now()
	l.shard.At(begin)
	l.answer()
	if begin.Sub(l.unfinishedAt) >= unfinishedLook {
		l.lookAtUnfinished(begin)
	}
	l.expire(begin)
	more = l.turnWheel(begin)
	end := time.Now()
	l.counts.turns.observe(end.Sub(begin))
	l.counts.lag = l.shard.Lag()
	idle := l.shard.Conns() == 0
	if end.Sub(l.published.at) >= publishEvery || idle && !l.published.settled {
		l.publish(end)
		l.published.settled = idle
	}
	if idle {
		// Under the lock, so that a request that comes now is not slept through.
		l.requests.Lock()
		l.awake.Store(len(l.requests.list) > 0)
		l.requests.Unlock()
	}
	return more
}

// turnWheel turns the wheel. A panic in a visit costs the conn that was visited.
func (l *loop) turnWheel(now time.Time) (more bool) {
	defer func() {
		if p := recover(); p != nil {
			more = true
			id, ok := l.shard.Visiting()
			if !ok {
				panic(p) // The wheel itself is broken.
			}
			l.panicked(l.conn(id), p)
		}
	}()
	return l.shard.Tick(now)
}

// answer does what other goroutines have asked for.
func (l *loop) answer() {
	l.requests.Lock()
	list := l.requests.list
	l.requests.list = nil
	l.requests.Unlock()
	for _, f := range list {
		f()
	}
}

// drain stops accepting and begins to send the conns away.
func (l *loop) drain(over time.Duration) {
	if !l.ended {
		l.ended = true
		l.closeListener()
	}
	l.shard.Drain(over)
}

// OnBoot is called when the engine listens, before it accepts.
func (l *loop) OnBoot(e gnet.Engine) gnet.Action {
	l.engine = e
	l.bootErr = l.prepareListener()
	close(l.ready)
	if l.bootErr != nil {
		return gnet.Shutdown
	}
	return gnet.None
}

// OnShutdown is called before the engine ends its loop. gnet closes the descriptor
// that Execute writes to before it refuses calls of it, and the number may belong to a
// client by then, so the driver is ended first.
func (l *loop) OnShutdown(gnet.Engine) { l.endDriver() }

// endDriver ends the driver and waits until it has. It is also called after gnet.Run,
// which calls OnShutdown only if the engine had begun to work.
func (l *loop) endDriver() {
	l.endOnce.Do(func() { close(l.ending) })
	<-l.driven
}

// OnOpen admits a connection, or not.
func (l *loop) OnOpen(gc gnet.Conn) (out []byte, action gnet.Action) {
	l.counts.accepted++
	l.acceptWorks()
	if l.events.Load() == nil {
		events := gc.EventLoop()
		l.events.Store(&events)
	}
	l.awake.Store(true)
	l.published.settled = false
	verdict := l.server.admit()
	if verdict == dropped {
		l.counts.refused[refusedFull]++
		// Written as is: gnet would not close the connection if its own write of
		// the bytes returned here failed.
		_, _ = gc.Write(fullResponse)
		return nil, gnet.Close
	}
	l.shard.At(time.Now())
	id := l.shard.Add()
	if int(id)>>slabBits == len(l.slabs) {
		l.slabs = append(l.slabs, new([1 << slabBits]conn))
	}
	c := l.conn(id)
	*c = conn{gc: gc, fd: int32(gc.Fd()), id: id, name: l.rng.Uint32(), refuse: verdict == refused}
	gc.SetContext(c)
	if !l.arrived(c) {
		return nil, gnet.Close
	}
	return nil, gnet.None
}

// OnTraffic takes what a connection sent.
func (l *loop) OnTraffic(gc gnet.Conn) (action gnet.Action) {
	in, err := gc.Next(-1) // All there is: what is not complete is kept by us, in a limit.
	c, _ := gc.Context().(*conn)
	if err != nil || c == nil {
		return gnet.Close
	}
	defer func() {
		if p := recover(); p != nil {
			l.panicked(c, p)
			action = gnet.None
		}
	}()
	l.now = time.Now()
	l.shard.At(l.now)
	l.counts.bytesIn += uint64(len(in))
	switch c.stage {
	case proxied:
		l.proxied(c, in)
	case handshaking:
		l.handshake(c, in)
	case talking:
		l.frames(c, in, l.out[:0])
	case leaving:
		// Our last word is said. What still comes is taken, so that the kernel does
		// not answer it with a reset that could overtake that word.
	}
	return gnet.None
}

// OnClose forgets a connection. It is called inside of whatever ended it, a failed
// write for instance.
func (l *loop) OnClose(gc gnet.Conn, err error) gnet.Action {
	c, _ := gc.Context().(*conn)
	if c == nil {
		return gnet.None // It was dropped at the door.
	}
	l.shard.At(time.Now())
	if c.cause == 0 {
		c.cause = causeOf(err)
	}
	l.counts.closed[c.cause]++
	l.logEnd(c, err)
	l.shed(c)
	l.server.guard.Leave(c.source)
	l.shard.Remove(c.id)
	l.server.dismiss(c.refuse)
	*c = conn{}
	return gnet.None
}

// panicked ends the conn whose handling has panicked, and nothing else.
func (l *loop) panicked(c *conn, p any) {
	l.counts.panics++
	f := panics.Caught(panics.Conn, p)
	l.server.cfg.Log.Error("panic while handling a connection; it was closed",
		"conn_id", connName(c.name), "error", f, "hint", panics.Hint, "stack", f.Stack)
	if c.gc == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil && c.gc != nil {
			l.drop(c) // Even saying so has panicked.
		}
	}()
	if c.stage == leaving {
		l.drop(c)
		return
	}
	l.shard.Evict(c.id, fanout.Panic)
}

func (l *loop) conn(id fanout.ConnID) *conn { return &l.slabs[id>>slabBits][id&slabMask] }
