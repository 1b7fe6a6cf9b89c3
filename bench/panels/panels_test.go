// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the pictures of testdata anew")

// fake is a Prometheus that knows the answers to some queries. It fails the test if it is asked another one.
func fake(t *testing.T, answers map[string]string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		query := r.Form.Get("query")
		result, known := answers[query]
		if !known {
			t.Errorf("%s is asked", query)
		}
		switch r.URL.Path {
		case "/api/v1/query_range":
			if is := r.Form.Get("start") + " " + r.Form.Get("end") + " " + r.Form.Get("step"); is != "1000000000 1000000060 10" {
				t.Errorf("%s: asked of %s", query, is)
			}
		case "/api/v1/query":
			if r.Form.Get("time") != "1000000060" {
				t.Errorf("%s: asked of %s", query, r.Form.Get("time"))
			}
		default:
			t.Errorf("%s is asked", r.URL.Path)
		}
		if strings.HasPrefix(result, "error ") {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"status":"error","error":%q}`, result)
			return
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":%s}}`, result)
	}))
	t.Cleanup(s.Close)
	return s
}

// one is a series of values in steps of 10 s; none at a time is a gap.
func one(labels string, values ...string) string {
	var points []string
	for i, v := range values {
		if v != "" {
			points = append(points, fmt.Sprintf("[%d,%q]", 1_000_000_000+10*i, v))
		}
	}
	return `{"metric":` + labels + `,"values":[` + strings.Join(points, ",") + `]}`
}

// draw runs the command for a dashboard, and returns its folder and what it says.
func draw(t *testing.T, board, prometheus string, more ...string) (folder, stderr string, err error) {
	t.Helper()
	folder = t.TempDir()
	name := filepath.Join(folder, "board.json")
	if err := os.WriteFile(name, []byte(board), 0o600); err != nil {
		t.Fatal(err)
	}
	var notes bytes.Buffer
	err = command(t.Context(), append([]string{"-board", name, "-prometheus", prometheus, "-out", folder, "-range", "1m", "-step", "10s",
		"-end", "2001-09-09T01:47:43Z"}, more...), io.Discard, &notes)
	return folder, notes.String(), err
}

// drawn is a picture that was written. It is a document of XML, has no scripts, and refers to nothing.
func drawn(t *testing.T, folder, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%s is no XML: %v", name, err)
		}
		if e, is := token.(xml.StartElement); is {
			if !strings.Contains(" svg title text rect path ", " "+e.Name.Local+" ") {
				t.Errorf("%s has an element %s", name, e.Name.Local)
			}
			for _, a := range e.Attr {
				if strings.HasPrefix(a.Name.Local, "on") || strings.Contains(a.Name.Local, "href") || strings.Contains(a.Value, "url(") {
					t.Errorf("%s: %s=%q", name, a.Name.Local, a.Value)
				}
			}
		}
	}
	return string(text)
}

