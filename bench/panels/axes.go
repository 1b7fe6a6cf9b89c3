// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// ticksMost is more than any axis has; numbers that are not finite could make more.
const ticksMost = 32

// axis is the values of a panel from below to above.
type axis struct {
	low, high float64
	ticks     []float64
	log       bool
	unit      unit
	decimals  *int
}

// axisOf fits an axis to all that is drawn. What the panel says of its ends holds.
func axisOf(f *field, low, high float64) axis {
	a := axis{unit: unitOf(f.Unit), decimals: f.Decimals, log: f.Custom.ScaleDistribution.Type == "log"}
	if soft := f.Custom.AxisSoftMin; soft != nil {
		low = min(low, *soft)
	}
	if soft := f.Custom.AxisSoftMax; soft != nil {
		high = max(high, *soft)
	}
	if f.Min != nil {
		low = *f.Min
	}
	if f.Max != nil {
		high = *f.Max
	}
	if a.log && low > 0 {
		a.low, a.high = math.Pow(10, math.Floor(math.Log10(low)+1e-9)), math.Pow(10, math.Ceil(math.Log10(high)-1e-9))
		if a.high <= a.low {
			a.high = 10 * a.low
		}
		every := math.Ceil(math.Log10(a.high/a.low) / 6)
		for v := a.low; v <= a.high*1.001 && len(a.ticks) < ticksMost; v *= math.Pow(10, every) {
			a.ticks = append(a.ticks, v)
		}
		return a
	}
	a.log = false
	if high <= low {
		// All values are one: it stands on the ground if that is zero, and else in the middle.
		high = low + max(1, math.Abs(low)/10)
		if low != 0 && f.Min == nil {
			low -= high - low
		}
	}
	step := a.unit.step(high - low)
	a.low, a.high = low, high
	if f.Min == nil {
		a.low = math.Floor(low/step+1e-9) * step
	}
	if f.Max == nil {
		a.high = a.low + math.Ceil((high-a.low)/step-1e-9)*step
	}
	for i := math.Ceil(a.low/step - 1e-9); i*step <= a.high+step*1e-6 && len(a.ticks) < ticksMost; i++ {
		a.ticks = append(a.ticks, i*step+0) // Not -0.
	}
	return a
}

// place is where a value is: 0 below, 1 above.
func (a *axis) place(v float64) float64 {
	if a.log {
		return math.Log(max(v, a.low)/a.low) / math.Log(a.high/a.low)
	}
	return (v - a.low) / (a.high - a.low)
}

// chart is where lines are drawn, with its axes.
type chart struct {
	box
	axis
	start, end float64 // In seconds.
}

func (c *chart) atX(t float64) float64 { return c.x + c.w*(t-c.start)/(c.end-c.start) }
func (c *chart) atY(v float64) float64 { return c.y + c.h*(1-min(max(c.place(v), 0), 1)) }

// clockSteps are those between two times on an axis.
var clockSteps = []time.Duration{
	10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// axes draws the axes into a box, and returns what is left of it for lines.
func (d *drawing) axes(a axis, b box) *chart {
	names := make([]string, len(a.ticks))
	widest := 0.0
	for i, v := range a.ticks {
		names[i] = a.unit.write(v, a.decimals)
		widest = max(widest, width(names[i], textSize))
	}
	left := widest + 6
	c := &chart{box{b.x + left, b.y + 4, b.w - left, b.h - 4 - lineSize}, a, float64(d.start.Unix()), float64(d.end.Unix())}
	var lines path
	for i, v := range a.ticks {
		y := c.atY(v)
		lines.to(c.x, y)
		lines.to(c.x+c.w, y)
		lines.stop()
		d.text(c.x-6, y+4, "end", "", names[i])
	}
	step := clockSteps[len(clockSteps)-1]
	for i := len(clockSteps) - 1; i >= 0 && c.w*clockSteps[i].Seconds()/(c.end-c.start) >= 48; i-- {
		step = clockSteps[i]
	}
	format := "15:04"
	if step < time.Minute {
		format = "15:04:05"
	} else if step >= 24*time.Hour {
		format = "01-02"
	}
	for t := d.start.UTC().Truncate(step); !t.After(d.end); t = t.Add(step) {
		x := c.atX(float64(t.Unix()))
		if t.Before(d.start) {
			continue
		}
		lines.to(x, c.y)
		lines.to(x, c.y+c.h)
		lines.stop()
		// A name at an end would stick out.
		if half := width(format, textSize) / 2; x-half >= b.x && x+half <= b.x+b.w+padding {
			d.text(x, c.y+c.h+14, "middle", "", t.Format(format))
		}
	}
	fmt.Fprintf(d, "<path d=%q stroke=%q fill=\"none\"/>\n", lines.String(), grid)
	return c
}

// limits draws the thresholds of a panel, if it shows them over its lines.
func (d *drawing) limits(f *field, c *chart) {
	mode := f.Custom.ThresholdsStyle.Mode
	if mode == "" || mode == "off" {
		return
	}
	for i, t := range f.Thresholds.Steps {
		from := c.low
		if t.Value != nil {
			from = f.at(t)
		}
		to := c.high
		if i+1 < len(f.Thresholds.Steps) {
			to = f.at(f.Thresholds.Steps[i+1])
		}
		is := colour(t.Color)
		if strings.Contains(mode, "area") && is != "none" && from < c.high && to > c.low {
			d.rect(c.x, c.atY(to), c.w, c.atY(from)-c.atY(to), fmt.Sprintf(` fill="%s" fill-opacity=".1"`, is))
		}
		if strings.Contains(mode, "line") || strings.Contains(mode, "dashed") {
			if t.Value != nil && from >= c.low && from <= c.high {
				dash := ""
				if strings.Contains(mode, "dashed") {
					dash = ` stroke-dasharray="5 4"`
				}
				y := num(c.atY(from))
				fmt.Fprintf(d, `<path d="M%s %sh%s" stroke="%s"%s/>`+"\n", num(c.x), y, num(c.w), is, dash)
			}
		}
	}
}

// entry is a series in a legend.
type entry struct{ name, colour string }

// legendMost is how many lines a legend has at most.
const legendMost = 4

// legend writes the names of series at the lower end of a box, and returns what is left of the box.
func (d *drawing) legend(title string, entries []entry, table bool, b box) box {
	type placed struct {
		entry
		x    float64
		line int
	}
	var all []placed
	x, line, most := 0.0, 0, 0
	for i, e := range entries {
		name, _ := fit(e.name, textSize, b.w-16)
		w := 14 + width(name, textSize) + 10
		if x > 0 && (table || x+w-10 > b.w) {
			x, line = 0, line+1
		}
		if line >= legendMost {
			d.note("the legend of %q lacks %d of %d names", title, len(entries)-i, len(entries))
			break
		}
		all = append(all, placed{entry{name, e.colour}, x, line})
		x, most = x+w, line+1
	}
	height := float64(most) * lineSize
	for _, e := range all {
		y := b.y + b.h - height + float64(e.line)*lineSize + 11
		d.rect(b.x+e.x, y-6, 10, 4, fmt.Sprintf(` rx="2" fill="%s"`, e.colour))
		d.text(b.x+e.x+14, y, "", "", e.name)
	}
	b.h -= height + 3
	return b
}
