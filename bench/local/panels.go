// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// scrapedMost is how long what was killed a moment ago may take until it is scraped again, for rates twice.
const scrapedMost = 45 * time.Second

// panel is a query of the dashboard.
type panel struct{ title, expr string }

// filled puts in what Grafana does: a rate is over four scrapes at least, and the range is what the dashboard begins with.
var filled = strings.NewReplacer("$__rate_interval", "1m", "$__range", "30m")

// readPanels are all queries of a dashboard of Grafana.
func readPanels(text []byte) (all []panel, err error) {
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		return nil, err
	}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			all = append(all, panel{p.Title, filled.Replace(target.Expr)})
		}
	}
	return all, nil
}

// ask has Prometheus evaluate a query, and returns how many series it has.
func ask(ctx context.Context, prometheus, expr string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, askMost)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+prometheus+"/api/v1/query?query="+url.QueryEscape(expr), nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var answer struct {
		Error string
		Data  struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if answer.Error != "" {
		return 0, fmt.Errorf("%s: %s", expr, answer.Error)
	}
	return len(answer.Data.Result), nil
}

// panels has every query of the dashboard answered by the Prometheus that scrapes the programs under this load.
func (t *trial) panels(ctx context.Context) error {
	text, err := os.ReadFile(t.board)
	if err != nil {
		return err
	}
	all, err := readPanels(text)
	if err != nil {
		return fmt.Errorf("%s: %w", t.board, err)
	}
	empty := 0
	within, cancel := context.WithTimeout(ctx, scrapedMost)
	defer cancel()
	for _, p := range all {
		n, err := ask(ctx, t.prometheus, p.expr)
		for err == nil && n == 0 && pause(within, time.Second) == nil {
			n, err = ask(ctx, t.prometheus, p.expr)
		}
		if err != nil {
			return err
		}
		if n == 0 {
			empty++
			t.bad("the panel %q has no data: %s", p.title, p.expr)
		}
	}
	fmt.Fprintf(t.stdout, "%d queries of the dashboard, %d of them without data\n", len(all), empty)
	if len(all) == 0 {
		t.bad("%s has no queries", t.board)
	}
	return nil
}
