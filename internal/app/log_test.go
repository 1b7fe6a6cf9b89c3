// SPDX-License-Identifier: Apache-2.0

package app

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tickedge/internal/logtest"
)

// throttled is a log behind a throttle, and what it writes. Timers write it too.
func throttled() (*slog.Logger, throttle, *logtest.Log) {
	out := new(logtest.Log)
	th := newThrottle(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return slog.New(th).With("part", "loop"), th, out
}

// A flood of lines is cut, and its number is told when its time is over, also if nothing comes after
// it. Other lines and those at debug are not touched.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _, out := throttled()
		count := func(text string) int { return strings.Count(out.String(), text) }
		for range 1000 {
			log.Warn("flood")
			log.Debug("detail")
		}
		log.Error("other")
		if count("msg=flood") != throttleBurst || count("msg=detail") != 1000 || count("msg=other") != 1 || count("swallowed") != 0 {
			t.Errorf("%d of the flood, %d details, %d others", count("msg=flood"), count("msg=detail"), count("msg=other"))
		}
		time.Sleep(throttlePeriod)
		synctest.Wait()
		if count("level=WARN msg=flood swallowed=990\n") != 1 || count("swallowed") != 1 {
			t.Errorf("the number is not told once:\n%s", out.String()[len(out.String())-200:])
		}
		out.Reset()
		log.Warn("flood")
		time.Sleep(2 * throttlePeriod)
		synctest.Wait()
		if count("msg=flood part=loop") != 1 || count("swallowed") != 0 {
			t.Errorf("after that:\n%s", out)
		}
	})
}

// What was swallowed is told before the end of the process too, each line once.
func TestThrottleTellsAllBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, th, out := throttled()
		for range throttleBurst + 5 {
			log.Warn("one")
			log.Info("two")
		}
		log.Info("one")
		th.flood.tellAll()
		time.Sleep(2 * throttlePeriod)
		synctest.Wait()
		for _, want := range []string{"level=WARN msg=one swallowed=6\n", "level=INFO msg=two swallowed=5\n"} {
			if strings.Count(out.String(), want) != 1 {
				t.Errorf("it lacks %q:\n%s", want, out)
			}
		}
		if n := strings.Count(out.String(), "swallowed"); n != 2 {
			t.Errorf("%d lines of numbers, want 2", n)
		}
	})
}

// full is a log that has no room while it is set.
type full struct {
	logtest.Log
	set atomic.Bool
}

func (f *full) Write(p []byte) (int, error) {
	if f.set.Load() {
		return 0, errFull
	}
	return f.Log.Write(p)
}

// A number that finds no room in the log is not lost: it is told later, with what came meanwhile.
func TestThrottleKeepsANumberThatIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out full
		log := slog.New(newThrottle(slog.NewTextHandler(&out, nil)))
		flood := func() {
			for range throttleBurst + 100 {
				log.Info("flood")
			}
		}
		flood()
		out.set.Store(true)
		time.Sleep(throttlePeriod)
		flood()
		time.Sleep(throttlePeriod + time.Second)
		out.set.Store(false)
		time.Sleep(2 * throttlePeriod)
		synctest.Wait()
		if got := out.String(); strings.Count(got, "swallowed") != 1 || !strings.Contains(got, "swallowed=200\n") {
			t.Errorf("it says:\n%s", got[strings.LastIndex(got[:len(got)-1], "\n")+1:])
		}
	})
}

// Many kinds of lines take no more memory, share one place, and do not take those of others for ever.
func TestThrottleOfManyKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, th, out := throttled()
		count := func(text string) int { return strings.Count(out.String(), text) }
		for i := range 100_000 {
			log.Warn(fmt.Sprintf("from 10.0.0.1:%d", i))
		}
		if n := len(th.flood.kinds); n > throttleKinds+1 {
			t.Errorf("%d kinds are kept, want at most %d", n, throttleKinds+1)
		}
		passed := count("from 10.0.0.1")
		if passed > throttleKinds+throttleBurst {
			t.Errorf("%d lines passed", passed)
		}
		time.Sleep(throttlePeriod)
		synctest.Wait()
		if count(fmt.Sprintf("msg=%q swallowed=%d\n", otherLines, 100_000-passed)) != 1 {
			t.Errorf("the number is not told:\n%s", out.String()[len(out.String())-200:])
		}
		for range throttleBurst + 7 {
			log.Warn("mine")
		}
		time.Sleep(throttlePeriod)
		synctest.Wait()
		if count("msg=mine swallowed=7\n") != 1 {
			t.Error("a message that comes later has no place of its own")
		}
	})
}

// What a line is made of is looked at only if it passes: values that are dropped may come as fast as ticks.
func TestSwallowedLinesAreNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _, _ := throttled()
		made := 0
		for range 100 {
			log.Warn("flood", "value", costly{&made})
		}
		if made != throttleBurst {
			t.Errorf("%d values were made, want %d", made, throttleBurst)
		}
	})
}

type costly struct{ made *int }

func (c costly) LogValue() slog.Value {
	*c.made++
	return slog.StringValue("made")
}

// What has a text of its own in the text form has the same one in JSON: durations above all, also in
// groups and lists, and addresses.
func TestJSONHasTextsWithUnits(t *testing.T) {
	var out bytes.Buffer
	log := LogConfig{Level: "info", Format: "json"}.Logger(&out)
	var nobody *net.TCPAddr
	second := time.Second
	log.With("with", 2*time.Minute).WithGroup("g").Info("line",
		"wait", 1500*time.Millisecond, "none", time.Duration(0), "to", &second,
		slog.Group("in", "deep", 3*time.Second), "all", []time.Duration{time.Second, time.Minute},
		"addr", &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}, "nobody", nobody,
		"error", fmt.Errorf("after %v: %w", time.Second, errors.New("boom")), "n", 7)
	for _, want := range []string{
		`"with":"2m0s"`, `"wait":"1.5s"`, `"none":"0s"`, `"to":"1s"`, `"in":{"deep":"3s"}`, `"all":["1s","1m0s"]`,
		`"addr":"10.0.0.1:80"`, `"nobody":"<nil>"`, `"error":"after 1s: boom"`, `"n":7`, `"level":"INFO"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it lacks %s:\n%s", want, out.String())
		}
	}
}
