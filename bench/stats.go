// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"slices"
)

// spread is one number as several rounds measured it.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	v := slices.Sorted(slices.Values(values))
	half := len(v) / 2
	median := v[half]
	if len(v)%2 == 0 {
		median = (v[half-1] + v[half]) / 2
	}
	return spread{median, v[0], v[len(v)-1]}
}

// text is the spread with its limits, if there are any.
func (s spread) text(format string) string {
	median := fmt.Sprintf(format, s.Median)
	if s.Min == s.Max {
		return median
	}
	return fmt.Sprintf("%s ("+format+"-"+format+")", median, s.Min, s.Max)
}

// ratiosOf divides what two servers measured in the same rounds. The machine is not
// equally fast at all times, so a ratio is formed within a round before rounds are
// compared. Rounds in which one of them has nothing are left out.
func ratiosOf(a, b []float64) spread {
	var ratios []float64
	for i := range min(len(a), len(b)) {
		if a[i] != 0 && b[i] != 0 {
			ratios = append(ratios, a[i]/b[i])
		}
	}
	return spreadOf(ratios)
}

// each is one number of every round.
func each[R any](rounds []R, of func(r *R) float64) []float64 {
	var values []float64
	for i := range rounds {
		values = append(values, of(&rounds[i]))
	}
	return values
}

// over is one number over all rounds.
func over[R any](rounds []R, of func(r *R) float64) spread { return spreadOf(each(rounds, of)) }

// ratioTo divides one number of a server by that of another, nil if there is no other.
func ratioTo[R any](rounds, other []R, of func(r *R) float64) *spread {
	if other == nil {
		return nil
	}
	s := ratiosOf(each(rounds, of), each(other, of))
	return &s
}

// growthOf compares the first third of a series with the last one: their medians, and by
// what share the last one is larger.
func growthOf(series []float64) (thirds [2]float64, growth float64) {
	third := max(1, len(series)/3)
	if len(series) > 0 {
		thirds = [2]float64{spreadOf(series[:third]).Median, spreadOf(series[len(series)-third:]).Median}
	}
	return thirds, ratio(thirds[1]-thirds[0], thirds[0])
}

// turns gives each of n a turn in each round. Another one begins each time: what one
// leaves behind, such as a warm CPU, is then not always the next one's.
func turns(rounds, n int, turn func(round, i int) error) error {
	for round := range rounds {
		for k := range n {
			if err := turn(round, (k+round)%n); err != nil {
				return err
			}
		}
	}
	return nil
}
