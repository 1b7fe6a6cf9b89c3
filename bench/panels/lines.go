// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
)

// lines draws a panel over time.
func (d *drawing) lines(p *panel, all []series, b box) error {
	f, err := p.fieldOf("", "")
	if err != nil {
		return err
	}
	show := p.Options.Legend.ShowLegend
	if (show == nil || *show) && p.Options.Legend.DisplayMode != "hidden" {
		entries := make([]entry, len(all))
		for i, s := range all {
			entries[i] = entry{s.name, s.colour}
			for _, calc := range p.Options.Legend.Calcs {
				value, err := reduce(calc, s.points)
				if err != nil {
					return err
				}
				text, _, err := s.field.shown(value)
				if err != nil {
					return err
				}
				entries[i].name += "  " + calcNames[calc] + " " + text
			}
		}
		b = d.legend(p.Title, entries, p.Options.Legend.DisplayMode == "table", b)
	}
	stacked := f.Custom.Stacking.Mode == "normal"
	ground := make(map[float64]float64)
	low, high := math.Inf(1), math.Inf(-1)
	floors := make([][]float64, len(all))
	for i := range all {
		s := &all[i]
		floors[i] = make([]float64, len(s.points))
		for n := range s.points {
			if stacked {
				floors[i][n] = ground[s.points[n].t]
				s.points[n].v += floors[i][n]
				ground[s.points[n].t] = s.points[n].v
				low = min(low, floors[i][n])
			}
			low, high = min(low, s.points[n].v), max(high, s.points[n].v)
		}
	}
	c := d.axes(axisOf(f, low, high), b)
	d.limits(f, c)
	for i, s := range all {
		d.line(s, floors[i], stacked, c)
	}
	return nil
}

var calcNames = map[string]string{
	"lastNotNull": "now", "last": "now", "firstNotNull": "first", "first": "first", "min": "min", "max": "max", "mean": "mean", "sum": "sum",
	"range": "range", "diff": "diff", "delta": "diff",
}

// line draws one series: a line for each stretch without a gap, and what is below it if the panel fills that.
func (d *drawing) line(s series, floors []float64, stacked bool, c *chart) {
	steps := s.field.Custom.LineInterpolation == "stepAfter"
	opacity := s.field.Custom.FillOpacity / 100
	if stacked && opacity == 0 {
		opacity = 0.1
	}
	var line, area path
	gap := 1.5 * d.step.Seconds()
	begin := 0
	for n, p := range s.points {
		if n > 0 && p.t-s.points[n-1].t > gap {
			line.stop()
			begin = n
		}
		if steps && n > begin {
			line.to(c.atX(p.t), c.atY(s.points[n-1].v))
		}
		line.to(c.atX(p.t), c.atY(p.v))
		last := n == len(s.points)-1 || s.points[n+1].t-p.t > gap
		if last && n == begin {
			// A point that is alone would not be seen.
			line.to(c.atX(p.t)+2, c.atY(p.v))
		}
		if last && opacity > 0 {
			d.area(&area, s.points[begin:n+1], floors[begin:n+1], steps, c)
		}
	}
	line.stop()
	if opacity > 0 {
		fmt.Fprintf(d, "<path d=%q fill=%q fill-opacity=%q/>\n", area.String(), s.colour, trim(fmt.Sprintf("%.2f", min(opacity, 1))))
	}
	fmt.Fprintf(d, `<path d="%s" fill="none" stroke="%s" stroke-width="1.6" stroke-linejoin="round"/>`+"\n", line.String(), s.colour)
}

// area is what is between points and what they stand on.
func (d *drawing) area(area *path, points []point, floors []float64, steps bool, c *chart) {
	for n, p := range points {
		if steps && n > 0 {
			area.to(c.atX(p.t), c.atY(points[n-1].v))
		}
		area.to(c.atX(p.t), c.atY(p.v))
	}
	for n := len(points) - 1; n >= 0; n-- {
		area.to(c.atX(points[n].t), c.atY(floors[n]))
		if steps && n > 0 {
			area.to(c.atX(points[n].t), c.atY(floors[n-1]))
		}
	}
	area.stop()
	area.WriteString("z")
}
