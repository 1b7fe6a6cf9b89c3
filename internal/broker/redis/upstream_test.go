// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"tickedge/internal/broker/redis/redistest"
	"tickedge/internal/feed"
)

func TestSourceHidesItsPasswords(t *testing.T) {
	for text, want := range map[string]string{
		"redis://h:1/2":                   "redis://h:1/2",
		"fx:*=redis://u:" + secret + "@h": "fx:*=redis://u:xxxxx@h",
		"redis://:" + secret + "@h?db=1":  "redis://:xxxxx@h?db=1",
		"redis-sentinel://u:" + secret + "@a:1,b:2/m/3?sentinel_password=" + secret + "&sentinel_user=x": "redis-sentinel://u:xxxxx@a:1,b:2/m/3?sentinel_password=xxxxx&sentinel_user=x",
		"unix://u:" + secret + "@/r.sock?db=1": "unix://u:xxxxx@/r.sock?db=1",
		secret:                                 "xxxxx",
	} {
		patterns, url := feed.ParseSource(text)
		got := fmt.Sprint(Config{URL: url})
		if len(patterns) > 0 {
			got = strings.Join(patterns, ",") + "=" + got
		}
		if got != want {
			t.Errorf("%s is shown as %s, want %s", text, got, want)
		}
	}
}

func TestURLsOfSeveralHosts(t *testing.T) {
	for raw, want := range map[string]string{
		"redis-sentinel://a:1,b/prices":                                       "1 [a:1 b:26379] prices 0 : : false",
		"rediss-sentinel://u:p%40@a/x/7?sentinel_user=su&sentinel_password=s": "1 [a:26379] x 7 u:p@ su:s true",
		"redis-cluster://:p@[::1]:7,10.0.0.1/":                                "2 [[::1]:7 10.0.0.1:6379]  0 :p : false",
		"rediss-cluster://a?skip_verify=true":                                 "2 [a:6379]  0 : : true",
	} {
		u, err := Config{URL: raw}.upstream()
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		guard := ":"
		if u.sentinelOpts != nil {
			guard = u.sentinelOpts.Username + ":" + u.sentinelOpts.Password
		}
		got := fmt.Sprint(u.kind, " ", u.addrs, " ", u.master, " ", u.opts.DB, " ", u.opts.Username, ":", u.opts.Password, " ", guard, " ", u.opts.TLSConfig != nil)
		if got != want {
			t.Errorf("%s = %s, want %s", raw, got, want)
		}
	}
	for raw, want := range map[string]string{
		"redis-sentinel://a:1":                            "master's name",
		"redis-sentinel://a:1/m/0/" + secret:              "master's name",
		"redis-sentinel://a:1/m/" + secret:                "number as the database",
		"redis-sentinel:///m":                             "not valid",
		"redis-sentinel://u:" + secret + "@a:x/m":         "not valid",
		"redis-sentinel://u:%zz" + secret + "@a:1/m":      "not valid",
		"redis-sentinel://a:1,,b:1/m":                     "not valid",
		"redis-sentinel://a:1/m?" + secret + "=1":         "no options but",
		"redis-sentinel://a:1/m?skip_verify=true":         "skip_verify",
		"redis-sentinel://a:1/m?a=%zz":                    "not valid",
		"redis-cluster://a:1/3":                           "no databases",
		"redis-cluster://a:0":                             "not valid",
		"redis-cluster://a:1:2":                           "not valid",
		"redis-cluster://a:1?sentinel_user=" + secret:     "no options but",
		"redis-cluster://u:" + secret + "/x@a:1":          "not valid",
		"rediss-cluster://a:1?skip_verify=" + secret:      "skip_verify",
		"redis-ring://u:" + secret + "@a:1":               "not valid",
		"redis-cluster://u:" + secret + "@a:1#" + secret:  "not valid",
		"redis-cluster://" + secret + "]:1":               "not valid",
		"redis-sentinel://u:1/" + secret + "@h:1,h2:2/db": "%2F",
	} {
		_, err := Config{URL: raw}.upstream()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", raw, err, want)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("the error holds the password: %v", err)
		}
	}
}

