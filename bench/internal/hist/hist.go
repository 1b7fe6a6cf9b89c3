// SPDX-License-Identifier: Apache-2.0

// Package hist is a histogram of fixed memory and 1 % resolution: log-linear, 128
// buckets in each power of two, as in HdrHistogram. Its library for Go takes four times as
// long to count a value, of which the clients' loop has one a row, and knows the largest
// value only by its bucket.
package hist

import (
	"encoding/json"
	"errors"
	"math"
	"math/bits"
)

const (
	subBits = 7 // 128 buckets in a power of two: a bucket is at most 1/128 = 0.8 % wide.
	maxBits = 40
	buckets = (maxBits-subBits-1)<<subBits + 2<<subBits

	// Max is the largest value that is told apart; in microseconds, 12 days. What is
	// above counts as Max.
	Max = 1<<maxBits - 1
)

// Hist counts values. The zero value is ready for use. Owned by one goroutine.
type Hist struct {
	counts   [buckets]uint64
	n        uint64
	min, max uint64
}

func bucket(v uint64) int {
	shift := max(bits.Len64(v)-subBits-1, 0)
	return shift<<subBits + int(v>>shift)
}

// highest is the largest value that falls into bucket i.
func highest(i int) uint64 {
	if i < 2<<subBits {
		return uint64(i)
	}
	shift := i>>subBits - 1
	return (uint64(i-shift<<subBits)+1)<<shift - 1
}

// Add counts one value.
func (h *Hist) Add(v uint64) {
	v = min(v, Max)
	if h.n == 0 || v < h.min {
		h.min = v
	}
	h.max = max(h.max, v)
	h.n++
	h.counts[bucket(v)]++
}

// Merge adds what another one has counted.
func (h *Hist) Merge(o *Hist) {
	if o.n == 0 {
		return
	}
	if h.n == 0 || o.min < h.min {
		h.min = o.min
	}
	h.max = max(h.max, o.max)
	h.n += o.n
	for i, c := range o.counts {
		h.counts[i] += c
	}
}

// N is how many values were counted.
func (h *Hist) N() uint64 { return h.n }

// Min is the smallest value, 0 if there is none.
func (h *Hist) Min() uint64 { return h.min }

// Max is the largest value, 0 if there is none.
func (h *Hist) Max() uint64 { return h.max }

// Quantile returns the value that a share q of all values does not exceed: 1 % too
// high at most, never too low. It is 0 if there are no values.
func (h *Hist) Quantile(q float64) uint64 {
	rank := uint64(math.Ceil(q * float64(h.n)))
	rank = min(max(rank, 1), h.n)
	seen := uint64(0)
	for i, c := range h.counts {
		if seen += c; c > 0 && seen >= rank {
			return max(min(highest(i), h.max), h.min)
		}
	}
	return 0
}

// sparse is a Hist on its way between two processes.
type sparse struct {
	Min    uint64   `json:"min"`
	Max    uint64   `json:"max"`
	Counts []uint64 `json:"counts"` // A bucket and its count, in turn.
}

// MarshalJSON writes only the buckets in use.
func (h *Hist) MarshalJSON() ([]byte, error) {
	s := sparse{Min: h.min, Max: h.max}
	for i, c := range h.counts {
		if c > 0 {
			s.Counts = append(s.Counts, uint64(i), c)
		}
	}
	return json.Marshal(s)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *Hist) UnmarshalJSON(b []byte) error {
	var s sparse
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*h = Hist{min: s.Min, max: s.Max}
	for ; len(s.Counts) >= 2; s.Counts = s.Counts[2:] {
		if s.Counts[0] >= buckets {
			return errors.New("hist: no such bucket")
		}
		h.counts[s.Counts[0]] += s.Counts[1]
		h.n += s.Counts[1]
	}
	return nil
}
