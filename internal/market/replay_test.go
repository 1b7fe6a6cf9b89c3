// SPDX-License-Identifier: Apache-2.0

package market

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"tickedge/internal/broker"
)

func TestReplay(t *testing.T) {
	const recording = `{"topic":"AAPL","ts":1000,"v":{"p": 189.870}}

{"v":0.10000000000000000001,"ts":1250,"topic":"MSFT","recorder":"ours"}
{"topic":"AAPL","ts":1100,"v":null}
{"topic":"币安人生USDT","ts":1300,"v":"é"}` // The last line needs no end.
	want := []string{
		`AAPL {"p": 189.870} 0s`,
		`MSFT 0.10000000000000000001 250ms`,
		`AAPL null 0s`,
		`币安人生USDT "é" 50ms`,
	}
	p := NewReplayLoop("ticks", strings.NewReader(recording))
	for round := range 3 {
		for i, w := range want {
			if round > 0 && i == 0 {
				w = strings.Replace(w, "0s", replayRoundPause.String(), 1)
			}
			tick, err := p.Next(time.Time{})
			if got := fmt.Sprint(tick.Topic, " ", string(tick.Value), " ", tick.After); err != nil || got != w {
				t.Errorf("round %d: got %s, %v, want %s", round, got, err, w)
			}
		}
	}

	p = NewReplay("ticks", strings.NewReader(recording))
	for range want {
		p.Next(time.Time{})
	}
	if _, err := p.Next(time.Time{}); err != io.EOF {
		t.Errorf("at the end: %v, want io.EOF", err)
	}
}

func TestReplayErrors(t *testing.T) {
	const good = `{"topic":"AAPL","ts":1,"v":1}` + "\n"
	for line, want := range map[string]string{
		`{"topic":"AAPL","ts":1`:                                  "line 2: unexpected end of JSON input, want a line like {",
		`AAPL,1,2`:                                                "line 2: invalid character 'A'",
		`{"ts":1,"v":1}`:                                          "line 2: topic is missing",
		`{"topic":"A B","ts":1,"v":1}`:                            `line 2: topic "A B" is not valid`,
		`{"topic":"A","v":1}`:                                     "line 2: ts is missing",
		`{"topic":"A","ts":1.5,"v":1}`:                            "line 2: json: cannot unmarshal number 1.5",
		`{"topic":"A","ts":1732181723411000,"v":1}`:               "line 2: ts 1732181723411000 is not in Unix milliseconds",
		`{"topic":"A","ts":-1,"v":1}`:                             "line 2: ts -1 is not",
		`{"topic":"A","ts":1}`:                                    "line 2: v is missing",
		`{"topic":"A","ts":1,"v":1}{}`:                            "line 2: invalid character '{' after",
		`{"topic":"A","ts":1,"v":"` + "\xff" + `"}`:               "line 2: not valid UTF-8",
		strings.Repeat(" ", replayLineMax+1):                      fmt.Sprintf("line 2 is longer than %d bytes", replayLineMax),
		`{"topic":"A","ts":1,"v":"` + pad(broker.ValueMax) + `"}`: "line 2: v has 4098 bytes (at most 4096 are allowed)",
	} {
		p := NewReplay("ticks.jsonl", strings.NewReader(good+line+"\n"))
		if _, err := p.Next(time.Time{}); err != nil {
			t.Fatal(err)
		}
		_, err := p.Next(time.Time{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "ticks.jsonl") {
			t.Errorf("%.40s: error = %v, want %q", line, err, want)
		}
	}
	for _, loop := range []bool{false, true} {
		p := NewReplay("empty", strings.NewReader("\n\n"))
		p.loop = loop
		if _, err := p.Next(time.Time{}); err == nil || !strings.Contains(err.Error(), "holds no ticks") {
			t.Errorf("empty recording: %v", err)
		}
	}
}

func pad(n int) string { return strings.Repeat("x", n) }

func FuzzReplay(f *testing.F) {
	f.Add(`{"topic":"AAPL","ts":1732181723411,"v":{"p":189.87}}`)
	f.Fuzz(func(t *testing.T, recording string) {
		p := NewReplay("fuzz", strings.NewReader(recording))
		for {
			tick, err := p.Next(time.Time{})
			if err != nil {
				return
			}
			if tick.After < 0 || broker.Inspect(string(tick.Value)) != broker.Flawless {
				t.Errorf("%+v", tick)
			}
		}
	})
}
