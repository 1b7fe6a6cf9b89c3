// SPDX-License-Identifier: Apache-2.0

package nats

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestURLs(t *testing.T) {
	u, err := Config{URL: "nats://user:p%40ss@a,b:5222,[::1]?subject=md.{topic}&mode=jetstream&stream=TICKS"}.upstream()
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.user.Password()
	if got := strings.Join(u.servers, " "); got != "nats://a:4222 nats://b:5222 nats://[::1]:4222" || u.user.Username() != "user" || password != "p@ss" ||
		u.subjects.all() != "md.>" || u.mode != jetstream || u.stream != "TICKS" || u.timeout != DefaultTimeout {
		t.Errorf("%+v", u)
	}
	if u, err := (Config{URL: "tls://token@a?wildcard=true", Timeout: time.Second}).upstream(); err != nil || !u.secure || !u.wildcard || u.mode != auto || u.timeout != time.Second {
		t.Errorf("%+v, %v", u, err)
	}
	if u, err := (Config{URL: "nats://a?stream=TICKS"}).upstream(); err != nil || u.mode != jetstream {
		t.Errorf("a URL with a stream is %+v, want %s: %v", u, jetstream, err)
	}
}

// What is wrong is said with the right form, and nothing of the URL is repeated.
func TestWrongURLs(t *testing.T) {
	const secret = "sesame"
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"http://" + secret + "@a":                          "want for example nats://",
		"nats://":                                          "a server is missing",
		"nats://user:" + secret + "@":                      "a server is missing",
		"nats://user:" + secret + "@a,,b":                  "a server is missing",
		"nats://user:" + secret + "@a:99999":               "a server is not valid",
		"nats://user:" + secret + "@b@a":                   "two @",
		"nats://user:" + secret + "/x@a":                   "%2F",
		"nats://user:" + secret + "#@a":                    "%23",
		"nats://user:%zz" + secret + "@a":                  "%XX",
		"nats://user:" + secret + "@a?password=" + secret:  "unknown",
		"nats://a?mode=" + secret:                          "core or jetstream",
		"nats://a?mode=core&mode=core":                     "twice",
		"nats://a?stream=":                                 "empty",
		"nats://a?stream=a.b":                              "no name of a stream",
		"nats://a?mode=core&stream=S":                      "is for mode=jetstream",
		"nats://a?mode=auto&stream=S":                      "is for mode=jetstream",
		"nats://a?mode=jetstream&wildcard=true":            "is for mode=core",
		"nats://a?wildcard=yes":                            "true or false",
		"nats://a?subject=md":                              "{topic}",
		"nats://user:" + secret + "@a?creds=" + empty:      "more than one",
		"nats://a?creds=/nowhere":                          "no such file",
		"nats://a?tls_ca=" + empty:                         "no certificate",
		"nats://a?tls_cert=" + empty:                       "belong together",
		"nats://a?tls_cert=" + empty + "&tls_key=" + empty: "tls_cert and tls_key",
	} {
		err := Config{URL: url}.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", url, err, want)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error has the password: %v", url, err)
		}
	}
	if err := (Config{URL: "nats://a", Timeout: time.Millisecond}).Validate(); err == nil {
		t.Error("a timeout of 1ms was taken")
	}
}

func TestRedact(t *testing.T) {
	for url, want := range map[string]string{
		"nats://user:sesame@a:4222?mode=core": "nats://user:xxxxx@a:4222?mode=core",
		"nats://sesame@a":                     "nats://xxxxx@a",
		"nats://a,b":                          "nats://a,b",
		"nats://u:a@b:sesame@c":               "nats://u:xxxxx@c",
	} {
		if got := (Config{URL: url}).String(); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}
