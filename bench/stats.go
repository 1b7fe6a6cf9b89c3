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
