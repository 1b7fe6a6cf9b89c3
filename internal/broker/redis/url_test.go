// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"tickedge/internal/broker/redis/redistest"
)

// form is a URL with a password in one of its places, in the form in which it is to stand there.
type form struct {
	name     string
	url      func(password string) string
	password func(*upstream) string
	rest     string // What the URL has to mean besides, see meaning.
}

func ofData(u *upstream) string { return u.opts.Password }

var forms = []form{
	{"one server", func(p string) string { return "redis://us%65r:" + p + "@host:7/3" }, ofData, "0 host:7 3 user [] "},
	{"no user", func(p string) string { return "rediss://:" + p + "@host" }, ofData, "0 host:6379 0  [] "},
	{"options", func(p string) string { return "redis://u:" + p + "@host?db=4&client_name=x" }, ofData, "0 host:6379 4 u [] "},
	{"a socket", func(p string) string { return "unix://u:" + p + "@/run/r.sock?db=2" }, ofData, "0 /run/r.sock 2 u [] "},
	{"sentinels", func(p string) string { return "redis-sentinel://u:" + p + "@a:1,b/m/5" }, ofData, "1  5 u [a:1 b:26379] m"},
	{"of the sentinels", func(p string) string {
		return "redis-sentinel://a:1,b/m?sentinel_user=su&sentinel_password=" + p
	}, func(u *upstream) string { return u.sentinelOpts.Password }, "1  0  [a:1 b:26379] m"},
	{"a cluster", func(p string) string { return "rediss-cluster://u:" + p + "@[::1]:1,b/?skip_verify=true" }, ofData, "2  0 u [[::1]:1 b:6379] "},
}

func meaning(u *upstream) string {
	return fmt.Sprint(u.kind, " ", u.opts.Addr, " ", u.opts.DB, " ", u.opts.Username, " ", u.addrs, " ", u.master)
}

// Each character of a password is taken as it is, or the error says how to write it.
func TestEachCharacterOfAPassword(t *testing.T) {
	var all []string
	for c := rune(1); c <= 0x7f; c++ {
		all = append(all, string(c))
	}
	for _, c := range append(all, "é", "€", "\U0001f511", "\u00a0", "\u2028") {
		password := "KWQZXJ" + c + "VPHGYF"
		for _, f := range forms {
			u, err := Config{URL: f.url(password)}.upstream()
			switch escaped := strings.ToUpper(redistest.Percent(c)); {
			case err == nil && (f.password(u) != password || meaning(u) != f.rest):
				t.Errorf("%s: %q is taken as %q, with %s", f.name, password, f.password(u), meaning(u))
			case err != nil && !strings.Contains(err.Error(), escaped):
				t.Errorf("%s with %q: the error does not say %s: %v", f.name, c, escaped, err)
			case err != nil && (strings.Contains(err.Error(), "KWQ") || strings.Contains(err.Error(), "HGYF")):
				t.Errorf("%s: the error holds the password: %v", f.name, err)
			}
			if err != nil && strings.Trim(c, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$'()*,=:") == "" {
				t.Errorf("%s with %q is refused: %v", f.name, c, err)
			}
			if u, err = (Config{URL: f.url(redistest.Percent(password))}).upstream(); err != nil || f.password(u) != password || meaning(u) != f.rest {
				t.Errorf("%s: the escaped form of %q is not taken: %v", f.name, password, err)
			}
		}
	}
}

// Any password is taken as what it is, or refused, and not shown in either case.
func TestRandomPasswords(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	for range 500 {
		password, parts := redistest.Password(random)
		for _, f := range forms {
			for _, written := range []string{password, redistest.Percent(password)} {
				u, err := Config{URL: f.url(written)}.upstream()
				if err == nil && !strings.Contains(password, "%") && f.password(u) != password || err == nil && meaning(u) != f.rest {
					t.Fatalf("seed %d, %s: %q is taken as %q, with %s", seed, f.name, password, f.password(u), meaning(u))
				}
				if err != nil && written != password {
					t.Fatalf("seed %d, %s: %q, escaped, is refused: %v", seed, f.name, password, err)
				}
				shown := fmt.Sprint(Config{URL: f.url(written)}, " ", err, " ", Config{URL: f.url(written)}.Validate())
				for _, part := range parts {
					if strings.Contains(shown, part) {
						t.Fatalf("seed %d, %s: %q is shown: %s", seed, f.name, password, shown)
					}
				}
			}
		}
	}
}

