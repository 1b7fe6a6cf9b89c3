// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
)

const (
	columns  = 24 // Of a dashboard.
	wide     = 1000.0
	high     = 30.0 // A unit of the height.
	heading  = 30.0 // The title of a row.
	gap      = 6.0  // Between two panels.
	padding  = 8.0
	textSize = 11.0
	lineSize = 15.0
	// titled is the height of a panel's title, in whose size it is.
	titled    = 26.0
	titleSize = 12.5
)

// box is a part of the picture.
type box struct{ x, y, w, h float64 }

// drawing is the picture of a row.
type drawing struct {
	canvas
	*asker
	notes []string // What a reader of the picture may miss.
	wrong []error
}

func (d *drawing) note(format string, args ...any) {
	d.notes = append(d.notes, fmt.Sprintf(format, args...))
}

// row draws the panels of a row beside each other and below each other, as the dashboard has them.
func (d *drawing) row(ctx context.Context, r boardRow) ([]byte, error) {
	top, bottom := r.panels[0].GridPos.Y, 0
	for _, p := range r.panels {
		top, bottom = min(top, p.GridPos.Y), max(bottom, p.GridPos.Y+p.GridPos.H)
	}
	height := heading + float64(bottom-top)*high
	fmt.Fprintf(d, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" width="%[1]s" height="%[2]s"`+
		` font-family="Arial,Helvetica,sans-serif" font-size="%[3]s" fill="%[4]s">`+"\n", num(wide), num(height), num(textSize), muted)
	d.rect(0, 0, wide, height, ` fill="#fff"`)
	fmt.Fprintf(d, "<title>%s</title>\n", escape(r.title))
	d.text(gap, 20, "", fmt.Sprintf(` font-size="15" font-weight="bold" fill="%s"`, ink), r.title)
	d.text(wide-gap, 20, "end", "", d.start.UTC().Format("2006-01-02 15:04")+" to "+d.end.UTC().Format("15:04")+" UTC")
	for i := range r.panels {
		p := &r.panels[i]
		g := p.GridPos
		b := box{float64(g.X)*wide/columns + gap/2, heading + float64(g.Y-top)*high, float64(g.W)*wide/columns - gap, float64(g.H)*high - gap}
		d.rect(b.x, b.y, b.w, b.h, fmt.Sprintf(` rx="3" fill="none" stroke="%s"`, border))
		if err := d.panel(ctx, p, b); err != nil {
			return nil, fmt.Errorf("the panel %q: %w", p.Title, err)
		}
	}
	d.WriteString("</svg>\n")
	return d.Bytes(), nil
}

// panel draws a panel into its box.
func (d *drawing) panel(ctx context.Context, p *panel, b box) error {
	title, err := fill(p.Title, d.vars)
	if err != nil {
		return err
	}
	// Bold letters are a tenth wider.
	cut, whole := fit(title, titleSize*1.1, b.w-2*padding)
	if !whole {
		d.note("the title %q is cut", title)
	}
	d.text(b.x+padding, b.y+18, "", fmt.Sprintf(` font-size="%s" font-weight="bold" fill="%s"`, num(titleSize), ink), cut)
	inner := box{b.x + padding, b.y + titled, b.w - 2*padding, b.h - titled - padding}
	draw := map[string]func(*panel, []series, box) error{
		"timeseries": d.lines, "stat": d.stat, "gauge": d.bars, "bargauge": d.bars, "table": d.table,
	}[p.Type]
	if p.Type == "text" {
		return d.words(p, inner)
	} else if draw == nil {
		return fmt.Errorf("a panel of the type %q is not known here", p.Type)
	}
	all, left, err := d.ask(ctx, p, p.Type == "table")
	if err != nil {
		return err
	}
	if left > 0 {
		d.note("the panel %q has %d series more, which are left out", title, left)
	}
	if len(all) == 0 {
		d.wrong = append(d.wrong, fmt.Errorf("the panel %q has no data", title))
		d.text(b.x+b.w/2, b.y+b.h/2+5, "middle", ` font-size="14"`, "No data")
		return nil
	}
	if err := d.colours(p, all); err != nil {
		return err
	}
	return draw(p, all, inner)
}

// words draws a panel that is a text. Its marks are left as they are.
func (d *drawing) words(p *panel, b box) error {
	y := b.y + 10
	for line := range strings.Lines(p.Options.Content) {
		if y > b.y+b.h {
			d.note("the text %q is cut", p.Title)
			break
		}
		line, _ = fit(strings.TrimSpace(line), textSize, b.w)
		d.text(b.x, y, "", "", line)
		y += lineSize
	}
	return nil
}

// colours gives each series its colour: by its place, or what the panel says of it.
func (d *drawing) colours(p *panel, all []series) error {
	for i := range all {
		s := &all[i]
		s.colour = palette[i%len(palette)]
		switch mode := s.field.Color.Mode; {
		case mode == "fixed" || mode == "shades":
			s.colour = colour(s.field.Color.FixedColor)
		case mode == "thresholds", mode == "" && p.Type != "timeseries":
			value, err := reduce(p.calc(), s.points)
			if err != nil {
				return err
			}
			s.colour = s.field.threshold(value)
		}
	}
	return nil
}

// calc is how one value is made of a series.
func (p *panel) calc() string {
	if len(p.Options.ReduceOptions.Calcs) > 0 {
		return p.Options.ReduceOptions.Calcs[0]
	}
	return "lastNotNull"
}

// at is where a threshold is. In per cent it is between the least and the most that the panel says.
func (f *field) at(t threshold) float64 {
	if t.Value == nil {
		return 0
	}
	if f.Thresholds.Mode != "percentage" {
		return *t.Value
	}
	low, high := 0.0, 100.0
	if f.Min != nil {
		low = *f.Min
	}
	if f.Max != nil {
		high = *f.Max
	}
	return low + (high-low)**t.Value/100
}

// threshold is the colour of a value. Without thresholds it is green, as in Grafana.
func (f *field) threshold(v float64) string {
	is := colour("green")
	for _, t := range f.Thresholds.Steps {
		if t.Value == nil || v >= f.at(t) {
			is = colour(t.Color)
		}
	}
	return is
}
