package redis

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestInspect(t *testing.T) {
	for value, want := range map[string]flaw{
		`1`:                        flawless,
		` {"a":[null]} `:           flawless,
		`"` + "é" + `"`:            flawless,
		`"\ud800"`:                 loneSurrogate,
		``:                         notJSON,
		`1 2`:                      notJSON,
		`{"a":1}x`:                 notJSON,
		`NaN`:                      notJSON,
		`"` + "\xff" + `"`:         notUTF8,
		`"` + "\xed\xa0\x80" + `"`: notUTF8, // A surrogate.
		`"` + strings.Repeat("x", ValueMax-2) + `"`: flawless,
		`"` + strings.Repeat("x", ValueMax-1) + `"`: tooBig,
		strings.Repeat("[", ValueMax):               tooDeep,
	} {
		if got := inspect(value); got != want {
			t.Errorf("inspect(%.20q…) = %q, want %q", value, flawNames[got], flawNames[want])
		}
	}
}

func TestInspectDoesNotAllocate(t *testing.T) {
	for _, field := range []string{"", "ts", "s", "m.ts"} {
		in := &inspector{versionField: field}
		value := `{"p":189.87,"ts":1732181723411,"s":"12.5","m":{"ts":1}}`
		if n := testing.AllocsPerRun(100, func() {
			if v, ok := in.passes(slog.Default(), "AAPL", value); !ok || v.Set != (field != "") {
				t.Fatalf("version = %+v, %t", v, ok)
			}
		}); n != 0 {
			t.Errorf("%v allocations per value with version field %q", n, field)
		}
	}
}

func TestDroppedValuesAreLoggedAtTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, buf := newLog(t)
		in := new(inspector)
		for range 1000 {
			in.passes(log, "AAPL", "\x00"+strings.Repeat("long", 100))
		}
		time.Sleep(throttleEvery)
		in.passes(log, "MSFT", "x")
		if n := buf.Count("value dropped"); n != 2 {
			t.Errorf("%d lines, want 2", n)
		}
		for _, want := range []string{"topic=AAPL", `\\x00longlong`, "bytes=401", "swallowed=999", "topic=MSFT"} {
			if buf.Count(want) != 1 {
				t.Errorf("the log lacks %s", want)
			}
		}
		if len(buf.String()) > 1000 {
			t.Errorf("the log holds more than the beginning of the values")
		}
	})
}
