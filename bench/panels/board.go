// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// board is a dashboard of Grafana, as far as it is drawn.
type board struct {
	Title      string
	Templating struct{ List []variable }
	Panels     []panel
}

type variable struct {
	Name, Type string
	AllValue   string
	Query      any // A text but for some types.
	Current    struct{ Value any }
}

type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct {
		Defaults  json.RawMessage
		Overrides []override
	}
	Options         options
	Targets         []target
	Transformations []transformation
	Panels          []panel // Of a row that is collapsed.
}

type target struct {
	Expr, LegendFormat, RefID string
	Hide                      bool
}

type options struct {
	Legend struct {
		ShowLegend  *bool
		DisplayMode string
		Calcs       []string
	}
	ReduceOptions struct{ Calcs []string }
	GraphMode     string
	ColorMode     string
	Content       string // Of a panel that is a text.
}

type transformation struct {
	ID      string
	Options struct {
		ExcludeByName map[string]bool
		RenameByName  map[string]string
		IndexByName   map[string]int
	}
}

// field is how values are shown.
type field struct {
	Unit        string
	Min, Max    *float64
	Decimals    *int
	DisplayName string
	Color       struct{ Mode, FixedColor string }
	Thresholds  struct {
		Mode  string
		Steps []threshold
	}
	Mappings []mapping
	Custom   struct {
		FillOpacity       float64
		LineInterpolation string
		Stacking          struct{ Mode string }
		ThresholdsStyle   struct{ Mode string }
		ScaleDistribution struct{ Type string }
		AxisSoftMin       *float64
		AxisSoftMax       *float64
	}
}

// threshold is from where on a colour holds. The first has no value: it holds below all others.
type threshold struct {
	Color string
	Value *float64
}

type mapping struct {
	Type    string
	Options json.RawMessage
}

type override struct {
	Matcher struct {
		ID      string
		Options any
	}
	Properties []struct {
		ID    string
		Value json.RawMessage
	}
}

// boardRow is a row of a dashboard: what makes one picture.
type boardRow struct {
	title, file string
	panels      []panel
}

func parseBoard(text []byte) (*board, error) {
	var b board
	if err := json.Unmarshal(text, &b); err != nil {
		return nil, err
	}
	if len(b.Panels) == 0 {
		return nil, errors.New("it has no panels")
	}
	return &b, nil
}

// rows are the rows of a dashboard. What stands above the first one is a row with the title of the dashboard.
func (b *board) rows() (all []boardRow, err error) {
	sorted := slices.Clone(b.Panels)
	slices.SortStableFunc(sorted, func(p, q panel) int { return p.GridPos.Y - q.GridPos.Y })
	at := -1
	for _, p := range sorted {
		if p.Type == "row" || at < 0 {
			title := b.Title
			if p.Type == "row" {
				title = p.Title
			}
			all = append(all, boardRow{title: title, file: fileName(title), panels: slices.Clone(p.Panels)})
			at++
		}
		if p.Type != "row" {
			all[at].panels = append(all[at].panels, p)
		}
	}
	all = slices.DeleteFunc(all, func(r boardRow) bool { return len(r.panels) == 0 })
	files := make(map[string]string)
	for _, r := range all {
		if other, taken := files[r.file]; taken {
			return nil, fmt.Errorf("the rows %q and %q would be the same file, %s: name one of them otherwise", other, r.title, r.file)
		}
		files[r.file] = r.title
		for _, p := range r.panels {
			if g := p.GridPos; g.X < 0 || g.W < 1 || g.X+g.W > columns || g.H < 2 || g.H > 60 || g.Y < 0 || g.Y > 10_000 {
				return nil, fmt.Errorf("the panel %q has no place in %d columns: its gridPos is %+v", p.Title, columns, g)
			}
		}
	}
	return all, nil
}

// clashes are panels that lie over each other, and those that have one number, of which Grafana knows only one.
func clashes(rows []boardRow) (all []error) {
	numbers := make(map[int]string)
	for _, r := range rows {
		for i, p := range r.panels {
			if other, taken := numbers[p.ID]; taken && p.ID != 0 {
				all = append(all, fmt.Errorf("the panels %q and %q have one id, %d: give one of them another", other, p.Title, p.ID))
			}
			numbers[p.ID] = p.Title
			for _, q := range r.panels[:i] {
				g, h := p.GridPos, q.GridPos
				if g.X < h.X+h.W && h.X < g.X+g.W && g.Y < h.Y+h.H && h.Y < g.Y+g.H {
					all = append(all, fmt.Errorf("the panels %q and %q lie over each other: move one of them", q.Title, p.Title))
				}
			}
		}
	}
	return all
}

