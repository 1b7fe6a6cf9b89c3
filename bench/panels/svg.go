// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Colours of what is no data, on a white ground.
const (
	ink    = "#1f2933"
	muted  = "#52606d"
	border = "#d5dae0"
	grid   = "#eceff2"
)

// palette are the colours of series, in their order. They stay apart for every kind of colour-blindness (Okabe and Ito), and the
// second round is darker.
var palette = []string{
	"#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8a8d91", "#b8a100",
	"#003f63", "#8f6300", "#005c43", "#7d3700", "#7d4a66", "#2b7fae", "#4a4d50", "#6e6100",
}

// named colours of Grafana, as they are on a light ground.
var colours = map[string]string{
	"green": "#2e9e4f", "red": "#d3263f", "yellow": "#d9a400", "orange": "#e8710a", "blue": "#2f6fd0", "purple": "#8f4bc4",
	"text": ink, "gray": "#8a8d91", "white": "#ffffff", "black": "#000000", "transparent": "none",
}

var hex = regexp.MustCompile(`^#[0-9a-fA-F]{3,8}$`)

// colour is what a name of a colour stands for. Shades, such as dark-red, are their colour.
func colour(name string) string {
	if hex.MatchString(name) {
		return name
	}
	for _, shade := range []string{"super-light-", "light-", "semi-dark-", "dark-"} {
		name = strings.TrimPrefix(name, shade)
	}
	if c, known := colours[name]; known {
		return c
	}
	return muted
}

// canvas is a picture that is being drawn, in pixels from the left upper corner.
type canvas struct{ bytes.Buffer }

// num writes a coordinate. A tenth of a pixel is as fine as anybody sees.
func num(v float64) string { return trim(strconv.FormatFloat(v, 'f', 1, 64)) }

// escape makes a text part of a document. What may not be in one becomes U+FFFD.
func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) //nolint:errcheck // A Builder does not fail.
	return b.String()
}

// text writes a text, which begins, has its middle or ends at x. Attributes say how, and may be none.
func (c *canvas) text(x, y float64, anchor, attributes, text string) {
	if anchor != "" {
		attributes += ` text-anchor="` + anchor + `"`
	}
	fmt.Fprintf(c, "<text x=%q y=%q%s>%s</text>\n", num(x), num(y), attributes, escape(text))
}

func (c *canvas) rect(x, y, w, h float64, attributes string) {
	fmt.Fprintf(c, "<rect x=%q y=%q width=%q height=%q%s/>\n", num(x), num(y), num(w), num(h), attributes)
}

// path draws lines. Points are in tenths of a pixel.
type path struct {
	strings.Builder
	x, y  int  // Where it is.
	begun bool // The line goes on from there.
	// held are points on one straight line with where it is: only the last is written.
	held         bool
	heldX, heldY int
}

func tenths(v float64) int { return int(math.Round(v * 10)) }

func tenth(v int) string { return trim(strconv.FormatFloat(float64(v)/10, 'f', 1, 64)) }

// to goes on to a point, or begins there.
func (p *path) to(fx, fy float64) {
	x, y := tenths(fx), tenths(fy)
	switch {
	case !p.begun:
		fmt.Fprintf(p, "M%s %s", tenth(x), tenth(y))
		p.x, p.y, p.begun = x, y, true
		return
	case p.held && (p.heldX-p.x)*(y-p.heldY) == (p.heldY-p.y)*(x-p.heldX) && (x-p.heldX)*(p.heldX-p.x) >= 0 && (y-p.heldY)*(p.heldY-p.y) >= 0:
		// It goes on straight.
	case p.held:
		p.settle()
	}
	p.held, p.heldX, p.heldY = true, x, y
}

// settle writes the point that is held.
func (p *path) settle() {
	if !p.held {
		return
	}
	dx, dy := tenth(p.heldX-p.x), tenth(p.heldY-p.y)
	switch {
	case dy == "0":
		p.WriteString("h" + dx)
	case dx == "0":
		p.WriteString("v" + dy)
	case strings.HasPrefix(dy, "-"):
		p.WriteString("l" + dx + dy)
	default:
		p.WriteString("l" + dx + " " + dy)
	}
	p.x, p.y, p.held = p.heldX, p.heldY, false
}

// stop ends a line: the next point begins another one.
func (p *path) stop() {
	p.settle()
	p.begun = false
}

// widthOf is how wide a character is in parts of the size. Fonts differ: it is that of the widest one that a sans-serif may be.
func widthOf(r rune) float64 {
	switch {
	case strings.ContainsRune("ijl|'", r):
		return 0.28
	case strings.ContainsRune(" .,:;!/ftrI[]()`-", r):
		return 0.38
	case strings.ContainsRune("mM%W@", r):
		return 0.96
	case r >= 'A' && r <= 'Z', r == 'w', r == '…':
		return 0.76
	}
	return 0.63
}

// width is about how wide a text is.
func width(text string, size float64) (w float64) {
	for _, r := range text {
		w += widthOf(r)
	}
	return w * size
}

// fit cuts a text that is too wide, and says so.
func fit(text string, size, room float64) (cut string, whole bool) {
	if width(text, size) <= room {
		return text, true
	}
	runes := []rune(text)
	for len(runes) > 0 && width(string(runes)+"…", size) > room {
		runes = runes[:len(runes)-1]
	}
	return strings.TrimSpace(string(runes)) + "…", false
}
