// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"tickedge/internal/bars"
	"tickedge/internal/exchange"
	"tickedge/internal/trade"
)

// stateHead is what a checkpoint has beside the engine's snapshot.
type stateHead struct {
	Format    int                          `json:"format"`
	Topic     string                       `json:"topic,omitempty"`     // The id of a log's topic.
	Offset    int64                        `json:"offset,omitempty"`    // In it: what comes next.
	Positions map[string]exchange.Position `json:"positions,omitempty"` // By the name of the instrument.
	Versions  map[string]int64             `json:"versions,omitempty"`  // The last of each topic.
	Ended     int64                        `json:"ended,omitempty"`     // The epoch of its owner, if that told nothing behind it.
}

const stateFormat = 1

var errState = errors.New("the checkpoint is damaged")

// state is all that a shard needs to go on: positions and bars as one.
func (s *shard) state() []byte {
	h := stateHead{Format: stateFormat, Topic: s.topic, Offset: s.offset, Positions: s.positions, Versions: s.vers}
	if s.ending {
		h.Ended = s.epoch
	}
	head, err := json.Marshal(h)
	if err != nil {
		panic(err) // Names and numbers.
	}
	b := append(binary.AppendUvarint(make([]byte, 0, len(head)+4096), uint64(len(head))), head...)
	return s.engine.Snapshot(b)
}

// load makes a shard what its checkpoint says, or a new one if there is none. The shard owns it from then on.
func (s *shard) load(ctx context.Context) error {
	state, epoch, err := s.out.checkpoints.Load(ctx, s.name)
	if err != nil {
		return fmt.Errorf("the checkpoint %s can't be read: %w", s.name, err)
	}
	s.epoch = epoch
	if state == nil {
		s.engine = bars.New(s.cfg.bars)
		return nil
	}
	n, k := binary.Uvarint(state)
	if k <= 0 || n > uint64(len(state)-k) {
		return fmt.Errorf("%s: %w", s.name, errState)
	}
	var h stateHead
	if err := json.Unmarshal(state[k:k+int(n)], &h); err != nil {
		return fmt.Errorf("%s: %w: %w", s.name, errState, err)
	}
	if h.Format > stateFormat {
		return fmt.Errorf("%s: the checkpoint was written by a newer version of this program", s.name)
	}
	engine, dropped, err := bars.Restore(s.cfg.bars, state[k+int(n):], func(name string) *trade.Symbol { return s.cfg.table.Named(name) })
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	for _, name := range dropped {
		s.log.Warn("a symbol of the checkpoint is left out: there is none of this name, scale and zone now", "symbol", name)
	}
	s.engine, s.topic, s.offset = engine, h.Topic, h.Offset
	if h.Ended+1 != epoch { // Or there was an owner since, who may have told anything.
		engine.Doubt()
	}
	for topic, v := range h.Versions {
		s.vers[topic] = v + versMargin
	}
	for _, of := range s.cfg.table.All() { // What was being filled then is not: who fills it says so again.
		if _, has := engine.Series(of, s.cfg.bars.Intervals[0].Name); has {
			_ = engine.Filling(of, false) // It is there.
		}
	}
	for name, p := range h.Positions {
		if of := s.cfg.table.Named(name); of != nil {
			s.positions[name] = p
		}
	}
	return nil
}
