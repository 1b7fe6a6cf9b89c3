// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"maps"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Sizes of panels in points.
const (
	panelHeight vg.Length = 150
	panelTitle  vg.Length = 18
	panelSpace  vg.Length = 14 // Between two of them.
	dotsMax               = 40 // Lines with more points than that have no dots.
)

// Lines are panels with the same horizontal axis, one or two beside each other.
type Lines struct {
	Title  string
	XAxis  string // With its unit.
	Log    bool   // The horizontal axis is logarithmic, and marked where there are points, all above 0.
	Legend []Series
	Panels []Panel
}

// Panel is one diagram. Its vertical axis begins with zero.
type Panel struct {
	Title string // What is told, with its unit.
	Lines []Line
}

// Line is one series.
type Line struct {
	Series Series
	Points []Point
}

// Point is one measurement.
type Point struct {
	X, Y     float64
	Min, Max float64 // Of Y; drawn if they differ.
}

// SVG draws the picture.
func (l Lines) SVG() []byte {
	tiles := draw.Tiles{Cols: min(2, len(l.Panels)), PadX: 3 * panelSpace, PadY: panelSpace + panelTitle, PadTop: panelTitle, PadRight: panelSpace}
	tiles.Rows = (len(l.Panels) + tiles.Cols - 1) / tiles.Cols
	height := (panelHeight + panelTitle + panelSpace) * vg.Length(tiles.Rows)
	return picture(l.Title, l.Legend, height, func(c draw.Canvas) {
		plots := make([][]*plot.Plot, tiles.Rows)
		for i := range plots {
			plots[i] = make([]*plot.Plot, tiles.Cols)
		}
		for i, of := range l.Panels {
			plots[i/tiles.Cols][i%tiles.Cols] = l.panel(of)
		}
		canvases := plot.Align(plots, tiles, c)
		for i, of := range l.Panels {
			at, p := canvases[i/tiles.Cols][i%tiles.Cols], plots[i/tiles.Cols][i%tiles.Cols]
			p.Draw(at)
			at.FillText(label(ink), vg.Point{X: p.DataCanvas(at).Min.X, Y: at.Max.Y + panelTitle/2}, of.Title)
		}
	})
}

// panel is a plot of lines from zero on.
func (l Lines) panel(of Panel) *plot.Plot {
	p := axes(l.XAxis)
	p.Y.Width = 0
	p.X.Max, p.Y.Max = 0, 0
	p.Add(levels{})
	marks := map[float64]bool{}
	for _, line := range of.Lines {
		for _, pt := range line.Points {
			marks[pt.X] = true
			p.X.Max = max(p.X.Max, pt.X)
			p.Y.Max = max(p.Y.Max, pt.Y, pt.Max)
		}
		p.Add(drawn{line, l.x})
	}
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		if a.Max == 0 {
			a.Max = 1
		}
	}
	p.Y.Max *= 1.08 // So that the highest point has air above it.
	if xs := slices.Sorted(maps.Keys(marks)); l.Log && len(xs) > 0 {
		var ticks plot.ConstantTicks
		for _, x := range xs {
			ticks = append(ticks, plot.Tick{Value: l.x(x), Label: Number(x, 1)})
		}
		p.X.Tick.Marker = ticks
		p.X.Min, p.X.Max = l.x(xs[0])-0.1, l.x(xs[len(xs)-1])+0.1
	}
	return p
}

// x is where a number is on the horizontal axis.
func (l Lines) x(v float64) float64 {
	if l.Log {
		return math.Log10(v)
	}
	return v
}

// levels is the grid of a panel.
type levels struct{}

// Plot draws the grid into c. It is called by the plot.
func (levels) Plot(c draw.Canvas, p *plot.Plot) {
	for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
		y := c.Y(p.Y.Norm(t.Value))
		c.StrokeLine2(thin(grid), c.Min.X, y, c.Max.X, y)
	}
}

// drawn is a line with the scale of its horizontal axis.
type drawn struct {
	Line
	x func(float64) float64
}

// Plot draws the line into c. It is called by the plot.
func (l drawn) Plot(c draw.Canvas, p *plot.Plot) {
	var path []vg.Point
	y := func(v float64) vg.Length { return c.Y(p.Y.Norm(max(0, v))) }
	for _, pt := range l.Points {
		path = append(path, vg.Point{X: c.X(p.X.Norm(l.x(pt.X))), Y: y(pt.Y)})
	}
	c.StrokeLines(draw.LineStyle{Color: l.Series.Colour, Width: 1.75}, path)
	if len(path) > dotsMax {
		return
	}
	for i, at := range path {
		if pt := l.Points[i]; pt.Min != pt.Max {
			c.StrokeLine2(thin(ink), at.X, y(pt.Min), at.X, y(pt.Max))
		}
		c.DrawGlyphNoClip(draw.GlyphStyle{Color: l.Series.Colour, Radius: 2.75, Shape: draw.CircleGlyph{}}, at)
	}
}
