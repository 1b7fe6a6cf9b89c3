// SPDX-License-Identifier: Apache-2.0

// Package chart draws the pictures of a report as SVG, all in one look: white ground,
// zero-based, labelled with units, in colours that stay apart for every kind of
// colour-blindness (Okabe and Ito). Its functions may be called from anywhere.
//
//	chart.go  the look: colours, sizes, texts, numbers on axes
//	bars.go   Bars: servers side by side
//	lines.go  Lines: something over time, or over another number
package chart

import (
	"bytes"
	"image/color"
	"math"
	"strconv"
	"strings"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Colours of data. Blue is the edge's and Grey that of what it is compared with. Light
// to Dark rank quantiles of one thing.
var (
	Blue   = color.RGBA{0x00, 0x72, 0xb2, 0xff}
	Grey   = color.RGBA{0xa8, 0xb2, 0xbd, 0xff}
	Sky    = color.RGBA{0x56, 0xb4, 0xe9, 0xff}
	Orange = color.RGBA{0xe6, 0x9f, 0x00, 0xff}
	Light  = color.RGBA{0xa9, 0xd3, 0xec, 0xff}
	Middle = color.RGBA{0x3d, 0x95, 0xcb, 0xff}
	Dark   = color.RGBA{0x00, 0x45, 0x73, 0xff}

	ink   = color.RGBA{0x1f, 0x29, 0x33, 0xff}
	muted = color.RGBA{0x52, 0x60, 0x6d, 0xff}
	grid  = color.RGBA{0xe4, 0xe7, 0xeb, 0xff}
)

// Sizes in points; browsers show 3 points as 4 pixels.
const (
	width      vg.Length = 600 // 800 pixels: a README is that wide.
	margin     vg.Length = 10
	titleSize  vg.Length = 12
	textSize   vg.Length = 9
	titleLine  vg.Length = 22
	legendLine vg.Length = 18
	swatch     vg.Length = 9
	gap        vg.Length = 5 // Between a mark and its text.
)

// Series is one kind of data in a picture.
type Series struct {
	Name   string // In the legend.
	Colour color.Color
}

func textStyle(size vg.Length, weight xfont.Weight, c color.Color) text.Style {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Weight: weight, Size: size}
	return text.Style{Color: c, Font: f, Handler: plot.DefaultTextHandler}
}

// label is the style of all texts but titles; the point that it is drawn at is the
// left end of its middle line.
func label(c color.Color) text.Style {
	s := textStyle(textSize, xfont.WeightNormal, c)
	s.YAlign = -0.4 // The middle of small letters, which is a little above that of the line.
	return s
}

// thin is the style of lines that are no data.
func thin(c color.Color) draw.LineStyle { return draw.LineStyle{Color: c, Width: 0.75} }

// picture draws the title and the legend, if more than one series has a name, lets
// body draw into the rest, which is height high, and returns the SVG.
func picture(title string, legend []Series, height vg.Length, body func(c draw.Canvas)) []byte {
	height += 2*margin + titleLine
	if len(legend) > 1 {
		height += legendLine
	}
	canvas := vgsvg.New(width, height)
	c := draw.New(canvas)
	c.SetColor(color.White)
	c.Fill(c.Rectangle.Path())
	c = draw.Crop(c, margin, -margin, margin, -margin)

	bold := textStyle(titleSize, xfont.WeightBold, ink)
	c.FillText(bold, vg.Point{X: c.Min.X, Y: c.Max.Y - titleSize}, title)
	c.Max.Y -= titleLine
	if len(legend) > 1 {
		s := label(muted)
		x, y := c.Min.X, c.Max.Y-legendLine/2
		for _, l := range legend {
			fill(c, l.Colour, x, y-swatch/2, x+swatch, y+swatch/2)
			c.FillText(s, vg.Point{X: x + swatch + gap, Y: y}, l.Name)
			x += swatch + 4*gap + s.Width(l.Name)
		}
		c.Max.Y -= legendLine
	}
	body(c)
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		panic("chart: a buffer failed: " + err.Error())
	}
	// Where there is no Liberation Sans, Arial and Helvetica have the same widths.
	return bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
}

func fill(c draw.Canvas, of color.Color, x0, y0, x1, y1 vg.Length) {
	c.FillPolygon(of, []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
}

// axes returns a plot with no data, in our look.
func axes(xLabel string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.LineStyle = thin(muted)
		a.Padding = 0
		a.Tick.Length, a.Tick.LineStyle = 4, thin(grid)
		xAlign, yAlign := a.Tick.Label.XAlign, a.Tick.Label.YAlign
		a.Tick.Label = textStyle(textSize, xfont.WeightNormal, muted)
		a.Tick.Label.XAlign, a.Tick.Label.YAlign = xAlign, yAlign
		a.Tick.Marker = round{}
		a.Label.Padding = gap
		a.Min, a.Max = 0, 1
	}
	p.X.Label.Text = xLabel
	p.X.Label.TextStyle = textStyle(textSize, xfont.WeightNormal, muted)
	p.X.Label.TextStyle.XAlign = draw.XCenter
	return p
}

// round marks an axis with some six round numbers.
type round struct{}

func (round) Ticks(low, high float64) []plot.Tick {
	step := roundStep((high - low) / 6)
	var ticks []plot.Tick
	for i := math.Ceil(low / step); i*step <= high*(1+1e-9); i++ {
		ticks = append(ticks, plot.Tick{Value: i * step, Label: Number(i*step, step)})
	}
	return ticks
}

// roundStep is the next 1, 2, 2.5 or 5 times a power of ten.
func roundStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, times := range []float64{1, 2, 2.5, 5} {
		if times*power >= v*(1-1e-9) {
			return times * power
		}
	}
	return 10 * power
}

// Number writes v as exactly as a multiple of step needs, with commas between
// thousands.
func Number(v, step float64) string {
	places := 0
	for rest := step; places < 6 && math.Abs(rest-math.Round(rest)) > 1e-6; rest *= 10 {
		places++
	}
	whole, part, _ := strings.Cut(strconv.FormatFloat(v, 'f', places, 64), ".")
	for at := len(whole) - 3; at > 0 && whole[at-1] != '-'; at -= 3 {
		whole = whole[:at] + "," + whole[at:]
	}
	if part != "" {
		return whole + "." + part
	}
	return whole
}