var noName = regexp.MustCompile(`[^a-z0-9]+`)

// fileName makes a title a name for a file.
func fileName(title string) string {
	name := strings.Trim(noName.ReplaceAllString(strings.ToLower(title), "-"), "-")
	if name == "" {
		name = "row"
	}
	return name + ".svg"
}

// variables are the values of what queries may name: Grafana's own, those of the dashboard, and what flags say of them.
func (b *board) variables(c *config) (map[string]string, error) {
	seconds := func(d time.Duration) string { return fmt.Sprintf("%ds", d/time.Second) }
	vars := map[string]string{
		"__interval":      seconds(c.step),
		"__interval_ms":   fmt.Sprint(c.step.Milliseconds()),
		"__rate_interval": seconds(max(c.step+c.scrape, 4*c.scrape)),
		"__range":         seconds(c.span),
		"__range_s":       fmt.Sprint(int(c.span.Seconds())),
		"__range_ms":      fmt.Sprint(c.span.Milliseconds()),
	}
	for _, v := range b.Templating.List {
		vars[v.Name] = v.value()
	}
	for name, value := range c.vars {
		if _, known := vars[name]; !known {
			return nil, fmt.Errorf("-var %s: the dashboard has no such variable", name)
		}
		vars[name] = value
	}
	return vars, nil
}

// value is what a variable stands for when the dashboard is opened. Several values are a regular expression, as for Prometheus.
func (v variable) value() string {
	var values []string
	switch is := v.Current.Value.(type) {
	case string:
		values = []string{is}
	case []any:
		for _, one := range is {
			values = append(values, fmt.Sprint(one))
		}
	}
	if query, is := v.Query.(string); is && len(values) == 0 && (v.Type == "constant" || v.Type == "textbox") {
		values = []string{query}
	}
	switch {
	case len(values) == 0, slices.Contains(values, "$__all"):
		if v.AllValue != "" {
			return v.AllValue
		}
		return ".*"
	case len(values) == 1:
		return values[0]
	}
	for i := range values {
		values[i] = regexp.QuoteMeta(values[i])
	}
	return "(" + strings.Join(values, "|") + ")"
}

var named = regexp.MustCompile(`\$\{([A-Za-z_]\w*)(?::\w+)?\}|\$([A-Za-z_]\w*)|\[\[([A-Za-z_]\w*)\]\]`)

// fill puts values in place of variables.
func fill(text string, vars map[string]string) (string, error) {
	var unknown error
	text = named.ReplaceAllStringFunc(text, func(s string) string {
		m := named.FindStringSubmatch(s)
		name := m[1] + m[2] + m[3]
		value, known := vars[name]
		if !known {
			unknown = fmt.Errorf("%s is no variable of the dashboard, nor of those of Grafana that are known here", s)
		}
		return value
	})
	return text, unknown
}

// fieldOf is how a panel shows the values of a series, or of all if the name is empty and no override is meant.
func (p *panel) fieldOf(name, refID string) (*field, error) {
	f := &field{}
	if len(p.FieldConfig.Defaults) > 0 {
		if err := json.Unmarshal(p.FieldConfig.Defaults, f); err != nil {
			return nil, err
		}
	}
	for _, o := range p.FieldConfig.Overrides {
		want, _ := o.Matcher.Options.(string)
		matches := false
		switch o.Matcher.ID {
		case "byName":
			matches = name != "" && want == name
		case "byFrameRefID":
			matches = refID != "" && want == refID
		case "byRegexp":
			re, err := regexp.Compile(strings.Trim(want, "/"))
			if err != nil {
				return nil, err
			}
			matches = name != "" && re.MatchString(name)
		}
		if !matches {
			continue
		}
		for _, set := range o.Properties {
			// A property is a path such as custom.fillOpacity: it becomes an object that is laid over what there is.
			text := string(set.Value)
			path := strings.Split(set.ID, ".")
			for _, part := range slices.Backward(path) {
				text = fmt.Sprintf("{%q:%s}", part, text)
			}
			if err := json.Unmarshal([]byte(text), f); err != nil {
				return nil, fmt.Errorf("the property %s of an override: %w", set.ID, err)
			}
		}
	}
	return f, nil
}
