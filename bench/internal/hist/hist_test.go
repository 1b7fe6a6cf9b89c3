// SPDX-License-Identifier: Apache-2.0

package hist

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestQuantileWithinOnePercent(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h Hist
	values := make([]uint64, 50000)
	for i := range values {
		values[i] = uint64(rng.ExpFloat64() * 300000)
		h.Add(values[i])
	}
	slices.Sort(values)
	for _, q := range []float64{0, 0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		want := values[max(int(q*float64(len(values)))-1, 0)]
		got := h.Quantile(q)
		if got < want || float64(got) > 1.01*float64(want)+1 {
			t.Errorf("quantile %v is %d, want %d to 1 %% more", q, got, want)
		}
	}
	if h.Min() != values[0] || h.Max() != values[len(values)-1] || h.N() != 50000 {
		t.Errorf("min %d max %d n %d", h.Min(), h.Max(), h.N())
	}
}

func TestEveryBucketHoldsItsHighest(t *testing.T) {
	for i := range buckets {
		v := highest(i)
		if bucket(v) != i {
			t.Fatalf("bucket of %d is %d, want %d", v, bucket(v), i)
		}
		if i+1 < buckets && bucket(v+1) != i+1 {
			t.Fatalf("bucket of %d is %d, want %d", v+1, bucket(v+1), i+1)
		}
	}
	if highest(buckets-1) != Max {
		t.Errorf("highest value %d, want %d", highest(buckets-1), uint64(Max))
	}
}

func TestEmptyAndBeyondMax(t *testing.T) {
	var h Hist
	if h.Quantile(0.99) != 0 || h.Max() != 0 {
		t.Error("an empty histogram has values")
	}
	h.Add(1 << 60)
	if h.Quantile(0.5) != Max {
		t.Errorf("a value beyond Max counts as %d", h.Quantile(0.5))
	}
}

func TestMergeAndJSON(t *testing.T) {
	var a, b, both, read Hist
	for v := range uint64(1000) {
		a.Add(v)
		b.Add(v * v)
		both.Add(v)
		both.Add(v * v)
	}
	text, err := json.Marshal(&b)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if a.Merge(&read); a != both {
		t.Error("merged after JSON differs from counted in one")
	}
	if json.Unmarshal([]byte(`{"counts":[99999,1]}`), &read) == nil {
		t.Error("an unknown bucket was accepted")
	}
}
