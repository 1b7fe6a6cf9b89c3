// SPDX-License-Identifier: Apache-2.0

package market

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"tickedge/internal/broker"
	"tickedge/internal/topics"
)

// replayForm is what a line of a recording looks like.
const replayForm = `{"topic":"AAPL","ts":1732181723411,"v":{"p":189.87}}`

const (
	// replayLineMax leaves room around the longest value for the topic, the time and
	// fields that we do not know.
	replayLineMax = broker.ValueMax + 1<<10
	// replayTimeMax, in milliseconds, is the year 2255. A time in micro- or
	// nanoseconds lies beyond it.
	replayTimeMax = 9_000_000_000_000
	// replayRoundPause separates the rounds of a loop. Without it a recording of one
	// moment would be published as fast as Redis takes it.
	replayRoundPause = time.Second
)

// Replay is recorded [Ticks]: one JSON object a line, such as
//
//	{"topic":"AAPL","ts":1732181723411,"v":{"p":189.87}}
//
// with ts in Unix milliseconds. The value is published byte for byte. A tick whose
// time lies before that of an earlier line is due at once. Empty lines are skipped.
// Not safe for concurrent use.
type Replay struct {
	name  string
	r     io.Reader
	lines *bufio.Scanner
	line  int
	ticks int   // In this round.
	last  int64 // The newest time in this round.
	loop  bool
	pause time.Duration
}

// NewReplay reads a recording. The name stands in error messages, for the file.
func NewReplay(name string, r io.Reader) *Replay {
	p := &Replay{name: name, r: r}
	p.rewind()
	return p
}

// NewReplayLoop is like [NewReplay] and starts over at the end, for ever.
func NewReplayLoop(name string, r io.ReadSeeker) *Replay {
	p := NewReplay(name, r)
	p.loop = true
	return p
}

func (p *Replay) rewind() {
	p.lines = bufio.NewScanner(p.r)
	p.lines.Buffer(nil, replayLineMax)
	p.line, p.ticks = 0, 0
}

// Next returns the next tick of the recording, or io.EOF at its end. Any other error
// names the line.
func (p *Replay) Next(time.Time) (Tick, error) {
	for p.lines.Scan() {
		p.line++
		if len(bytes.TrimSpace(p.lines.Bytes())) == 0 {
			continue
		}
		tick, ts, err := parseRecord(p.lines.Bytes())
		if err != nil {
			return Tick{}, fmt.Errorf("replay: %s: line %d: %w, want a line like %s", p.name, p.line, err, replayForm)
		}
		if p.ticks > 0 && ts > p.last {
			tick.After = time.Duration(ts-p.last) * time.Millisecond
		}
		if p.ticks == 0 || ts > p.last {
			p.last = ts
		}
		p.ticks++
		tick.After += p.pause
		p.pause = 0
		return tick, nil
	}
	switch err := p.lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return Tick{}, fmt.Errorf("replay: %s: line %d is longer than %d bytes", p.name, p.line+1, replayLineMax)
	case err != nil:
		return Tick{}, fmt.Errorf("replay: %s: after line %d: %w", p.name, p.line, err)
	case p.ticks == 0:
		return Tick{}, fmt.Errorf("replay: %s holds no ticks, want lines like %s", p.name, replayForm)
	case !p.loop:
		return Tick{}, io.EOF
	}
	if _, err := p.r.(io.Seeker).Seek(0, io.SeekStart); err != nil {
		return Tick{}, fmt.Errorf("replay: %s: rewind: %w", p.name, err)
	}
	p.rewind()
	p.pause = replayRoundPause
	return p.Next(time.Time{})
}

// parseRecord reads one line. The tick's value lies within it.
func parseRecord(line []byte) (t Tick, ts int64, err error) {
	var rec struct {
		Topic *string         `json:"topic"`
		TS    *int64          `json:"ts"`
		V     json.RawMessage `json:"v"`
	}
	if !utf8.Valid(line) {
		return t, 0, errors.New("not valid UTF-8")
	}
	if err := json.Unmarshal(line, &rec); err != nil {
		return t, 0, err
	}
	switch {
	case rec.Topic == nil:
		return t, 0, errors.New("topic is missing")
	case !topics.ValidName(*rec.Topic):
		return t, 0, fmt.Errorf("topic %q is not valid (%s)", *rec.Topic, topics.NameRule)
	case rec.TS == nil:
		return t, 0, errors.New("ts is missing")
	case *rec.TS < 0 || *rec.TS > replayTimeMax:
		return t, 0, fmt.Errorf("ts %d is not in Unix milliseconds", *rec.TS)
	case rec.V == nil:
		return t, 0, errors.New("v is missing")
	case len(rec.V) > broker.ValueMax:
		return t, 0, fmt.Errorf("v has %d bytes (at most %d are allowed)", len(rec.V), broker.ValueMax)
	}
	return Tick{Tick: broker.Tick{Topic: *rec.Topic, Value: rec.V}}, *rec.TS, nil
}
