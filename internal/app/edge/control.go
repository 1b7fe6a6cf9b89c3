// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"tickedge/internal/backoffice"
	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// controlTopic is by which the edges of a broker tell each other what an operator has asked one of them.
const controlTopic = topics.Reserved + "control"

const (
	// commandAge is how old a command may be that is done. The clocks of edges have to be within it.
	commandAge = 30 * time.Second
	// commandsMost is how many commands a value has at most, beside that it is one of [broker.ValueMax] bytes.
	commandsMost = 16
	// pendingMost bounds the commands of this edge that were not written yet.
	pendingMost = 1000
	// idsMost is how many ids are known as done.
	idsMost = 1000
	// heardMost bounds the values that were heard and not looked at: 256 KiB.
	heardMost = 64
)

// What commands do.
const (
	doDisconnect = "disconnect"
	doAnnounce   = "announce" // To a user, or to all.
)

// command is what all edges of a broker are to do.
type command struct {
	ID     string `json:"id"`
	At     int64  `json:"at"` // Unix time in milliseconds.
	Do     string `json:"do"`
	User   string `json:"user,omitzero"`
	Code   int    `json:"code,omitzero"`
	Reason string `json:"reason,omitzero"`
	Retry  int    `json:"retry_ms,omitzero"`
	Text   string `json:"text,omitzero"`
}

var commandID = regexp.MustCompile(`^[0-9a-f]{16}$`)

// valid reports whether a command may be done, whoever has written it.
func (c *command) valid() bool {
	if !commandID.MatchString(c.ID) || len(c.User) > backoffice.UserMax || !utf8.ValidString(c.User) {
		return false
	}
	if c.Do == doAnnounce {
		return backoffice.ValidText(c.Text)
	}
	return c.Do == doDisconnect && c.User != "" && c.Code >= 4000 && c.Code <= 4999 && len(c.Reason) <= 100 && utf8.ValidString(c.Reason) && c.Retry >= 0 && c.Retry <= 3_600_000
}

// fresh reports whether a command is not too old, nor of a clock that is ahead.
func (c *command) fresh(now time.Time) bool {
	return now.Sub(time.UnixMilli(c.At)).Abs() <= commandAge
}

// controlValue is a value of the topic.
type controlValue struct {
	Commands []command `json:"commands"`
	Ver      int64     `json:"ver"`
}

// own is a command of this edge.
type own struct {
	command
	ver   int64         // Of the value that it was written in; 0 before.
	twice bool          // It is written a second time, see hear.
	told  chan struct{} // Closed when the broker has it.
}

// control tells other edges what an operator has asked this one, and does what they were asked. Values have what was told in
// the last 30 s, so who misses one has it from the next. hear may be called by any goroutine, and waits for nothing.
type control struct {
	publish func(broker.Tick, func(broker.Fate)) error
	do      func(context.Context, *command) // Of another edge.
	log     *slog.Logger
	clock   broker.Clock
	began   time.Time
	field   string // The member that numbers values, if it is another than [broker.VersionMember].

	heard chan string
	wake  chan struct{} // Has an element when there is something to write.

	done, old, invalid, dropped atomic.Uint64

	mu      sync.Mutex
	pending []*own          // To be written, the oldest first.
	written []*own          // Of the last 30 s.
	others  []command       // Of other edges, of the last 30 s.
	ids     map[string]bool // Those that were done or are of this edge,
	last    []string        // in their order.
}

func newControl(log *slog.Logger, now time.Time) *control {
	return &control{log: log, began: now, heard: make(chan string, heardMost), wake: make(chan struct{}, 1), ids: make(map[string]bool)}
}

// hear takes a value of the topic, of which it keeps a copy. If too many wait the oldest gives way.
func (c *control) hear(value string) {
	value = string([]byte(value))
	for range 3 {
		select {
		case c.heard <- value:
			return
		default:
		}
		select {
		case <-c.heard:
			c.dropped.Add(1)
		default:
		}
	}
	c.dropped.Add(1)
}

// listen does what other edges tell, until ctx ends.
func (c *control) listen(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case value := <-c.heard:
			for _, cmd := range c.take(value, time.Now()) {
				c.do(ctx, &cmd)
				c.done.Add(1)
				c.log.Info("another edge has told", "do", cmd.Do, "id", cmd.ID, "user", cmd.User)
			}
		}
	}
}

// take returns what is to be done of a value.
func (c *control) take(value string, now time.Time) (todo []command) {
	var v controlValue
	if json.Unmarshal([]byte(value), &v) != nil || len(v.Commands) > commandsMost {
		c.invalid.Add(1)
		return nil
	}
	c.clock.Saw(v.Ver)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(now)
	has := make(map[string]bool)
	for _, cmd := range v.Commands {
		has[cmd.ID] = true
		switch {
		case !cmd.valid():
			c.invalid.Add(1)
		case c.ids[cmd.ID]:
		case !cmd.fresh(now) || cmd.At < c.began.UnixMilli():
			c.old.Add(1)
		default:
			c.note(cmd.ID)
			c.others = append(c.others, cmd)
			todo = append(todo, cmd)
		}
	}
	// Another edge has written before it heard of ours: who missed ours, and has this one, is to have it even so.
	for _, o := range c.written {
		if !o.twice && o.ver < v.Ver && !has[o.ID] && len(v.Commands) < commandsMost && len(c.pending) < pendingMost {
			o.twice = true
			c.pending = append(c.pending, o)
			c.signal()
		}
	}
	return todo
}

