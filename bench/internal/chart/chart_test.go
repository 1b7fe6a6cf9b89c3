// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/xml"
	"fmt"
	"image/color"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"gonum.org/v1/plot/vg"
)

// box is a filled rectangle of a picture, in points from its left and lower edge.
type box struct{ x0, y0, x1, y1 float64 }

var rectangle = regexp.MustCompile(`<path d="M([\d.]+),([\d.]+)L([\d.]+),[\d.]+L[\d.]+,([\d.]+)L[\d.]+,[\d.]+Z" style="fill:(#\w+)" />`)

// boxes are the rectangles in a colour, in the order in which they were drawn.
func boxes(svg []byte, of color.RGBA) (all []box) {
	for _, m := range rectangle.FindAllSubmatch(svg, -1) {
		if string(m[5]) != fmt.Sprintf("#%02X%02X%02X", of.R, of.G, of.B) {
			continue
		}
		var v [4]float64
		for i := range v {
			v[i], _ = strconv.ParseFloat(string(m[i+1]), 64)
		}
		all = append(all, box{v[0], v[1], v[2], v[3]})
	}
	return all
}

// readable fails the test unless the picture is XML and has these texts.
func readable(t *testing.T, svg []byte, texts ...string) {
	t.Helper()
	var all struct {
		XMLName xml.Name `xml:"svg"`
		G       struct {
			Text []string `xml:"text"`
		} `xml:"g"`
	}
	if err := xml.Unmarshal(svg, &all); err != nil {
		t.Fatalf("%v in\n%s", err, svg)
	}
	for _, want := range texts {
		found := false
		for _, text := range all.G.Text {
			found = found || text == want
		}
		if !found {
			t.Errorf("there is no text %q in %q", want, all.G.Text)
		}
	}
}

func near(a, b float64) bool { return a-b < 0.05 && b-a < 0.05 }

func TestBarsBeginAtZero(t *testing.T) {
	svg := Bars{
		Title: "CPU <&>", Axis: "µs", Series: []Series{{Colour: Blue}},
		Rows: []Row{
			{Name: "edge", Bars: []Bar{{Value: 100, Label: "100"}}},
			{Name: "slow", Bars: []Bar{{Value: 300, Min: 250, Max: 310, Label: "300"}}},
			{Name: "below", Bars: []Bar{{Value: -5, Label: "-5"}}},
			{Name: "gnet", Muted: true, Bars: []Bar{{Value: 50, Label: "50"}}},
		},
	}.SVG()
	readable(t, svg, "CPU <&>", "µs", "edge", "slow", "gnet", "100", "300", "-5", "0")
	blue, grey := boxes(svg, Blue), boxes(svg, Grey)
	if len(blue) != 3 || len(grey) != 1 {
		t.Fatalf("blue %v, grey %v in\n%s", blue, grey, svg)
	}
	length := func(b box) float64 { return b.x1 - b.x0 }
	if !near(length(blue[1]), 3*length(blue[0])) || !near(length(grey[0]), length(blue[0])/2) || length(blue[2]) != 0 {
		t.Errorf("lengths %v %v %v %v", length(blue[0]), length(blue[1]), length(blue[2]), length(grey[0]))
	}
	if blue[0].x0 != blue[1].x0 || blue[0].x0 != grey[0].x0 || blue[0].y0 < blue[1].y0 {
		t.Errorf("%v %v", blue, grey)
	}
}

func TestBarsOfAStackFollowEachOther(t *testing.T) {
	svg := Bars{
		Title: "memory", Stack: true, Series: []Series{{"heap", Blue}, {"kernel", Grey}},
		Rows: []Row{{Name: "edge", Bars: []Bar{{Value: 100, Label: "not shown"}, {Value: 200, Label: "100 + 200"}}}},
	}.SVG()
	readable(t, svg, "heap", "kernel", "100 + 200")
	blue, grey := boxes(svg, Blue), boxes(svg, Grey) // The first of each is in the legend.
	if len(blue) != 2 || len(grey) != 2 || blue[1].x1 != grey[1].x0 || blue[1].y0 != grey[1].y0 {
		t.Fatalf("blue %v, grey %v", blue, grey)
	}
	if !near(grey[1].x1-grey[1].x0, 2*(blue[1].x1-blue[1].x0)) || strings.Contains(string(svg), "not shown") {
		t.Errorf("blue %v, grey %v", blue[1], grey[1])
	}
}

