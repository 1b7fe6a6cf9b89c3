// SPDX-License-Identifier: Apache-2.0

// Command panels draws a dashboard of Grafana without Grafana: it asks a Prometheus for every query of it, and writes a picture
// (SVG) of each of its rows, as somebody who opens the dashboard would see it.
//
//	main.go     the flags, and what is written
//	board.go    what a dashboard says, and its variables
//	ask.go      questions to Prometheus
//	units.go    numbers as Grafana writes them, and round steps of axes
//	svg.go      lines, texts and colours
//	row.go      a row: its panels beside each other, and frames about them
//	lines.go    panels over time
//	axes.go     what surrounds the lines: numbers, limits, names
//	values.go   panels of single values: big numbers, bars, tables
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// sizeMost is what a picture may have, so that it can be kept beside documents.
	sizeMost = 60_000
	// boardMost bounds a dashboard.
	boardMost = 4 << 20
	// pointsMost is how many points Prometheus gives of a series at most.
	pointsMost = 11_000
)

type config struct {
	board, prometheus, out string
	span, step, scrape     time.Duration
	end                    time.Time
	vars                   map[string]string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "panels: %v\n", err)
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (*config, error) {
	c, end := &config{vars: make(map[string]string)}, ""
	f := flag.NewFlagSet("panels", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&c.board, "board", "../deploy/grafana/dashboard.json", "the dashboard")
	f.StringVar(&c.prometheus, "prometheus", "127.0.0.57:9190", "where Prometheus listens: an address, or a URL")
	f.StringVar(&c.out, "out", "../docs/pictures", "the folder for pictures")
	f.DurationVar(&c.span, "range", 15*time.Minute, "how much time the pictures have")
	f.DurationVar(&c.step, "step", 10*time.Second, "the time between two points")
	f.DurationVar(&c.scrape, "scrape", 10*time.Second, "how often Prometheus scrapes; rates are over four times that at least")
	f.StringVar(&end, "end", "", "the end of the pictures, such as 2026-11-28T14:20:00Z (now)")
	f.Func("var", "the value of a variable of the dashboard, as name=value; may be given several times", func(s string) error {
		name, value, found := strings.Cut(s, "=")
		if !found {
			return errors.New("want name=value")
		}
		c.vars[name] = value
		return nil
	})
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 || c.step < time.Second || c.scrape < time.Second || c.span < c.step || c.span/c.step >= pointsMost {
		return nil, fmt.Errorf("want flags as -name value: -step and -scrape of 1s or more, and -range of 1 to %d steps", pointsMost)
	}
	c.end = time.Now()
	if end != "" {
		var err error
		if c.end, err = time.Parse(time.RFC3339, end); err != nil {
			return nil, fmt.Errorf("-end: %w", err)
		}
	}
	// Steps begin at multiples, as in Grafana: the same pictures come of the same time.
	c.end = c.end.Truncate(c.step)
	if !strings.Contains(c.prometheus, "://") {
		c.prometheus = "http://" + c.prometheus
	}
	return c, nil
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	b, err := readBoard(c.board)
	if err != nil {
		return err
	}
	rows, err := b.rows()
	if err != nil {
		return fmt.Errorf("%s: %w", c.board, err)
	}
	vars, err := b.variables(c)
	if err != nil {
		return fmt.Errorf("%s: %w", c.board, err)
	}
	if err := os.MkdirAll(c.out, 0o755); err != nil {
		return err
	}
	a := &asker{url: strings.TrimSuffix(c.prometheus, "/"), start: c.end.Add(-c.span), end: c.end, step: c.step, vars: vars}
	wrong := clashes(rows)
	for _, r := range rows {
		d := &drawing{asker: a}
		picture, err := d.row(ctx, r)
		if err != nil {
			return fmt.Errorf("%s: %w", r.title, err)
		}
		for _, note := range d.notes {
			fmt.Fprintf(stderr, "%s: %s\n", r.title, note)
		}
		wrong = append(wrong, d.wrong...)
		if len(picture) > sizeMost {
			wrong = append(wrong, fmt.Errorf("the row %q has %d bytes, above %d: use a longer -step or a shorter -range",
				r.title, len(picture), sizeMost))
		}
		name := filepath.Join(c.out, r.file)
		if err := os.WriteFile(name, picture, 0o644); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s: %d panels, %d bytes\n", name, len(r.panels), len(picture))
	}
	return errors.Join(wrong...)
}

// readBoard reads a dashboard.
func readBoard(name string) (*board, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, boardMost+1))
	if err != nil {
		return nil, err
	}
	if len(text) > boardMost {
		return nil, fmt.Errorf("%s: a dashboard of more than %d bytes is not read", name, boardMost)
	}
	b, err := parseBoard(text)
	if err != nil {
		return nil, fmt.Errorf("%s is no dashboard: %w", name, err)
	}
	return b, nil
}
