// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// askMost bounds a question, with its answer.
	askMost = 30 * time.Second
	// answerMost bounds the bytes of an answer.
	answerMost = 64 << 20
	// seriesMost is how many series of a query are drawn.
	seriesMost = 40
)

// asker asks Prometheus about one stretch of time.
type asker struct {
	url        string
	start, end time.Time
	step       time.Duration
	vars       map[string]string
}

// point is a value at a time in seconds.
type point struct{ t, v float64 }

// series is what a query has under one set of labels.
type series struct {
	labels map[string]string
	name   string // As the legend shows it.
	refID  string
	points []point // Those that are numbers.
	field  *field
	colour string
}

// answer is what Prometheus says.
type answer struct {
	Status, Error string
	Data          struct {
		ResultType string
		Result     json.RawMessage
	}
}

// sample is a series of an answer. It has Values, or, if the question was about one time, a Value.
type sample struct {
	Metric map[string]string
	Values [][2]any
	Value  [2]any
}

// ask has all queries of a panel answered: over time, or as they are at the end.
func (a *asker) ask(ctx context.Context, p *panel, instant bool) (all []series, cut int, err error) {
	for _, t := range p.Targets {
		if t.Hide || t.Expr == "" {
			continue
		}
		expr, err := fill(t.Expr, a.vars)
		if err != nil {
			return nil, 0, err
		}
		found, err := a.query(ctx, expr, instant)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", expr, err)
		}
		if len(found) > seriesMost {
			cut += len(found) - seriesMost
			found = found[:seriesMost]
		}
		for _, s := range found {
			if s.name, err = legend(t.LegendFormat, s.labels, a.vars); err != nil {
				return nil, 0, err
			}
			s.refID = t.RefID
			if s.field, err = p.fieldOf(s.name, t.RefID); err != nil {
				return nil, 0, err
			}
			if s.field.DisplayName != "" {
				s.name = s.field.DisplayName
			}
			all = append(all, s)
		}
	}
	return all, cut, nil
}

// query asks for one expression. Series without a single number are left out.
func (a *asker) query(ctx context.Context, expr string, instant bool) (all []series, err error) {
	form := url.Values{"query": {expr}}
	path := "/api/v1/query"
	if instant {
		form.Set("time", strconv.FormatInt(a.end.Unix(), 10))
	} else {
		path = "/api/v1/query_range"
		form.Set("start", strconv.FormatInt(a.start.Unix(), 10))
		form.Set("end", strconv.FormatInt(a.end.Unix(), 10))
		form.Set("step", strconv.FormatFloat(a.step.Seconds(), 'f', -1, 64))
	}
	text, err := a.post(ctx, path, form)
	if err != nil {
		return nil, err
	}
	var is answer
	if err := json.Unmarshal(text, &is); err != nil {
		return nil, fmt.Errorf("this is no answer of Prometheus: %w", err)
	}
	if is.Status != "success" {
		return nil, fmt.Errorf("refused by Prometheus: %s", is.Error)
	}
	var samples []sample
	if is.Data.ResultType == "scalar" {
		var one sample
		err = json.Unmarshal(is.Data.Result, &one.Value)
		samples = []sample{one}
	} else {
		err = json.Unmarshal(is.Data.Result, &samples)
	}
	if err != nil {
		return nil, fmt.Errorf("this is no answer of Prometheus: %w", err)
	}
	for _, found := range samples {
		values := found.Values
		if found.Value[0] != nil {
			values = append(values, found.Value)
		}
		s := series{labels: found.Metric}
		for _, v := range values {
			p, err := number(v)
			if err != nil {
				return nil, err
			}
			if !math.IsNaN(p.v) && !math.IsInf(p.v, 0) {
				s.points = append(s.points, p)
			}
		}
		if len(s.points) > 0 {
			all = append(all, s)
		}
	}
	return all, nil
}

func (a *asker) post(ctx context.Context, path string, form url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askMost)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, answerMost+1))
	if err == nil && len(text) > answerMost {
		err = fmt.Errorf("the answer has more than %d bytes: use a longer -step", answerMost)
	}
	return text, err
}

// number reads a time and its value, which is written as a text.
func number(v [2]any) (point, error) {
	t, isTime := v[0].(float64)
	text, isText := v[1].(string)
	if !isTime || !isText {
		return point{}, errors.New("this is no answer of Prometheus: a value is not a time and a text")
	}
	n, err := strconv.ParseFloat(text, 64)
	return point{t, n}, err
}

var inLegend = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

// legend is the name of a series.
func legend(format string, labels, vars map[string]string) (string, error) {
	if format != "" && format != "__auto" {
		format, err := fill(format, vars)
		return inLegend.ReplaceAllStringFunc(format, func(s string) string {
			return labels[inLegend.FindStringSubmatch(s)[1]]
		}), err
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if name != "__name__" {
			parts = append(parts, fmt.Sprintf("%s=%q", name, labels[name]))
		}
	}
	return labels["__name__"] + "{" + strings.Join(parts, ", ") + "}", nil
}

// reduce makes one number of a series, as calcs of Grafana do.
func reduce(calc string, points []point) (float64, error) {
	last := points[len(points)-1].v
	sum, low, high := 0.0, math.Inf(1), math.Inf(-1)
	for _, p := range points {
		sum, low, high = sum+p.v, min(low, p.v), max(high, p.v)
	}
	switch calc {
	case "", "lastNotNull", "last":
		return last, nil
	case "firstNotNull", "first":
		return points[0].v, nil
	case "min":
		return low, nil
	case "max":
		return high, nil
	case "mean":
		return sum / float64(len(points)), nil
	case "sum":
		return sum, nil
	case "range":
		return high - low, nil
	case "diff", "delta":
		return last - points[0].v, nil
	}
	return 0, fmt.Errorf("the calculation %q is not known here", calc)
}