func TestTextsBehindBarsFit(t *testing.T) {
	const text = "a text behind a bar that leaves it no more than half of the picture"
	svg := Bars{Series: []Series{{Colour: Blue}}, Rows: []Row{{Name: "edge", Bars: []Bar{{Value: 9e6, Label: text}}}}}.SVG()
	end := vg.Length(boxes(svg, Blue)[0].x1) + gap + label(ink).Width(text)
	if end > width-margin/2 || end < width-6*margin {
		t.Errorf("the text ends at %v of %v", end, width)
	}
}

func TestNoDataIsNoReasonToFail(t *testing.T) {
	readable(t, Bars{Series: []Series{{Colour: Blue}}, Rows: []Row{{Name: "edge", Bars: []Bar{{}}}}}.SVG(), "edge")
	readable(t, Lines{Log: true, Panels: []Panel{{Title: "RSS", Lines: []Line{{}}}}}.SVG(), "RSS")
	zero := Lines{Panels: []Panel{{Title: "RSS", Lines: []Line{{Points: []Point{{}}}}}}}.SVG()
	readable(t, zero, "RSS", "0.0", "1.0")
	if strings.Contains(string(zero), ">-") {
		t.Errorf("an axis begins below zero:\n%s", zero)
	}
}

var dot = regexp.MustCompile(`<path d="M([\d.]+),([\d.]+)A`)

// dots are the centres of the dots on lines.
func dots(svg []byte) (x, y []float64) {
	for _, m := range dot.FindAllSubmatch(svg, -1) {
		right, _ := strconv.ParseFloat(string(m[1]), 64)
		middle, _ := strconv.ParseFloat(string(m[2]), 64)
		x, y = append(x, right-2.75), append(y, middle)
	}
	return x, y
}

func TestLinesOverALogarithm(t *testing.T) {
	points := []Point{{X: 1000, Y: 10}, {X: 10_000, Y: 20}, {X: 100_000, Y: 40}}
	svg := Lines{Title: "CPU", XAxis: "ticks/s", Log: true, Panels: []Panel{{"%", []Line{{Points: points, Series: Series{Colour: Blue}}}}}}.SVG()
	readable(t, svg, "CPU", "ticks/s", "%", "1,000", "10,000", "100,000", "0")
	x, y := dots(svg)
	if len(x) != 3 || !near(x[1]-x[0], x[2]-x[1]) || !near(y[2]-y[1], 2*(y[1]-y[0])) {
		t.Errorf("x %v, y %v in\n%s", x, y, svg)
	}
}

func TestPanelsShareTheirAxes(t *testing.T) {
	panel := func(y float64) Panel {
		return Panel{fmt.Sprint(y), []Line{{Points: []Point{{X: 0, Y: y}, {X: 60, Y: y}}}}}
	}
	svg := Lines{XAxis: "s", Panels: []Panel{panel(7), panel(7), panel(700_000)}}.SVG()
	readable(t, svg, "7", "700000", "600,000")
	x, y := dots(svg)
	if len(x) != 6 || x[0] != x[4] || x[1] != x[5] || y[0] != y[2] || !(x[2] > x[1]) || !(y[4] < y[0]) {
		t.Errorf("x %v, y %v", x, y)
	}
}

func TestNumbersOnAxes(t *testing.T) {
	for _, c := range []struct {
		high float64
		want string
	}{
		{1, "0.0 0.2 0.4 0.6 0.8 1.0"}, {12, "0 2 4 6 8 10 12"}, {15, "0.0 2.5 5.0 7.5 10.0 12.5 15.0"},
		{52_000, "0 10,000 20,000 30,000 40,000 50,000"}, {1.2e6, "0 200,000 400,000 600,000 800,000 1,000,000 1,200,000"},
		{0.012, "0.000 0.002 0.004 0.006 0.008 0.010 0.012"},
	} {
		var got []string
		for _, tick := range (round{}).Ticks(0, c.high) {
			got = append(got, tick.Label)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("to %v: %v, want %s", c.high, got, c.want)
		}
	}
	for want, v := range map[string]float64{"-1,234": -1234, "-123": -123, "999": 999, "1,000": 999.7} {
		if got := Number(v, 1); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