func TestTinyDashboard(t *testing.T) {
	board, err := os.ReadFile("testdata/tiny.json")
	if err != nil {
		t.Fatal(err)
	}
	s := fake(t, map[string]string{
		`sum by (edge) (rate(rows_total{job=~"(a|b\.c)"}[40s]))`: "[" + one(`{"edge":"e1"}`, "0", "10", "20", "", "40", "40", "40") + "," +
			one(`{"edge":"e2"}`, "5", "5", "5", "5", "5", "5", "NaN") + "]",
		`age_seconds`: "[" + one(`{"__name__":"age_seconds","edge":"e1"}`, "0.002", "0.02", "0.4", "0.5", "0.3", "0.1", "0.05") + "]",
		`ratio`: "[" + one(`{"what":"files"}`, "0.1", "0.1", "0.2", "0.2", "0.3", "0.3", "0.3") + "," +
			one(`{"what":"memory"}`, "0.9", "0.9", "0.9", "0.9", "0.9", "0.9", "0.95") + "]",
		`up`: "[" + one(`{"edge":"e1"}`, "1", "1", "1", "0", "0", "1", "1") + "," + one(`{"edge":"e2"}`, "1", "1", "0", "0", "0", "0", "0") + "]",
		`build_info`: `[{"metric":{"__name__":"build_info","job":"edge","version":"1.2"},"value":[1000000060,"3"]},` +
			`{"metric":{"job":"alerts","version":"1.3"},"value":[1000000060,"1048576"]}]`,
	})
	folder, stderr, err := draw(t, string(board), s.URL, "-var", "cut=30")
	if err != nil || stderr != "" {
		t.Fatalf("%v\n%s", err, stderr)
	}
	for _, name := range []string{"tiny.svg", "is-it-well.svg"} {
		is := drawn(t, folder, name)
		golden := filepath.Join("testdata", name)
		if *rewrite {
			if err := os.WriteFile(golden, []byte(is), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if is != string(want) {
			t.Errorf("%s is not the one of testdata: look at it, and run this test with -rewrite\n%s", name, is)
		}
	}
}

func oneBoard(panels string) string { return `{"title":"Board","panels":[` + panels + `]}` }

func onePanel(title, expr, more string) string {
	text, _ := json.Marshal(expr)
	// Those of other letters are at other places.
	return fmt.Sprintf(`{"type":"timeseries","title":%q,"gridPos":{"h":7,"w":12,"x":0,"y":%d},"targets":[{"expr":%s}]%s}`,
		title, 7*int(title[0]), text, more)
}

func TestNoData(t *testing.T) {
	s := fake(t, map[string]string{"nothing": "[]", "nan": "[" + one(`{}`, "NaN") + "]", "some": "[" + one(`{}`, "1", "2") + "]"})
	panels := onePanel("First", "nothing", "") + "," + onePanel("Second", "some", "") + "," + onePanel("Third", "nan", "")
	folder, _, err := draw(t, oneBoard(panels), s.URL)
	if err == nil || err.Error() != "the panel \"First\" has no data\nthe panel \"Third\" has no data" {
		t.Errorf("%v", err)
	}
	// The others are drawn nevertheless.
	if is := drawn(t, folder, "board.svg"); strings.Count(is, ">No data<") != 2 || strings.Count(is, `stroke-width="1.6"`) != 1 {
		t.Error(is)
	}
}

// Panels that hide each other are drawn, and are an error.
func TestClashes(t *testing.T) {
	s := fake(t, map[string]string{"x": "[" + one(`{}`, "1", "2") + "]"})
	place := `{"id":%d,"type":"timeseries","title":"%s","gridPos":{"h":7,"w":8,"x":%d,"y":%d},"targets":[{"expr":"x"}]}`
	p := func(id int, title string, x, y int) string { return fmt.Sprintf(place, id, title, x, y) }
	beside := []string{p(1, "A", 0, 0), p(2, "B", 8, 0), p(3, "C", 0, 7)}
	if _, _, err := draw(t, oneBoard(strings.Join(beside, ",")), s.URL); err != nil {
		t.Error(err)
	}
	_, _, err := draw(t, oneBoard(strings.Join(append(beside, p(2, "D", 7, 6)), ",")), s.URL)
	if err == nil || strings.Count(err.Error(), "lie over each other") != 3 || !strings.Contains(err.Error(), `"B" and "D" have one id, 2`) {
		t.Errorf("%v", err)
	}
}

func TestEscapes(t *testing.T) {
	s := fake(t, map[string]string{"x": "[" + one(`{"who":"<script>alert(1)</script>\u0001\"&"}`, "1", "2") + "]"})
	panel := `{"type":"%s","title":"<b>\"","gridPos":{"h":7,"w":12,"x":0,"y":0},"targets":[{"expr":"x","legendFormat":"{{who}}"}],
		"fieldConfig":{"defaults":{"unit":"<i>","color":{"mode":"fixed","fixedColor":"\"><script>"}}}}`
	for _, kind := range []string{"timeseries", "stat", "bargauge"} {
		folder, _, err := draw(t, oneBoard(fmt.Sprintf(panel, kind)), s.URL)
		if err != nil {
			t.Fatal(err)
		}
		is := drawn(t, folder, "board.svg")
		if !strings.Contains(is, "&lt;i&gt;") || strings.Contains(is, "<script") {
			t.Errorf("%s: %s", kind, is)
		}
		if kind != "stat" && !strings.Contains(is, "&lt;script&gt;alert(1)") {
			t.Errorf("%s: the label is not shown: %s", kind, is)
		}
	}
}

func TestRefused(t *testing.T) {
	s := fake(t, map[string]string{
		"bad": "error 1:1: parse error", "x": "[" + one(`{}`, "1") + "]", "odd": `[{"metric":{},"values":[[1,2]]}]`, "no": "7",
	})
	x := onePanel("P", "x", "")
	for board, want := range map[string]string{
		`{"panels":`:                                  "unexpected end of JSON",
		`{"panels":{}}`:                               "is no dashboard",
		`{"title":"x"}`:                               "it has no panels",
		oneBoard(onePanel("P", "bad", "")):            "parse error",
		oneBoard(onePanel("P", "odd", "")):            "no answer of Prometheus",
		oneBoard(onePanel("P", "no", "")):             "no answer of Prometheus",
		oneBoard(onePanel("P", "rate(x[$wide])", "")): "$wide is no variable",
		oneBoard(onePanel("P", "x", `,"fieldConfig":{"defaults":{"min":"low"}}`)):                                        "Min",
		oneBoard(onePanel("P", "x", `,"options":{"legend":{"calcs":["median"]}}`)):                                       `"median" is not known here`,
		oneBoard(strings.Replace(x, "timeseries", "heatmap", 1)):                                                         `"heatmap" is not known here`,
		oneBoard(strings.Replace(x, `"w":12`, `"w":30`, 1)):                                                              "has no place",
		oneBoard(`{"type":"row","title":"A b","panels":[` + x + `]},{"type":"row","title":"a  B","panels":[` + x + `]}`): "same file",
	} {
		if _, _, err := draw(t, board, s.URL); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", board, err, want)
		}
	}
	for _, args := range [][]string{
		{"-step", "1ms"}, {"-range", "5s"}, {"-range", "100h", "-step", "1s"}, {"-end", "today"}, {"-var", "x"}, {"more"},
		{"-var", "x=1"}, {"-prometheus", "127.0.0.1:1"},
	} {
		if _, _, err := draw(t, oneBoard(onePanel("P", "x", "")), s.URL, args...); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}

func TestTooLarge(t *testing.T) {
	var many []string
	values := make([]string, 7)
	for i := range seriesMost + 3 {
		for n := range values {
			values[n] = fmt.Sprint((i*7919 + n*n*104729) % 1000)
		}
		many = append(many, one(fmt.Sprintf(`{"n":"%d"}`, i), values...))
	}
	s := fake(t, map[string]string{"x": "[" + strings.Join(many, ",") + "]"})
	var panels []string
	for range 20 {
		panels = append(panels, onePanel("P", "x", ""))
	}
	_, notes, err := draw(t, oneBoard(strings.Join(panels, ",")), s.URL)
	if err == nil || !strings.Contains(err.Error(), "use a longer -step") {
		t.Errorf("%v", err)
	}
	if !strings.Contains(notes, `"P" has 3 series more`) || !strings.Contains(notes, "lacks") {
		t.Errorf("%s", notes)
	}
}

// All that our dashboard has can be drawn, and docs/OPERATIONS.md has a picture of each of its rows.
func TestOurDashboard(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "deploy", "grafana", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile(filepath.Join(root, "docs", "OPERATIONS.md"))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if query := r.FormValue("query"); strings.Contains(query, "$") {
			t.Errorf("%s is asked", query)
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[%s]}}`, one(`{"instance":"i"}`, "1", "2"))
	}))
	defer s.Close()
	folder, _, err := draw(t, string(text), s.URL)
	if err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob(filepath.Join(folder, "*.svg"))
	if err != nil || len(all) < 6 {
		t.Errorf("%d pictures, want six or more; %v", len(all), err)
	}
	for _, name := range all {
		name = filepath.Base(name)
		drawn(t, folder, name)
		if !bytes.Contains(document, []byte("](pictures/"+name+")")) {
			t.Errorf("docs/OPERATIONS.md does not show pictures/%s, which is a row of the dashboard", name)
		}
		if _, err := os.Stat(filepath.Join(root, "docs", "pictures", name)); err != nil {
			t.Errorf("%v: draw it as docs/OPERATIONS.md says", err)
		}
	}
}
