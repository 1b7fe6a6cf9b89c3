// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"tickedge/internal/broker/redis/redistest"
)

func TestValidate(t *testing.T) {
	if err := (Config{URL: "redis://h"}).Validate(); err != nil {
		t.Error(err)
	}
	err := (Config{Channel: "c", Key: "{topic}{topic}", Timeout: -1}).Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"URL is missing", `redis channel is "c"`, `redis key is "{topic}{topic}"`, "timeout is -1ns"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
}

func TestURL(t *testing.T) {
	for _, u := range []string{"redis://h", "redis://u:p@h:1/2", "rediss://h", "unix:///tmp/redis.sock", "unix://u:p@/r.sock?db=1", "redis://h?read_timeout=3"} {
		if err := (Config{URL: u}).Validate(); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
	// Each of these makes the parser quote the password, or could.
	for _, u := range []string{"redis://u:" + secret + "/x@h", "redis://u:1/" + secret + "@h", "http://" + secret, secret,
		"redis://h/" + secret, "redis://h?db=" + secret, "redis://h?" + secret + "=1", "redis://u:%zz" + secret + "@h", "redis://[" + secret} {
		err := (Config{URL: u}).Validate()
		if err == nil {
			t.Errorf("%s: no error", u)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("error holds the password: %v", err)
		}
	}
}

func TestTimeoutOverrulesURL(t *testing.T) {
	c := Config{URL: "redis://h?read_timeout=-1&dial_timeout=9h&protocol=3&max_retries=7", Timeout: time.Second}
	u, err := c.upstream()
	if err != nil {
		t.Fatal(err)
	}
	o := u.opts
	if o.ReadTimeout != time.Second || o.DialTimeout != time.Second || o.WriteTimeout != time.Second || o.Protocol != 2 || o.MaxRetries != -1 {
		t.Errorf("options = %+v", o)
	}
}

func TestTemplate(t *testing.T) {
	tmpl, err := newTemplate("channel", "a:{topic}:b")
	if err != nil {
		t.Fatal(err)
	}
	if got := tmpl.name("X"); got != "a:X:b" {
		t.Errorf("name = %q", got)
	}
	if _, err := newTemplate("channel", strings.Repeat("x", templateMax)+placeholder); err == nil || !strings.Contains(err.Error(), "want at most 1024") {
		t.Errorf("one of more than %d bytes: %v", templateMax, err)
	}
	for name, want := range map[string]string{"a:X:b": "X", "a::b": "", "a:b": "-", "a:X": "-", "X:b": "-", "": "-"} {
		got, ok := tmpl.topic(name)
		if !ok {
			got = "-"
		}
		if got != want {
			t.Errorf("topic of %q = %q, want %q", name, got, want)
		}
	}
}

func TestGlob(t *testing.T) {
	for text, want := range map[string]string{
		"channel:prices:{topic}": "channel:prices:*",
		`a*b?[c]\{topic}*`:       `a\*b\?\[c\]\\*\*`,
		"p:{{topic}}":            "p:{*}",
	} {
		tmpl, err := newTemplate("channel", text)
		if err != nil {
			t.Fatal(err)
		}
		if got := tmpl.glob(); got != want {
			t.Errorf("glob of %s = %s, want %s", text, got, want)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	path := t.TempDir() + "/r.sock"
	s := redistest.Start(t, "--unixsocket", path)
	s.Do("SET", "price:AAPL", "1")
	r := run(t, At("unix://"+path), limits)
	r.acquire("AAPL")
	r.eventually("the value", func() bool { return r.value("AAPL") == "1" })
}

func TestTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // For its certificate.
	defer web.Close()
	m, err := miniredis.RunTLS(web.TLS)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.Set("price:AAPL", "1")
	r := run(t, At("rediss://"+m.Addr()+"?skip_verify=true"), limits)
	r.acquire("AAPL")
	r.eventually("the value", func() bool { return r.value("AAPL") == "1" })

	r = run(t, At("rediss://"+m.Addr()), limits)
	r.eventually("the certificate is refused", func() bool { return strings.Contains(r.Stats().LastError, "certificate") })
}
