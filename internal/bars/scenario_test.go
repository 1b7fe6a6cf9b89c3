// SPDX-License-Identifier: Apache-2.0

package bars

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tickedge/internal/trade"
)

var rewrite = flag.Bool("rewrite", false, "write the output of the scenarios into their files")

// A scenario is a sequence of commands and what comes of each, as text:
//
//	# a comment
//	= the name of a case; it starts with a new engine
//	! intervals=1m,1d zone=America/New_York fill     what differs from DefaultConfig and a symbol in UTC
//	trade 12:00:01 100.5 2 A:7        time, price, size, source and id: 0 is none
//	heard A 12:00:05                  of the symbol; heardall: of all symbols
//	advance 12:00:09                  0: without a time of now
//	closed | klines | price           drains, output is indented
//
// Times are of 2 March 2026 unless a date stands before them. Each case runs again with a snapshot and a restore
// before each command.
type scenario struct {
	name  string
	cfg   Config
	entry trade.Entry
	lines []string // Commands and comments.
	want  []string // All lines as they stand in the file.
}

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no scenarios", err)
	}
	for _, file := range files {
		var all []string
		for _, sc := range readScenarios(t, file) {
			var got []string
			t.Run(sc.name, func(t *testing.T) {
				got = sc.run(t, false)
				if !*rewrite {
					compareLines(t, got, sc.want)
				}
			})
			all = append(all, got...)
			t.Run(sc.name+"/restored", func(t *testing.T) { compareLines(t, sc.run(t, true), got) })
		}
		if *rewrite && !t.Failed() {
			text := strings.TrimRight(strings.Join(all, "\n"), "\n") + "\n"
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func compareLines(t *testing.T, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		var g, w string
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("line %d of the case:\n got %s\nwant %s\nall of it:\n%s", i+1, g, w, strings.Join(got, "\n"))
		}
	}
}

func readScenarios(t *testing.T, file string) (all []*scenario) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var head []string // Comments before a case belong to it.
	for i, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "= "):
			sc := &scenario{name: line[2:], cfg: DefaultConfig(), entry: trade.Entry{Symbol: "A:X", Source: "A"}, lines: head, want: head}
			sc.cfg.Intervals = parseIntervals(t, "1m")
			all, head = append(all, sc), nil
		case len(all) == 0:
			head = append(head, line)
			continue
		case strings.HasPrefix(line, "! "):
			if err := all[len(all)-1].set(t, line[2:]); err != nil {
				t.Fatalf("%s:%d: %v", file, i+1, err)
			}
		}
		sc := all[len(all)-1]
		sc.want = append(sc.want, line)
		if !strings.HasPrefix(line, "    ") {
			sc.lines = append(sc.lines, line)
		}
	}
	return all
}

func parseIntervals(t testing.TB, names string) (all []*Interval) {
	for name := range strings.SplitSeq(names, ",") {
		i, err := ParseInterval(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, i)
	}
	return all
}

func (sc *scenario) set(t *testing.T, text string) error {
	times := map[string]*time.Duration{"window": &sc.cfg.Window, "silence": &sc.cfg.Silence, "limit": &sc.cfg.Limit}
	numbers := map[string]*int{"fills": &sc.cfg.Fills, "symbols": &sc.cfg.Symbols, "sources": &sc.cfg.Sources, "runs": &sc.cfg.IDRuns}
	texts := map[string]*string{"zone": &sc.entry.Zone, "days": &sc.entry.Days, "hours": &sc.entry.Hours}
	for word := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(word, "=")
		var err error
		if d := times[name]; d != nil {
			*d, err = time.ParseDuration(value)
		} else if n := numbers[name]; n != nil {
			*n, err = strconv.Atoi(value)
		} else if s := texts[name]; s != nil {
			*s = value
		} else if name == "intervals" {
			sc.cfg.Intervals = parseIntervals(t, value)
		} else if name == "fill" {
			sc.entry.Fill = true
		} else {
			err = fmt.Errorf("there is no %q to be set", name)
		}
		if err != nil {
			return err
		}
	}
	return sc.cfg.Validate()
}

