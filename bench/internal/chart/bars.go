// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Sizes of bars in points.
const (
	barHeight  vg.Length = 11
	barSpace   vg.Length = 9  // Between the bars of one row and the next.
	axisHeight vg.Length = 38 // The axis with its numbers and its name.
)

// Bars are horizontal bars from zero: a row for each server, in each row a bar for
// each series.
type Bars struct {
	Title  string
	Axis   string // What the bars measure, with its unit.
	Series []Series
	Stack  bool // The bars of a row are parts of one whole.
	Rows   []Row
}

// Row is one server, or one state.
type Row struct {
	Name  string
	Muted bool  // It is what the others are compared with: grey, if there is one series.
	Bars  []Bar // One for each series.
}

// Bar is one number. A negative one counts as 0.
type Bar struct {
	Value    float64
	Min, Max float64 // Drawn if they differ; not in a stack.
	Label    string  // Behind the bar; in a stack, the last one's behind the whole.
}

// SVG draws the picture.
func (b Bars) SVG() []byte {
	rowHeight := barSpace + barHeight*vg.Length(b.lanes())
	return picture(b.Title, b.Series, axisHeight+rowHeight*vg.Length(len(b.Rows)), func(c draw.Canvas) {
		p := axes(b.Axis)
		p.Y.Width = 0
		p.Y.Tick.Label.Color = ink
		p.Y.Padding, p.Y.Tick.Length = gap, 0
		p.Y.Max = float64(len(b.Rows))
		var names []plot.Tick
		for i, r := range b.Rows {
			names = append(names, plot.Tick{Value: b.middle(i), Label: r.Name})
		}
		p.Y.Tick.Marker = plot.ConstantTicks(names)
		p.X.Width = 0
		p.X.Max = b.high(p.DataCanvas(c).Size().X)
		p.Add(b)
		p.Draw(c)
	})
}

// lanes is how many bars lie below each other in a row.
func (b Bars) lanes() int {
	if b.Stack {
		return 1
	}
	return len(b.Series)
}

// middle is where a row is on the vertical axis, on which each row is 1 high and the
// first one is at the top.
func (b Bars) middle(row int) float64 { return float64(len(b.Rows)-row) - 0.5 }

// high is the end of the horizontal axis, so that all bars and the texts behind them
// fit into space.
func (b Bars) high(space vg.Length) float64 {
	high := 0.0
	fit := func(end float64, text string) {
		room := max(space/4, space-2*gap-label(ink).Width(text)) // A text that long sticks out.
		high = max(high, end*float64(space/room))
	}
	for _, r := range b.Rows {
		sum := 0.0
		for _, bar := range r.Bars {
			if !b.Stack {
				sum = 0
			}
			sum += max(0, bar.Value)
			fit(max(sum, bar.Max), bar.Label)
		}
	}
	if high == 0 {
		return 1
	}
	return high
}

// Plot draws the grid and the bars into c. It is called by the plot.
func (b Bars) Plot(c draw.Canvas, p *plot.Plot) {
	x := func(v float64) vg.Length { return c.X(p.X.Norm(max(0, v))) }
	for _, t := range p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max) {
		c.StrokeLine2(thin(grid), x(t.Value), c.Min.Y, x(t.Value), c.Max.Y)
	}
	for i, r := range b.Rows {
		top := c.Y(p.Y.Norm(b.middle(i))) + barHeight*vg.Length(b.lanes())/2
		sum := 0.0
		for n, bar := range r.Bars {
			colour := b.Series[n].Colour
			if r.Muted && len(b.Series) == 1 {
				colour = Grey
			}
			if !b.Stack {
				sum = 0
			}
			from, end := sum, sum+max(0, bar.Value)
			fill(c, colour, x(from), top-barHeight+1, x(end), top-1)
			middle := top - barHeight/2
			if b.Stack {
				sum = end
			} else {
				if bar.Min != bar.Max {
					whisker(c, x(bar.Min), x(bar.Max), middle)
					end = max(end, bar.Max)
				}
				top -= barHeight
			}
			if !b.Stack || n == len(r.Bars)-1 {
				c.FillText(label(ink), vg.Point{X: x(end) + gap, Y: middle}, bar.Label)
			}
		}
	}
	c.StrokeLine2(thin(muted), c.Min.X, c.Min.Y, c.Min.X, c.Max.Y)
}

// whisker marks the smallest and the largest of several rounds.
func whisker(c draw.Canvas, x0, x1, y vg.Length) {
	const half = 2.5
	s := thin(ink)
	c.StrokeLine2(s, x0, y, x1, y)
	c.StrokeLine2(s, x0, y-half, x0, y+half)
	c.StrokeLine2(s, x1, y-half, x1, y+half)
}
