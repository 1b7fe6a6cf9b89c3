package app

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A flood of lines is cut, its number is told when the next one passes, other lines and
// those at debug are not touched, and many kinds of lines take no more memory.
func TestThrottle(t *testing.T) {
	var out bytes.Buffer
	th := newThrottle(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	log := slog.New(th).With("part", "loop")
	now := time.Unix(1000, 0)
	say := func(level slog.Level, message string) {
		if err := log.Handler().Handle(t.Context(), slog.NewRecord(now, level, message, 0)); err != nil {
			t.Fatal(err)
		}
	}
	count := func(text string) int { return strings.Count(out.String(), text) }
	for range 1000 {
		say(slog.LevelWarn, "flood")
		say(slog.LevelDebug, "detail")
	}
	say(slog.LevelError, "other")
	if count("msg=flood") != throttleBurst || count("msg=detail") != 1000 || count("msg=other") != 1 || count("swallowed") != 0 {
		t.Errorf("%d of the flood, %d details, %d others", count("msg=flood"), count("msg=detail"), count("msg=other"))
	}
	now = now.Add(throttlePeriod)
	say(slog.LevelWarn, "flood")
	say(slog.LevelWarn, "flood")
	if count("msg=flood part=loop swallowed=990") != 1 || count("swallowed") != 1 {
		t.Errorf("the number is not told once:\n%s", out.String()[out.Len()-200:])
	}
	for i := range 100_000 {
		say(slog.LevelWarn, fmt.Sprintf("from 10.0.0.1:%d", i))
	}
	if n := len(th.flood.kinds); n > throttleKinds+1 {
		t.Errorf("%d kinds are kept, want at most %d", n, throttleKinds+1)
	}
	if n := count("from 10.0.0.1"); n > throttleKinds+throttleBurst {
		t.Errorf("%d lines passed", n)
	}
}