// note keeps an id. It is called with the lock held, as is forget.
func (c *control) note(id string) {
	if len(c.last) == idsMost {
		delete(c.ids, c.last[0])
		c.last = append(c.last[:0], c.last[1:]...)
	}
	c.ids[id] = true
	c.last = append(c.last, id)
}

// forget drops commands that are too old to be done, and beyond a number those of others that came first.
func (c *control) forget(now time.Time) {
	keep := func(list []*own) (kept []*own) {
		for _, o := range list {
			if o.fresh(now) {
				kept = append(kept, o)
			}
		}
		return kept
	}
	c.pending, c.written = keep(c.pending), keep(c.written)
	c.written = c.written[max(0, len(c.written)-commandsMost):]
	var others []command
	for _, cmd := range c.others[max(0, len(c.others)-commandsMost):] {
		if cmd.fresh(now) {
			others = append(others, cmd)
		}
	}
	c.others = others
}

func (c *control) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

var errManyCommands = errors.New("1,000 commands wait already to be told to other edges")

// tell tells other edges a command, which this one does itself. told is closed when the broker has it; it may never be.
func (c *control) tell(cmd command, now time.Time) (told <-chan struct{}, err error) {
	var id [8]byte
	_, _ = rand.Read(id[:]) // It never fails.
	cmd.ID, cmd.At = hex.EncodeToString(id[:]), now.UnixMilli()
	o := &own{command: cmd, told: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forget(now); len(c.pending) >= pendingMost {
		return nil, errManyCommands
	}
	c.note(cmd.ID)
	c.pending = append(c.pending, o)
	c.signal()
	return o.told, nil
}

// speak writes the commands of this edge, a value at a time, until ctx ends.
func (c *control) speak(ctx context.Context) {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		value, now, ver, more := c.next(time.Now())
		if !more {
			pause = 0
			select {
			case <-ctx.Done():
			case <-c.wake:
			}
			continue
		}
		fates := make(chan broker.Fate, 1)
		err := c.publish(broker.Tick{Topic: controlTopic, Value: value, Ver: ver}, func(f broker.Fate) { fates <- f })
		fate := broker.Outdated
		if err == nil {
			select {
			case <-ctx.Done():
				return
			case fate = <-fates:
			}
		}
		why, refused := fate.Refusal()
		switch {
		case fate == broker.Taken:
			pause = 0
			c.took(now, ver)
			continue
		case refused || fate == broker.Flawed:
			c.log.Warn("other edges can't be told what an operator has asked this one", "topic", controlTopic, "error", why,
				"hint", "permit the edge to publish the topic in its broker; with JetStream a stream has to have its subject")
		}
		pause = min(max(2*pause, 50*time.Millisecond), time.Second) // Meanwhile the version is heard that is in the way.
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// next is the next value to be written: what was not written yet, as far as there is room, and then what may be missed.
func (c *control) next(at time.Time) (value []byte, now []*own, ver int64, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forget(at); len(c.pending) == 0 {
		return nil, nil, 0, false
	}
	const head = `{"commands":[`
	ver = c.clock.Next(at)
	tail := "]," + numbered(c.field, ver) + `"ver":` + strconv.FormatInt(ver, 10) + "}"
	value, n := append(value, head...), 0
	add := func(cmd *command) bool {
		text, err := json.Marshal(cmd)
		if err != nil || n == commandsMost || len(value)+1+len(text)+len(tail) > broker.ValueMax {
			return false
		}
		if n > 0 {
			value = append(value, ',')
		}
		value = append(value, text...)
		n++
		return true
	}
	for _, o := range c.pending {
		if !add(&o.command) {
			break
		}
		now = append(now, o)
	}
	for i := len(c.others) - 1; i >= 0 && add(&c.others[i]); i-- {
	}
	for i := len(c.written) - 1; i >= 0 && (slices.Contains(c.pending, c.written[i]) || add(&c.written[i].command)); i-- {
	}
	return append(value, tail...), now, ver, true
}

// numbered is the member by which an edge with -tick-version-field numbers values: without it, it takes none.
func numbered(field string, ver int64) string {
	parts := strings.Split(field, ".")
	if field == "" || parts[0] == broker.VersionMember || parts[0] == "commands" {
		return ""
	}
	return `"` + strings.Join(parts, `":{"`) + `":` + strconv.FormatInt(ver, 10) + strings.Repeat("}", len(parts)-1) + ","
}

// took notes that the broker has the value of these.
func (c *control) took(now []*own, ver int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range now {
		if o.ver == 0 {
			close(o.told)
			c.written = append(c.written, o)
		}
		o.ver = ver
	}
	c.pending = slices.DeleteFunc(c.pending, func(o *own) bool { return slices.Contains(now, o) })
}
