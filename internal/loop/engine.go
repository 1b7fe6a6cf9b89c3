// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"tickedge/internal/fanout"
)

// engine is the life of one gnet engine with one event loop, from its listener to its end,
// and the driver that calls for the loop's turns. It knows nothing of conns.
type engine struct {
	gnet.BuiltinEventEngine

	server *Server
	index  int
	onTurn func() (more bool) // Called in each turn.

	// Set before the engine accepts, not changed after that.
	gnet       gnet.Engine
	addr       net.Addr
	families   string // Of its clients.
	listenerFD int    // -1 if it could not be found.

	failing bool // The last accept has failed. Owned by the event loop.

	// Shared with the driver and others.
	events   atomic.Pointer[gnet.EventLoop] // Known from the first connection on.
	queued   atomic.Bool                    // A turn waits in gnet's queue, or runs.
	due      time.Time                      // When that turn was called for. Owned by who has set queued.
	awake    atomic.Bool                    // There is something for turns to do.
	poke     chan struct{}                  // Turn now.
	held     chan int                       // The epoll that the listener was taken out of.
	ready    chan error                     // What came of OnBoot.
	endOnce  sync.Once                      // For ending.
	ending   chan struct{}                  // Closed when the engine begins to end.
	driven   chan struct{}                  // Closed when drive has returned.
	done     chan struct{}                  // Closed when the engine has ended.
	stopping atomic.Bool                    // The engine's end is asked for.
	requests struct {                       // What other goroutines ask the loop to do.
		sync.Mutex
		list []func()
	}
}

// prepare makes an engine that can be started.
func (e *engine) prepare(s *Server, index int, onTurn func() (more bool)) {
	e.server, e.index, e.onTurn, e.listenerFD = s, index, onTurn, -1
	e.poke, e.held = make(chan struct{}, 1), make(chan int, 1)
	e.ready, e.ending, e.driven, e.done = make(chan error, 1), make(chan struct{}), make(chan struct{}), make(chan struct{})
}

// start runs the engine and returns when it accepts connections, of which handler is told.
// listen is the address as gnet takes it.
func (e *engine) start(handler gnet.EventHandler, listen string) error {
	failed := make(chan error, 1)
	e.server.finished.Add(2)
	go func() {
		defer e.server.finished.Done()
		defer close(e.done)
		defer e.endDriver()
		err := gnet.Run(handler, listen, e.options()...)
		failed <- err
		if !e.stopping.Load() {
			// gnet.Run also returns nil when epoll has failed; it has logged why.
			if err == nil {
				err = errors.New("waiting for events failed, see the error before this one")
			}
			e.server.fail <- fmt.Errorf("event loop %d ended: %w", e.index, err)
		}
	}()
	go func() {
		defer e.server.finished.Done()
		e.drive()
	}()
	select {
	case err := <-e.ready:
		return err
	case err := <-failed:
		return err
	}
}

// stop ends the engine and waits until it has, or ctx ends.
func (e *engine) stop(ctx context.Context) {
	e.stopping.Store(true)
	// Stop looks whether the engine has stopped only twice a second. It says when
	// that is so itself, by closing done.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go e.gnet.Stop(ctx)
	select {
	case <-e.done:
	case <-ctx.Done():
	}
}

// drive makes the loop turn every slot time, and listen again after a pause. It runs on a
// goroutine of its own and is the only one that calls Execute, so there is never more than
// one turn queued.
func (e *engine) drive() {
	defer close(e.driven)
	slot := time.NewTicker(fanout.SlotTime)
	defer slot.Stop()
	resume := time.NewTimer(0)
	resume.Stop()
	epoll := -1
	due := time.Time{}
	ctx := context.Background()
	for {
		select {
		case <-e.ending:
			return
		case epoll = <-e.held:
			resume.Reset(acceptPause)
			continue
		case <-resume.C:
			if !e.listenAgain(epoll) {
				resume.Reset(acceptPause)
			}
			continue
		case due = <-slot.C: // When the timer ran out, which may be a while ago.
		case <-e.poke:
			due = time.Now()
		}
		events := e.events.Load()
		if events == nil || !e.awake.Load() || !e.queued.CompareAndSwap(false, true) {
			continue
		}
		e.due = due
		if err := (*events).Execute(ctx, e); err != nil {
			e.queued.Store(false) // The engine is stopping.
		}
	}
}

// ask lets the loop call f in a turn. A loop that never had a connection has no turns
// (gnet gives no way to run anything on it before), so f is not called there.
func (e *engine) ask(f func()) {
	e.requests.Lock()
	e.requests.list = append(e.requests.list, f)
	e.awake.Store(true)
	e.requests.Unlock()
	e.again()
}

// again has the driver call for a turn at once.
func (e *engine) again() {
	select {
	case e.poke <- struct{}{}:
	default:
	}
}

// Run is one turn: a [gnet.Runnable].
func (e *engine) Run(context.Context) error {
	more := e.onTurn()
	e.queued.Store(false)
	if more {
		e.again() // After queued, or the driver would let it pass.
	}
	return nil
}

// answer does what other goroutines have asked for.
func (e *engine) answer() {
	e.requests.Lock()
	list := e.requests.list
	e.requests.list = nil
	e.requests.Unlock()
	for _, f := range list {
		f()
	}
}

// sleep ends the turns until there is something to do again.
func (e *engine) sleep() {
	// Under the lock, so that a request that comes now is not slept through.
	e.requests.Lock()
	e.awake.Store(len(e.requests.list) > 0)
	e.requests.Unlock()
}

// OnBoot is called when the engine listens, before it accepts.
func (e *engine) OnBoot(g gnet.Engine) gnet.Action {
	e.gnet = g
	err := e.prepareListener()
	e.ready <- err
	if err != nil {
		return gnet.Shutdown
	}
	return gnet.None
}

// OnShutdown is called before the engine ends its loop. gnet closes the descriptor
// that Execute writes to before it refuses calls of it, and the number may belong to a
// client by then, so the driver is ended first.
func (e *engine) OnShutdown(gnet.Engine) { e.endDriver() }

// endDriver ends the driver and waits until it has. It is also called after gnet.Run,
// which calls OnShutdown only if the engine had begun to work.
func (e *engine) endDriver() {
	e.endOnce.Do(func() { close(e.ending) })
	<-e.driven
}

func (e *engine) options() []gnet.Option {
	return []gnet.Option{
		gnet.WithNumEventLoop(1),
		gnet.WithReusePort(true),
		gnet.WithReuseAddr(true),
		gnet.WithTCPNoDelay(gnet.TCPNoDelay),
		gnet.WithReadBufferCap(readMax),
		gnet.WithLogger(engineLog{e.server.cfg.Log, e}),
	}
}
