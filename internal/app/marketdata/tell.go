// SPDX-License-Identifier: Apache-2.0

package marketdata

import (
	"time"

	"tickedge/internal/bars"
	"tickedge/internal/broker"
)

// tell hands on what has changed, conflated: prices, klines if they are due, and bars that were closed.
func (s *shard) tell(now time.Time, klines bool) {
	s.news = s.engine.DrainClosed(s.out.bar) > 0 || s.news
	if s.behind || s.lost.Load() {
		return
	}
	s.engine.DrainPrices(func(p bars.Price) bool {
		s.value = p.AppendJSON(s.value[:0])
		name := p.Symbol().Name
		t := broker.Tick{Topic: name, Ver: s.version(name, p.Key().Time, now)}
		ended := s.trace(p, &t)
		return s.out.publish(t, s.value, ended)
	})
	if !klines {
		return
	}
	s.engine.DrainKlines(func(k bars.Series) bool {
		s.value = k.AppendKline(s.value[:0], now.UnixMilli())
		var newest int64
		if p, ok := s.engine.Newest(k.Symbol()); ok {
			newest = p.Key().Time
		}
		topic := bars.Topic(k.Interval().Name, k.Symbol().Name)
		return s.out.publish(broker.Tick{Topic: topic, Ver: s.version(topic, newest, now)}, s.value, nil)
	})
}

// version is that of the next value of a topic: the time of its symbol's newest trade, in Unix microseconds, or one more than
// the last. By the clock of this host an owner that was frozen, and wakes up when another has gone on for long, would give what
// it knew then a version above all that came meanwhile. Trades that are played again have versions by the clock, as they are
// to be seen again.
func (s *shard) version(topic string, newest int64, now time.Time) int64 {
	if s.recorded {
		newest = s.out.clock.Next(now)
	}
	v := max(s.vers[topic]+1, newest)
	s.vers[topic] = v
	return v
}

// versMargin is more than versions rise, beyond the times of trades, between two checkpoints.
const versMargin = 10_000
