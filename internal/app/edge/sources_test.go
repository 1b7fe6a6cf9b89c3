// SPDX-License-Identifier: Apache-2.0

package edge

import (
	"strings"
	"testing"

	"tickedge/internal/app"
)

// Sources of all kinds, in all their spellings, and what -check says of them: flags that give the same again.
func TestSources(t *testing.T) {
	for args, want := range map[string]string{
		"":                                      "-source=redis://127.0.0.1:6379\n",
		"-redis redis://:p@h":                   "-source=redis://:xxxxx@h\n",
		"-source memory":                        "-source=memory\n",
		"-source memory://a_1":                  "-source=memory://a_1\n",
		"-source fx:*=memory -source redis://h": "-source=fx:*=memory\n-source=redis://h\n",
		"-source redis://:p@a|redis://u:q@b":    "-source=redis://:xxxxx@a|redis://u:xxxxx@b\n",
		"-source x*=memory|redis://a -source memory://": "-source=x*=memory|redis://a\n-source=memory://\n",
		"-source a|b*=redis://h -source memory":         "-source=a|b*=redis://h\n-source=memory\n", // A topic may have a |.
		"-demo -tick-version-field ts":                  "-demo=true\n",
	} {
		code, stdout, stderr := program(t, strings.Fields(args)...)
		if code != app.OK || stderr != "" || !strings.Contains(stdout, want) || strings.Contains(stdout, "-redis=") {
			t.Errorf("%s: code %d, want %q:\n%s%s", args, code, want, stdout, stderr)
		}
	}
	t.Setenv("EDGE_REDIS", "redis://env")
	if code, stdout, _ := program(t, "-source", "memory"); code != app.OK || !strings.Contains(stdout, "-source=memory\n") {
		t.Errorf("the command line does not go before the environment: code %d:\n%s", code, stdout)
	}
	t.Setenv("EDGE_REDIS", "")
	for _, env := range []string{"fx:*=redis://a memory", "fx:*=redis://a\nmemory"} {
		t.Setenv("EDGE_SOURCE", env)
		if code, stdout, stderr := program(t); code != app.OK || !strings.Contains(stdout, "-source=fx:*=redis://a\n-source=memory\n") {
			t.Errorf("%q: code %d:\n%s%s", env, code, stdout, stderr)
		}
	}
}

func TestWrongSources(t *testing.T) {
	for args, want := range map[string]string{
		"-source http://u:hunter2@h":                             "-source: source URL is not valid: want redis://[user:password@]host[:port][/db] (rediss:// for TLS), ",
		"-redis http://u:hunter2@h":                              "-redis: source URL is not valid: want redis://",
		"-source hunter2":                                        "-source: source URL is not valid",
		"-source a=":                                             "-source: source URL is missing",
		"-source=":                                               "-source: source is missing, want for example redis://127.0.0.1:6379",
		"-source memory://u:hunter2@h":                           "-source: memory URL is not valid, want memory, or memory://[name]",
		"-source memory?topics=hunter2":                          "-source: memory URL is not valid: want topics=1 to",
		"-source redis://a|redis://a":                            "-source: source has the same URL on both sides of its |",
		"-source redis://a|redis://b|memory":                     "-source: source has more than two URLs",
		"-source redis://a|http://u:hunter2@b":                   "-source: source URL is not valid",
		"-source x=redis://a|redis://h/hunter2 -source memory":   "-source: source 1: redis URL is not valid",
		"-source redis://u:a|hunter2@h":                          "a | as it is. In the user or the password write it as %7C",
		"-source memory -source redis://h":                       "-source: source 1: only the last source may be without patterns",
		"-source redis://a -redis redis://u:hunter2@b":           "-source and -redis are set, and -redis is the older spelling of -source",
		"-demo -source memory":                                   "-demo brings its own broker: leave -source out, or -demo",
		"-source memory -redis-mode pattern":                     "-redis-mode has no effect: no source is a Redis",
		"-demo -redis-channel c:{topic}":                         "-redis-channel has no effect: no source is a Redis",
		"-source memory|redis-cluster://h -redis-mode channel":   "want hash tags, for example channel:prices:{{topic}}",
		"-source a*=redis-cluster://h -source memory":            "want hash tags, for example channel:prices:{{topic}}",
		"-source fx:{a}=redis://u:hunter2@h -source memory":      "-source: source 1: a pattern of topics is not valid",
		"-source memory|redis://u:hunter2@h#x -source memory://": "write it as %23",
	} {
		code, stdout, stderr := program(t, strings.Fields(args)...)
		if code != app.Usage || stdout != "" || !strings.Contains(stderr, want) || strings.Contains(stderr, "hunter2") {
			t.Errorf("%s: code %d, want %q:\n%s%s", args, code, want, stdout, stderr)
		}
	}
}
