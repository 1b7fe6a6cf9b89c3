// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// stat draws the value of each series as a big number, over what it was.
func (d *drawing) stat(p *panel, all []series, b box) error {
	w := b.w / float64(len(all))
	for i, s := range all {
		value, err := reduce(p.calc(), s.points)
		if err != nil {
			return err
		}
		text, mapped, err := s.field.shown(value)
		if err != nil {
			return err
		}
		is := s.colour
		if mapped != "" {
			is = colour(mapped)
		}
		part := box{b.x + float64(i)*w, b.y, w - 4, b.h}
		if p.Options.GraphMode != "none" && len(s.points) > 1 {
			d.past(s, is, part)
		}
		size := min(part.h*0.45, 44, part.w*0.9/width(text, 1))
		y := part.y + part.h*0.5 + size*0.2
		d.text(part.x+part.w/2, y, "middle", fmt.Sprintf(` font-size="%s" font-weight="bold" fill="%s"`, num(size), is), text)
		if len(all) > 1 {
			name, whole := fit(s.name, textSize, part.w)
			if !whole {
				d.note("the name %q of %q is cut", s.name, p.Title)
			}
			d.text(part.x+part.w/2, part.y+8, "middle", "", name)
		}
	}
	return nil
}

// past draws what a value was, pale, in the lower third of a box.
func (d *drawing) past(s series, colour string, b box) {
	low, high := s.points[0].v, s.points[0].v
	for _, p := range s.points {
		low, high = min(low, p.v), max(high, p.v)
	}
	if s.field.Min != nil {
		low = *s.field.Min
	}
	if high <= low {
		high = low + 1
	}
	c := &chart{box{b.x, b.y + b.h*2/3, b.w, b.h / 3}, axis{low: low, high: high}, float64(d.start.Unix()), float64(d.end.Unix())}
	floors := make([]float64, len(s.points))
	for i := range floors {
		floors[i] = low
	}
	var area path
	d.area(&area, s.points, floors, false, c)
	fmt.Fprintf(d, "<path d=%q fill=%q fill-opacity=\".15\"/>\n", area.String(), colour)
}

// bars draws the value of each series as a bar of what there may be, with its name.
func (d *drawing) bars(p *panel, all []series, b box) error {
	high := 0.0
	values := make([]float64, len(all))
	for i, s := range all {
		var err error
		if values[i], err = reduce(p.calc(), s.points); err != nil {
			return err
		}
		high = max(high, values[i])
	}
	step := min(b.h/float64(len(all)), 34)
	if step < 20 {
		d.note("the panel %q has room for %d of its %d bars", p.Title, int(b.h/20), len(all))
		step = 20
	}
	for i, s := range all {
		y := b.y + float64(i)*step
		if y+step > b.y+b.h+1 {
			break
		}
		low, most := 0.0, high
		if s.field.Min != nil {
			low = *s.field.Min
		}
		if s.field.Max != nil {
			most = *s.field.Max
		}
		text, mapped, err := s.field.shown(values[i])
		if err != nil {
			return err
		}
		is := s.colour
		if mapped != "" {
			is = colour(mapped)
		}
		part := 0.0
		if most > low {
			part = min(max((values[i]-low)/(most-low), 0), 1)
		}
		name, _ := fit(s.name, textSize, b.w-width(text, textSize)-12)
		d.text(b.x, y+10, "", "", name)
		d.text(b.x+b.w, y+10, "end", fmt.Sprintf(` font-weight="bold" fill="%s"`, is), text)
		thick := min(step-16, 14)
		d.rect(b.x, y+13, b.w, thick, fmt.Sprintf(` fill="%s"`, grid))
		d.rect(b.x, y+13, b.w*part, thick, fmt.Sprintf(` fill="%s"`, is))
	}
	return nil
}

// table draws a line for each series: its labels, and its value now.
func (d *drawing) table(p *panel, all []series, b box) error {
	names := make(map[string]bool)
	for _, s := range all {
		for name := range s.labels {
			names[name] = true
		}
	}
	heads := append(slices.Sorted(maps.Keys(names)), "Value")
	rename := make(map[string]string)
	for _, t := range p.Transformations {
		switch t.ID {
		case "organize":
			heads = slices.DeleteFunc(heads, func(name string) bool { return t.Options.ExcludeByName[name] })
			slices.SortStableFunc(heads, func(x, y string) int { return cmp.Compare(t.Options.IndexByName[x], t.Options.IndexByName[y]) })
			maps.Copy(rename, t.Options.RenameByName)
		case "labelsToFields", "merge":
			// Lines have their labels as columns anyway.
		default:
			return fmt.Errorf("the transformation %q is not known here", t.ID)
		}
	}
	w := b.w / float64(len(heads))
	bold := fmt.Sprintf(` font-weight="bold" fill="%s"`, ink)
	for i, name := range heads {
		shown, _ := fit(cmp.Or(rename[name], name), textSize, w-6)
		d.text(b.x+float64(i)*w, b.y+10, "", bold, shown)
	}
	for n, s := range all {
		y := b.y + 14 + float64(n)*(lineSize+3)
		if y+lineSize > b.y+b.h {
			d.note("the table %q has room for %d of its %d lines", p.Title, n, len(all))
			break
		}
		d.rect(b.x, y, b.w, 1, fmt.Sprintf(` fill="%s"`, grid))
		for i, name := range heads {
			text, is := s.labels[name], muted
			if name == "Value" {
				var mapped string
				var err error
				if text, mapped, err = s.field.shown(s.points[len(s.points)-1].v); err != nil {
					return err
				}
				if mapped != "" {
					is = colour(mapped)
				}
			}
			shown, whole := fit(strings.TrimSpace(text), textSize, w-6)
			if !whole {
				d.note("%q in the table %q is cut", text, p.Title)
			}
			d.text(b.x+float64(i)*w, y+14, "", fmt.Sprintf(` fill="%s"`, is), shown)
		}
	}
	return nil
}