// What a parser would take for something else than what was meant.
func TestURLsThatAreRefused(t *testing.T) {
	for raw, want := range map[string]string{
		"redis://u:p@ss@h":                     "more than one @",
		"redis-cluster://u:p@a,u:p@b":          "stand once, before the first",
		"redis://pass@h":                       "a user without a password",
		"redis://user:@h":                      "a user without a password",
		"redis://:@h":                          "a user without a password",
		"redis://@h":                           "a user without a password",
		"redis-sentinel://h/m?sentinel_user=u": "sentinel_user without a sentinel_password",
		"redis-sentinel://h/m?sentinel_password=a&sentinel_password=b": "more than once",
		"redis:6379":               "not valid, want redis://",
		"redis:/h":                 "not valid, want redis://",
		"h:6379":                   "not valid, want redis://",
		"http://h":                 "not valid, want redis://",
		"\"redis://h\"":            "not valid, want redis://",
		"redis://h\"":              "leave quotes around the URL out",
		"redis://h ":               "a blank",
		"redis://h\n":              "a control character",
		"redis://a:1,b:2":          "several hosts",
		"redis://::1":              "[address]:port for IPv6",
		"redis://::1:6379":         "[address]:port for IPv6",
		"redis-cluster://::1:6379": "[address]:port for IPv6",
		"redis://h:":               "a port from 1 to 65535",
		"redis://h:0":              "a port from 1 to 65535",
		"redis://h:pass":           "a port from 1 to 65535",
		"redis://h_ö":              "outside of ASCII",
		"redis://h/1?db=2":         "one number",
		"redis://h/-1":             "one number",
		"redis://h/x":              "not valid",
		"redis://h/1/2":            "not valid",
		"redis://h#1":              "%23",
		"redis://h?db=1;x=2":       "%3B",
		"unix://h/r":               "not valid",
		"unix://":                  "not valid",
		"redis://h?x=%":            "%25",
		"redis://h?unknown=1":      "not valid",
	} {
		if _, err := (Config{URL: raw}).upstream(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", raw, err, want)
		}
	}
	for raw, want := range map[string]string{
		"redis://":                     "localhost:6379",
		"redis://:7":                   "localhost:7",
		"redis://:p@:7":                "localhost:7",
		"REDIS://h":                    "h:6379",
		"redis://[::1]":                "[::1]:6379",
		"redis://[fe80::1%25eth0]:7":   "[fe80::1%eth0]:7",
		"redis://my_redis-1.ns.svc.:7": "my_redis-1.ns.svc.:7",
		"unix:///a%20b%40c":            "/a b@c",
		"redis://u:a%2520@h":           "h:6379",
	} {
		if u, err := (Config{URL: raw}).upstream(); err != nil || u.opts.Addr != want {
			t.Errorf("%s: %v, want %s", raw, err, want)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, form := range forms {
		f.Add(form.url("a%40b"))
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := Config{URL: raw}.upstream()
		shown := Config{URL: raw}.String()
		if err != nil {
			if shown != "xxxxx" {
				t.Errorf("%q is not valid, and shown as %q", raw, shown)
			}
			return
		}
		// What is shown can be given back, and means the same but for the passwords.
		again, err := Config{URL: shown}.upstream()
		if err != nil || meaning(again) != meaning(u) {
			t.Fatalf("%q is shown as %q, which means %v, %v", raw, shown, again, err)
		}
		for _, o := range []string{u.opts.Password} {
			if len(o) > 8 && strings.Contains(shown, o) && !strings.Contains(meaning(u), o) {
				t.Errorf("%q is shown as %q", raw, shown)
			}
		}
	})
}
