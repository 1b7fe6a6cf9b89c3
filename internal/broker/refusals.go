// SPDX-License-Identifier: Apache-2.0

package broker

import "time"

const (
	// refusedFor is how long a broker is not asked again whether it takes a topic that it has refused.
	refusedFor = time.Second
	// refusalsMax bounds the topics that are remembered for that. Others are asked for each time.
	refusalsMax = 10_000
)

// Refusals are the topics that a broker has not taken of late, so that a publisher which goes on with
// them does not find out with each tick. The zero value is ready; one goroutine uses it at a time.
type Refusals struct{ of map[string]refusal }

type refusal struct {
	fate  Fate
	until time.Time
}

// Publish has ticks published by a function, as [Publisher.Publish] demands, but for those of topics that
// were refused within the last second: these have the same fate.
func (r *Refusals) Publish(ticks []Tick, publish func([]Tick) bool) bool {
	left, from := r.sift(ticks, time.Now())
	done := len(left) == 0 || publish(left)
	for i, t := range left {
		if from != nil {
			ticks[from[i]].Fate = t.Fate
		}
		if _, refused := t.Fate.Refusal(); done && refused && t.Fate != TooLarge {
			r.note(t.Topic, t.Fate, time.Now())
		}
	}
	return done
}

// sift returns the ticks that are to be published, and where they stand among all unless they are all.
func (r *Refusals) sift(ticks []Tick, now time.Time) (left []Tick, from []int) {
	if len(r.of) == 0 {
		return ticks, nil
	}
	from = make([]int, 0, len(ticks))
	for i, t := range ticks {
		if was, has := r.of[t.Topic]; has && now.Before(was.until) {
			ticks[i].Fate = was.fate
			continue
		}
		left, from = append(left, t), append(from, i)
	}
	return left, from
}

func (r *Refusals) note(topic string, f Fate, now time.Time) {
	if r.of == nil {
		r.of = make(map[string]refusal)
	}
	if _, has := r.of[topic]; !has && len(r.of) >= refusalsMax {
		for topic, was := range r.of {
			if !now.Before(was.until) {
				delete(r.of, topic)
			}
		}
		if len(r.of) >= refusalsMax {
			return
		}
	}
	r.of[topic] = refusal{f, now.Add(refusedFor)}
}
