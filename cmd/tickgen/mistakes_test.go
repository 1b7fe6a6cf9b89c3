// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tickedge/internal/logtest"
)

// check runs tickgen -check.
func check(args ...string) (code int, stdout, stderr string) {
	var out, errs logtest.Log
	code = run(context.Background(), append([]string{"-check"}, args...), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// mistake is a wrong value of a flag, and what is said of it.
type mistake struct{ value, says string }

// mistakesOf are the flags for which any text is a value of the right kind.
var mistakesOf = map[string]mistake{
	"source":        {"http://host", "want redis://[user:password@]host[:port][/db]"},
	"redis":         {"http://host", "want redis://[user:password@]host[:port][/db]"},
	"redis-channel": {"prices", "want {topic} in it exactly once"},
	"redis-key":     {"price", "want {topic} in it exactly once"},
	"redis-stream":  {"", ""}, // Any name is good, and none is what there is without the flag.
	"symbols":       {"A,B C", `"B C"`},
	"replay":        {"/no/such.jsonl", "no such file"},
	"config":        {"/no/such.yaml", "no such file"},
	"log-level":     {"loud", "debug, info, warn or error"},
}

func mistakes(t *testing.T, f *flag.Flag) []mistake {
	if m, ok := mistakesOf[f.Name]; ok {
		return []mistake{m}
	}
	switch f.Value.(flag.Getter).Get().(type) {
	case bool:
		return []mistake{{"maybe", `is "maybe", want true or false`}}
	case int:
		return []mistake{{"many", `is "many", want a whole number such as`}, {"-1", " -1, want "}}
	case uint64:
		return []mistake{{"-1", `is "-1", want a whole number such as`}}
	case float64:
		return []mistake{{"1,5", `is "1,5", want a number such as`}, {"-1", "is -1, want "}, {"NaN", "is NaN, want "}}
	case time.Duration:
		return []mistake{{"5", `is "5", want a duration such as`}, {"-1s", "is -1s, want "}}
	}
	t.Errorf("-%s has no wrong value here", f.Name)
	return nil
}

// Who mistypes anything in the table of flags is told which, what is right, and code 2: on the
// command line, in the environment, which is named, and in a file, with its line.
func TestEveryMistakeIsTold(t *testing.T) {
	c, file := newConfig(), filepath.Join(t.TempDir(), "tickgen.yaml")
	seen := 0
	for name := range c.flags.Names {
		if name == "check" || name == "version" {
			continue
		}
		seen++
		for _, m := range mistakes(t, c.flags.Lookup(name)) {
			if m.says == "" {
				continue
			}
			t.Run(name+" "+m.value, func(t *testing.T) {
				demand := func(where string, args ...string) {
					code, stdout, stderr := check(args...)
					ok := false
					for line := range strings.Lines(stderr) {
						ok = ok || strings.Contains(line, m.says) && strings.Contains(line, where) && strings.HasPrefix(line, "tickgen: ")
					}
					if code != 2 || stdout != "" || !ok {
						t.Errorf("%v: code %d, want a line with %s and %q:\n%s%s", args, code, where, m.says, stdout, stderr)
					}
				}
				demand("-"+name, "-"+name+"="+m.value)
				if name != "config" {
					if err := os.WriteFile(file, []byte("\n"+name+": '"+m.value+"'\n"), 0o600); err != nil {
						t.Fatal(err)
					}
					demand(file+":2", "-config", file)
				}
				env := "TICKGEN_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
				t.Setenv(env, m.value)
				demand(env)
			})
		}
	}
	if seen < 16 {
		t.Errorf("only %d flags were found", seen)
	}
}

func TestFlagsWithoutEffect(t *testing.T) {
	ticks := filepath.Join(t.TempDir(), "ticks.jsonl")
	if err := os.WriteFile(ticks, []byte(`{"topic":"AAPL","ts":1,"v":1}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"-loop":             "-loop has no effect: -loop needs -replay FILE",
		"-stream-entries 5": "-stream-entries has no effect: -redis-stream is not set",
		"-redis-stream s -redis-channel c{topic}": "-redis-channel has no effect: -redis-stream is set",
		"-replay " + ticks + " -n 5":              "-n has no effect: -replay is set",
		"-replay " + ticks + " -symbols A":        "-symbols has no effect: -replay is set",
		"-replay " + ticks + " -rate 5":           "-rate has no effect: -replay is set",
		"-replay " + ticks + " -volatility 5":     "-volatility has no effect: -replay is set",
		"-replay " + ticks + " -seed 5":           "-seed has no effect: -replay is set",
	} {
		if code, _, stderr := check(strings.Fields(args)...); code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%s: code %d, want %q:\n%s", args, code, want, stderr)
		}
	}
}

// -check reads all of a recording, shows no password, and says what is from where. What it
// prints can be given back.
func TestCheck(t *testing.T) {
	ticks := filepath.Join(t.TempDir(), "ticks.jsonl")
	good := `{"topic":"AAPL","ts":1,"v":1}` + "\n"
	if err := os.WriteFile(ticks, []byte(good+good+"oops\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := check("-replay", ticks, "-speed", "20"); code != 2 || !strings.Contains(stderr, "tickgen: -replay: "+ticks+": line 3: ") || !strings.Contains(stderr, "-speed is 20") {
		t.Errorf("code %d: %s", code, stderr)
	}
	if err := os.WriteFile(ticks, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TICKGEN_REDIS", "redis://u:hunter2@h")
	t.Setenv("TICKGEN_RAET", "5")
	code, stdout, stderr := check("-replay", ticks)
	if code != 0 || strings.Contains(stdout, "hunter2") || !strings.Contains(stdout, "-source=redis://u:xxxxx@h\n") ||
		!strings.HasSuffix(stdout, "# from the environment: -redis (TICKGEN_REDIS)\n# read and found good: "+ticks+"\n") ||
		stderr != "tickgen: warning: TICKGEN_RAET in the environment is no variable of tickgen; did you mean TICKGEN_RATE?\n" {
		t.Errorf("code %d:\n%s%s", code, stdout, stderr)
	}
	flags, _, _ := strings.Cut(stdout, "#")
	code, again, _ := check(strings.Fields(flags)...)
	if again, _, _ := strings.Cut(again, "#"); code != 0 || again != flags {
		t.Errorf("code %d:\n%s\nbecame\n%s", code, flags, again)
	}
}

// What is asked for goes to stdout.
func TestCommandsOfTheProgram(t *testing.T) {
	for args, want := range map[string]string{
		"version": "tickgen 0.", "-version": "tickgen 0.", "help": "\n  -rate ticks ", "-h": "\n  -replay file ", "completion bash": "complete -o default -W 'completion help version -source -redis",
	} {
		var out, errs logtest.Log
		if code := run(context.Background(), strings.Fields(args), strings.NewReader(""), &out, &errs); code != 0 || errs.String() != "" || out.Count(want) == 0 {
			t.Errorf("%s: code %d\n%s%s", args, code, &out, &errs)
		}
	}
	for args, want := range map[string]string{"completion": "want a shell", "verson": "did you mean version? there are completion, help, version"} {
		var out, errs logtest.Log
		if code := run(context.Background(), strings.Fields(args), strings.NewReader(""), &out, &errs); code != 2 || out.String() != "" || errs.Count(want) == 0 {
			t.Errorf("%s: code %d\n%s%s", args, code, &out, &errs)
		}
	}
}
