// SPDX-License-Identifier: Apache-2.0

package market

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"tickedge/internal/broker"
)

// Tick is one tick on its way into a broker. Its value is valid until the next call of Next.
type Tick struct {
	broker.Tick
	After time.Duration // The time since the tick before it, at speed 1.
}

// Ticks yields ticks one after the other. It returns io.EOF after the last. Ticks that
// put a time into their values use now.
type Ticks interface {
	Next(now time.Time) (Tick, error)
}

const (
	SpeedMin = 1
	SpeedMax = 10
)

const (
	// playMax bounds the ticks that are published at a time. Redis serves nobody else while
	// it takes them, one or two milliseconds for this many.
	playMax = 1000
	// playEvery is the least time between two batches that are not full. It
	// makes batches at high rates, and nobody sees it: clients are flushed far less
	// often.
	playEvery = 3 * time.Millisecond
)

// Player publishes ticks at their pace.
type Player struct {
	to      broker.Publisher
	clock   *broker.Clock // Nil if ticks get no versions.
	changed chan struct{} // Has an element when Run has to look at state again.

	mu    sync.Mutex
	state State
}

// State says what a [Player] is doing.
type State struct {
	Published uint64  // Ticks that the broker has taken.
	Speed     float64 // 1 to 10.
	Paused    bool
	Connected bool // The last attempt to publish went through.
}

// NewPlayer returns a player at speed 1.
func NewPlayer(to broker.Publisher) *Player {
	return &Player{to: to, changed: make(chan struct{}, 1), state: State{Speed: SpeedMin}}
}

// PutVersions has each tick whose value is an object get a version, or keep the one that it has in its
// member [broker.VersionMember]. It is called before Run.
func (p *Player) PutVersions() { p.clock = new(broker.Clock) }

// version is the version that a value is to get, 0 for none.
func (p *Player) version(value []byte, now time.Time) int64 {
	if p.clock == nil || len(value) == 0 || value[0] != '{' {
		return 0
	}
	if bytes.Contains(value, []byte(`"`+broker.VersionMember+`"`)) {
		if v, f := broker.InspectVersion(string(value), broker.VersionMember); f == broker.Flawless {
			return v.Whole
		}
	}
	return p.clock.Next(now)
}

// State may be called from any goroutine.
func (p *Player) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.state
	s.Connected = p.to.Connected()
	return s
}

// Pause stops the ticks until [Player.Resume]. It may be called from any
// goroutine, as may Resume and SetSpeed.
func (p *Player) Pause() { p.change(func(s *State) { s.Paused = true }) }

// Resume goes on after a pause, with the tick that was next.
func (p *Player) Resume() { p.change(func(s *State) { s.Paused = false }) }

// SetSpeed lets the time of the ticks pass faster: at 10, a market has ten times its
// rate of ticks. It refuses speeds outside of SpeedMin to SpeedMax.
func (p *Player) SetSpeed(speed float64) error {
	if !(speed >= SpeedMin && speed <= SpeedMax) {
		return fmt.Errorf("speed is %v, want %d to %d", speed, SpeedMin, SpeedMax)
	}
	p.change(func(s *State) { s.Speed = speed })
	return nil
}

func (p *Player) change(f func(*State)) {
	p.mu.Lock()
	f(&p.state)
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Run publishes ticks until they or ctx end, which both return nil, or until they
// fail. While the broker cannot be reached the ticks in hand wait, and then it goes on
// with those after them. It is called once at a time.
func (p *Player) Run(ctx context.Context, ticks Ticks) error {
	var pace pace
	var batch []broker.Tick
	var arena []byte // Holds the values of the batch.
	next, err := ticks.Next(time.Now())
	for err == nil && ctx.Err() == nil {
		now := time.Now()
		pace.pass(now, next.After, p.speed())
		batch, arena = batch[:0], arena[:0]
		for err == nil && len(batch) < playMax && pace.take(next.After) {
			at := len(arena)
			arena = append(arena, next.Value...) // Moves at times; what it leaves stays as it is.
			batch = append(batch, broker.Tick{Topic: next.Topic, Value: arena[at:len(arena):len(arena)], Ver: p.version(arena[at:], now)})
			next, err = ticks.Next(now)
		}
		if len(batch) > 0 {
			if !p.to.Publish(ctx, batch) {
				break
			}
			p.mu.Lock()
			p.state.Published += uint64(len(batch))
			p.mu.Unlock()
		}
		if err == nil && len(batch) < playMax {
			p.wait(ctx, &pace, next.After)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// speed is how fast time passes for the ticks, 0 in a pause.
func (p *Player) speed() float64 {
	s := p.State()
	if s.Paused {
		return 0
	}
	return s.Speed
}

// wait returns when the tick that comes by after is due, when there is something new
// to look at, or when ctx ends.
func (p *Player) wait(ctx context.Context, pace *pace, after time.Duration) {
	var due <-chan time.Time // Never, in a pause.
	if pace.speed > 0 {
		t := time.NewTimer(max(pace.wait(after), playEvery))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
	case <-p.changed:
	case <-due:
	}
}