func TestValidateSources(t *testing.T) {
	ca := redistest.NewCA(t)
	cert, key := ca.Issue("edge")
	many := make([]string, 65)
	for i := range many {
		many[i] = fmt.Sprintf("p%d=redis://h", i)
	}
	tagged := Config{Channel: "c:{{topic}}", Key: "{{topic}}:k"}
	for _, c := range []struct {
		sources []string
		cfg     Config
		want    []string // None is no error.
	}{
		{[]string{"fx:*=redis://h", "a,b*=redis://h", "redis://h"}, Config{}, nil},
		{[]string{"redis-cluster://h"}, tagged, nil},
		{[]string{"redis-cluster://h"}, Config{Channel: "{x}:{topic}", Key: "{x}{topic}"}, nil},
		{[]string{"rediss://h"}, Config{TLS: TLSFiles{ca.File, cert, key}}, nil},

		{nil, Config{}, []string{"source is missing"}},
		{[]string{"a=redis://h"}, Config{}, []string{"the last source has to be without patterns"}},
		{[]string{"redis://h", "redis://h"}, Config{}, []string{"source 1: only the last source may be without patterns"}},
		{[]string{"a=", "b*=http://" + secret, "redis://h"}, Config{}, []string{"redis URL is missing", "redis URL is not valid"}},
		{[]string{"a,,*,a b," + strings.Repeat("x", 65) + "=redis://h", "a=redis://h", "redis://h"}, Config{},
			[]string{"is empty", `"*" takes all`, "is not valid: want 1 to 64 bytes", `source 2: pattern "a" is there already`}},
		{many, Config{}, []string{"sources are 65, want at most 64"}},
		{[]string{"x=redis://h", "redis-cluster://h"}, Config{}, []string{`redis channel is "channel:prices:{topic}" and redis key is "price:{topic}"`, "price:{{topic}}"}},
		{[]string{"redis-cluster://h"}, Config{Channel: "{a}{topic}", Key: "{b}{topic}"}, []string{"in one slot"}},
		{[]string{"redis-cluster://h"}, Config{Channel: "c"}, []string{`redis channel is "c"`}},
		{[]string{"redis://h"}, Config{TLS: TLSFiles{CA: ca.File}}, []string{"no redis URL uses TLS"}},
		{[]string{"rediss://h"}, Config{TLS: TLSFiles{Cert: cert}}, []string{"certificate or key is missing"}},
		{[]string{"rediss://h"}, Config{TLS: TLSFiles{CA: "/nowhere"}}, []string{"authorities: open /nowhere"}},
		{[]string{"rediss://h"}, Config{TLS: TLSFiles{CA: key}}, []string{"holds no certificate in PEM"}},
		{[]string{"rediss://h"}, Config{TLS: TLSFiles{Cert: key, Key: cert}}, []string{"certificate and key: "}},
	} {
		var all []Config
		var f feed.Config
		var urls error
		for _, s := range c.sources {
			var patterns []string
			patterns, c.cfg.URL = feed.ParseSource(s)
			all = append(all, c.cfg)
			urls = errors.Join(urls, c.cfg.ValidateURL())
			f = append(f, feed.SourceConfig{Patterns: patterns, Broker: c.cfg})
		}
		err := errors.Join(f.Validate(), urls, ValidateSettings(all...))
		if err == nil && len(c.want) > 0 || err != nil && len(c.want) == 0 {
			t.Errorf("%q: %v", c.sources, err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %q is not in:\n%v", c.sources, want, err)
			}
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the error holds the password: %v", err)
		}
	}
}

// The examples of the Redis Cluster specification, and CRC16's own.
func TestSlot(t *testing.T) {
	for name, want := range map[string]uint16{
		"123456789": 12739, "foo": 12182, "{user1000}.following": slotOf("user1000"), "foo{}{bar}": slotOf("foo{}{bar}"),
		"foo{{bar}}zap": slotOf("{bar"), "foo{bar}{zap}": slotOf("bar"), "a}b{c}": slotOf("c"), "": 0,
	} {
		if got := slotOf(name); got != want {
			t.Errorf("slot of %q is %d, want %d", name, got, want)
		}
	}
	if slotOf("foo{}{bar}") == slotOf("bar") {
		t.Error("empty braces count")
	}
}

func TestTLSFilesAreReadAgain(t *testing.T) {
	ca := redistest.NewCA(t)
	cert, key := ca.Issue("edge")
	u, err := Config{URL: "rediss://h", TLS: TLSFiles{CA: ca.File, Cert: cert, Key: key}}.upstream()
	if err != nil {
		t.Fatal(err)
	}
	target := fixed{u}
	o, err := target.resolve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	number := func() string {
		pair, err := o.TLSConfig.GetClientCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.SerialNumber.String()
	}
	first := number()
	if number() != first {
		t.Error("another certificate without a renewal")
	}
	ca.Issue("edge")
	if number() == first {
		t.Error("the renewed certificate is not used")
	}
	authorities := o.TLSConfig.RootCAs
	other := redistest.NewCA(t)
	if err := os.Rename(other.File, ca.File); err != nil {
		t.Fatal(err)
	}
	if o, err = target.resolve(t.Context()); err != nil || o.TLSConfig.RootCAs.Equal(authorities) {
		t.Errorf("the new authorities are not used: %v", err)
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	if _, err := target.resolve(t.Context()); err == nil || !strings.Contains(err.Error(), cert) {
		t.Errorf("without the file: %v", err)
	}
}
