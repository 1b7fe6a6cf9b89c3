// SPDX-License-Identifier: Apache-2.0

package panics

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tickedge/internal/logtest"
	"tickedge/internal/topics"
)

func TestTry(t *testing.T) {
	before := Count(Feed)
	if err := Try(Feed, func() error { return nil }); err != nil {
		t.Error(err)
	}
	want := errors.New("as it is")
	if err := Try(Feed, func() error { return want }); err != want {
		t.Error(err)
	}
	err := Try(Feed, func() error { return deep(100) })
	var f *Error
	if !errors.As(err, &f) || err.Error() != "panic: boom" {
		t.Fatalf("error = %v", err)
	}
	if len(f.Stack) > stackMax+len("…") || !strings.Contains(f.Stack, "panics.deep") {
		t.Errorf("a stack of %d bytes: %s", len(f.Stack), f.Stack)
	}
	if a := Attrs(err); len(a) != 2 || Attrs(want) != nil {
		t.Errorf("attributes %v", a)
	}
	// What is said may come from a peer.
	err = Try(Feed, func() error { panic(strings.Repeat("ä", 1<<20)) })
	if n := len(err.Error()); n > textMax+20 {
		t.Errorf("%d bytes of an error", n)
	}
	if got := Count(Feed) - before; got != 2 {
		t.Errorf("%d panics are counted, want 2", got)
	}
}

func deep(n int) error {
	if n == 0 {
		panic("boom")
	}
	return deep(n - 1)
}

// A fault inside the table may leave its locks held. Who goes on after it would hang, so it
// ends the process, whoever else would catch it. Other panics do not.
func TestFaultInTheTableIsFatal(t *testing.T) {
	table := topics.New(topics.Config{Max: 1})
	for name, c := range map[string]struct {
		f     func()
		fatal bool
	}{
		"table":  {func() { table.Row(topics.IDLimit - 1) }, true},
		"ours":   {func() { third(nil) }, false},
		"misuse": {func() { table.Release(7, time.Time{}) }, false},
	} {
		const env = "PANICS_TEST_CHILD"
		if os.Getenv(env) == name {
			defer func() { recover() }()
			if Try(Feed, func() error { c.f(); return nil }) == nil {
				t.Fatal("no error")
			}
			return
		}
		if os.Getenv(env) != "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			child := exec.Command(os.Args[0], "-test.run=^TestFaultInTheTableIsFatal$")
			child.Env = append(os.Environ(), env+"="+name)
			out, err := child.CombinedOutput()
			if (err != nil) != c.fatal || c.fatal && !strings.Contains(string(out), "panic: a fault in the topic table: ") {
				t.Errorf("ended with %v, want an end %v:\n%s", err, c.fatal, out)
			}
		})
	}
}

func third(of []int) int { return of[2] }

// A part that panics is started again, ever later, until it works, and not after the end.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, buf := logtest.New(t)
		begin := time.Now()
		var at []time.Duration
		Keep(t.Context(), Demo, log, func(context.Context) {
			at = append(at, time.Since(begin))
			switch len(at) {
			case 9:
				time.Sleep(keepMax + 1)
			case 10:
				return
			}
			panic("boom")
		})
		want := []time.Duration{0, 1, 3, 7, 15, 31, 63, 123, 183}
		for i, s := range want {
			if at[i] != s*time.Second {
				t.Errorf("start %d after %v, want %ds", i, at[i], s)
			}
		}
		if after := at[9] - at[8]; after != keepMax+1+keepMin {
			t.Errorf("after a long run, started again %v later", after)
		}
		if n := buf.Count("started again"); n != 9 || buf.Count("part=demo") != 9 || buf.Count("stack=") != 9 {
			t.Errorf("%d lines, want 9 with part and stack", n)
		}

		ctx, cancel := context.WithCancel(t.Context())
		runs := 0
		Keep(ctx, Demo, log, func(context.Context) { runs++; cancel(); panic("boom") })
		if runs != 1 {
			t.Errorf("%d runs after the end", runs)
		}
	})
}
