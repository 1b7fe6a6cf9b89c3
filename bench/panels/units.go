// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// scale is a size of a unit: what it is counted in from some value on.
type scale struct {
	size float64
	name string
}

var (
	times  = []scale{{1e-9, " ns"}, {1e-6, " µs"}, {1e-3, " ms"}, {1, " s"}, {60, " min"}, {3600, " h"}, {86400, " d"}}
	binary = []scale{{1, " B"}, {1 << 10, " KiB"}, {1 << 20, " MiB"}, {1 << 30, " GiB"}, {1 << 40, " TiB"}}
	tens   = []scale{{1, " B"}, {1e3, " kB"}, {1e6, " MB"}, {1e9, " GB"}, {1e12, " TB"}}
	short  = []scale{{1, ""}, {1e3, " K"}, {1e6, " Mil"}, {1e9, " Bil"}}
)

// unit is how values are written: times a factor, in one of the scales, and something behind.
type unit struct {
	factor float64
	scales []scale
	suffix string
}

// unitOf is a unit by the name that Grafana has for it. One that has no name here stands behind its numbers.
func unitOf(name string) unit {
	plain := []scale{{1, ""}}
	switch name {
	case "", "none", "string", "bool":
		return unit{1, plain, ""}
	case "short":
		return unit{1, short, ""}
	case "percent":
		return unit{1, plain, " %"}
	case "percentunit":
		return unit{100, plain, " %"}
	case "s", "dtdurations":
		return unit{1, times, ""}
	case "ms", "dtdurationms":
		return unit{1e-3, times, ""}
	case "µs":
		return unit{1e-6, times, ""}
	case "ns":
		return unit{1e-9, times, ""}
	case "bytes":
		return unit{1, binary, ""}
	case "decbytes":
		return unit{1, tens, ""}
	case "binBps":
		return unit{1, binary, "/s"}
	case "Bps":
		return unit{1, tens, "/s"}
	case "cps", "ops", "reqps", "rps", "wps", "iops", "eps", "mps", "recps", "rowsps":
		names := map[string]string{"cps": " c/s", "ops": " ops/s", "reqps": " req/s", "rps": " rd/s", "wps": " wr/s", "iops": " io/s",
			"eps": " evt/s", "mps": " msg/s", "recps": " rec/s", "rowsps": " rows/s"}
		return unit{1, short, names[name]}
	}
	if suffix, is := strings.CutPrefix(name, "suffix:"); is {
		return unit{1, short, " " + strings.TrimSpace(suffix)}
	}
	return unit{1, short, " " + name}
}

// scaleOf is the scale in which a value, already times the factor, is written.
func (u unit) scaleOf(v float64) scale {
	s := u.scales[0]
	if v == 0 {
		// No time has no size: it is in seconds, as a count of bytes is in bytes.
		for _, next := range u.scales {
			if next.size == 1 {
				s = next
			}
		}
		return s
	}
	for _, next := range u.scales {
		if math.Abs(v) >= next.size*(1-1e-9) {
			s = next
		}
	}
	return s
}

// write writes a value in three digits, or so many decimals as are wanted.
func (u unit) write(v float64, decimals *int) string {
	v *= u.factor
	s := u.scaleOf(v)
	v /= s.size
	if decimals != nil {
		return strconv.FormatFloat(v, 'f', min(max(*decimals, 0), 12), 64) + s.name + u.suffix
	}
	return plainNumber(v) + s.name + u.suffix
}

// plainNumber writes three digits, or all of those before the point.
func plainNumber(v float64) string {
	if v == 0 {
		return "0"
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))+1e-9))
	return trim(strconv.FormatFloat(v, 'f', min(max(digits, 0), 9), 64))
}

// trim cuts zeros behind the point.
func trim(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		return "0"
	}
	return s
}

// step is a round step of an axis that is that long, so that it has four steps or some more.
func (u unit) step(length float64) float64 {
	length *= u.factor
	s := u.scaleOf(length)
	v := length / s.size / 4
	if s.name == " min" || s.name == " h" {
		// Sixty of them are one of the next, and below one are the smaller ones.
		for _, step := range []float64{1. / 6, 1. / 4, 1. / 2, 1, 2, 5, 10, 15, 20, 30} {
			if step >= v*(1-1e-9) {
				return step * s.size / u.factor
			}
		}
	}
	return roundUp(v) * s.size / u.factor
}

// roundUp is the next 1, 2, 2.5 or 5 times a power of ten.
func roundUp(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, times := range []float64{1, 2, 2.5, 5} {
		if times*power >= v*(1-1e-9) {
			return times * power
		}
	}
	return 10 * power
}

// shown is how a panel writes a value: by its mappings, or with its unit.
func (f *field) shown(v float64) (text, colour string, err error) {
	text = unitOf(f.Unit).write(v, f.Decimals)
	for _, m := range f.Mappings {
		result, matches, err := m.of(v)
		if err != nil {
			return "", "", err
		}
		if matches {
			if result.Text != "" {
				text = result.Text
			}
			return text, result.Color, nil
		}
	}
	return text, "", nil
}

type mapped struct{ Text, Color string }

// of is what a mapping makes of a value, if it is about that.
func (m mapping) of(v float64) (mapped, bool, error) {
	switch m.Type {
	case "value":
		var all map[string]mapped
		if err := json.Unmarshal(m.Options, &all); err != nil {
			return mapped{}, false, err
		}
		result, matches := all[strconv.FormatFloat(v, 'f', -1, 64)]
		return result, matches, nil
	case "range":
		var is struct {
			From, To *float64
			Result   mapped
		}
		if err := json.Unmarshal(m.Options, &is); err != nil {
			return mapped{}, false, err
		}
		return is.Result, (is.From == nil || v >= *is.From) && (is.To == nil || v <= *is.To), nil
	}
	return mapped{}, false, fmt.Errorf("mappings of the type %q are not known here", m.Type)
}