// player is a scenario that runs.
type player struct {
	t      *testing.T
	e      *Engine
	symbol *trade.Symbol
	now    int64
	out    []string
}

func (sc *scenario) run(t *testing.T, restored bool) []string {
	table, err := trade.NewTable([]trade.Entry{sc.entry}, func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	p := &player{t: t, e: New(sc.cfg), symbol: table.Named("A:X")}
	for _, line := range sc.lines {
		p.out = append(p.out, line)
		if line == "" || strings.ContainsAny(line[:1], "#=!") {
			continue
		}
		if restored {
			e, dropped, err := Restore(sc.cfg, p.e.Snapshot(nil), table.Named)
			if err != nil || dropped != nil {
				t.Fatal(dropped, err)
			}
			p.e = e
		}
		p.command(strings.Fields(line))
	}
	return p.out
}

func (p *player) print(format string, args ...any) {
	p.out = append(p.out, "    "+fmt.Sprintf(format, args...))
}

func (p *player) time(s string) int64 {
	if !strings.Contains(s, "T") {
		s = "2026-03-02T" + s
	}
	at, err := time.Parse("2006-01-02T15:04:05", s)
	if err != nil {
		p.t.Fatal(err)
	}
	return at.UnixMicro()
}

func (p *player) number(s string) int64 {
	v, err := trade.ParseDecimal(s, trade.DefaultScale)
	if err != nil {
		p.t.Fatalf("%s: %v", s, err)
	}
	return v
}

func (p *player) command(words []string) {
	before := p.e.Stats()
	switch words[0] {
	case "trade":
		source, id, _ := strings.Cut(words[4], ":")
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		at := p.time(words[1])
		p.now = max(p.now, at)
		tr := trade.Trade{Symbol: p.symbol, Source: source, Price: p.number(words[2]), Size: p.number(words[3]), Time: at, ID: n}
		if err := p.e.Add(&tr, p.now); err != nil {
			p.print("%v", err)
		}
	case "heard", "heardall":
		symbol := p.symbol
		if words[0] == "heardall" {
			symbol = nil
		}
		if err := p.e.Heard(words[1], symbol, p.time(words[2]), p.time(words[2])); err != nil {
			p.print("%v", err)
		}
	case "filling":
		if err := p.e.Filling(p.symbol, words[1] == "on"); err != nil {
			p.print("%v", err)
		}
	case "advance":
		if words[1] == "0" {
			p.e.Advance(0)
			break
		}
		p.now = p.time(words[1])
		p.e.Advance(p.now)
	case "closed":
		p.closed(words[1:])
	case "klines":
		p.e.DrainKlines(func(s Series) bool { p.print("%s", s.AppendKline(nil, p.now/1000)); return true })
	case "price":
		p.e.DrainPrices(func(v Price) bool { p.print("%s", v.AppendJSON(nil)); return true })
	default:
		p.t.Fatalf("there is no command %q", words[0])
	}
	if after := p.e.Stats(); after.Revisions != before.Revisions {
		p.print("revisions %d", after.Revisions-before.Revisions)
	}
}

// closed drains at most so many bars.
func (p *player) closed(words []string) {
	most := 1000
	if len(words) > 0 {
		most, _ = strconv.Atoi(words[0])
	}
	p.e.DrainClosed(func(b *Bar) bool {
		if most--; most < 0 {
			return false
		}
		if !b.Closed {
			p.t.Errorf("a bar that is open is told: %+v", b)
		}
		at := time.UnixMilli(b.Start).In(p.symbol.Zone).Format("01-02T15:04:05Z07")
		p.print("%s %s %s", b.Interval.Name, at, b.AppendJSON(nil))
		return true
	})
}
