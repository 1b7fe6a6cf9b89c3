// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"strings"
	"testing"
)

func TestOriginAllow(t *testing.T) {
	const listed = "https://app.example.com, http://localhost:3000,https://*.example.org:8443, http://[::1]:80, capacitor://localhost"
	const apps = "capacitor://localhost,ionic://localhost,tauri://localhost,file://,app://.,moz-extension://*,vscode-webview://*," +
		"chrome-extension://abcdefghijklmnopabcdefghijklmnop"
	for _, c := range []struct {
		list, origin, host string
		want               bool
	}{
		// No list: the same host, whatever the scheme that a proxy left of the request.
		{"", "https://feed.example.com", "feed.example.com", true},
		{"", "https://feed.example.com", "feed.example.com:443", true},
		{"", "https://feed.example.com:443", "feed.example.com", true},
		{"", "http://feed.example.com", "feed.example.com:80", true},
		{"", "HTTPS://Feed.Example.com", "feed.EXAMPLE.com", true},
		{"", "http://localhost:8080", "localhost:8080", true},
		{"", "http://[::1]:8080", "[::1]:8080", true},
		{"", "https://feed.example.com", "feed.example.com:80", false},
		{"", "http://feed.example.com", "feed.example.com:443", false},
		{"", "https://feed.example.com:8443", "feed.example.com", false},
		{"", "https://evil.example", "feed.example.com", false},
		{"", "https://feed.example.com.evil.example", "feed.example.com", false},
		{"", "https://xfeed.example.com", "feed.example.com", false},
		{"", "https://feed.example.com", "", false},
		{"", "capacitor://localhost", "localhost", false},
		{"", "null", "feed.example.com", false},
		{"", "null", "null", false},
		{"", "", "feed.example.com", true},

		{listed, "https://app.example.com", "feed.example.com", true},
		{listed, "https://APP.example.com:443", "feed.example.com", true},
		{listed, "http://localhost:3000", "x", true},
		{listed, "http://[::1]", "x", true},
		{listed, "capacitor://localhost", "x", true},
		{listed, "https://a.example.org:8443", "x", true},
		{listed, "https://A-1.EXAMPLE.org:8443", "x", true},
		{listed, "", "x", true},
		{listed, "http://app.example.com", "x", false},
		{listed, "https://app.example.com:8443", "x", false},
		{listed, "http://localhost", "x", false},
		{listed, "http://localhost:30000", "x", false},
		{listed, "https://example.org:8443", "x", false},
		{listed, "https://.example.org:8443", "x", false},
		{listed, "https://a.b.example.org:8443", "x", false},
		{listed, "https://a.example.org", "x", false},
		{listed, "https://aexample.org:8443", "x", false},
		{listed, "https://*.example.org:8443", "x", false},
		{listed, "https://a.example.org.evil.example:8443", "x", false},
		// A list stands for itself: the request's own host has to be in it.
		{listed, "https://feed.example.com", "feed.example.com", false},
		{listed, "null", "x", false},

		{"null", "null", "x", true},
		{"null", "NULL", "x", false},
		{"null", "https://x", "x", false},
		{"*", "null", "x", true},
		{"*", "anything at all", "x", true},
		{"https://a.example,*", "https://b.example", "x", true},

		// A lone slash at the end, and a dot of the root, as some programs write them.
		{listed, "https://app.example.com/", "x", true},
		{listed, "https://a.example.org:8443/", "x", true},
		{listed, "https://app.example.com.", "x", true},
		{"", "https://feed.example.com/", "feed.example.com", true},
		{"", "https://feed.example.com.:8443", "feed.example.com.:8443", true},
		{"", "https://feed.example.com", "feed.example.com.", true},
		{"", "http://[::1]:8080/", "[::1]:8080", true},
		{"https://app.example.com/, http://localhost:3000/", "http://localhost:3000", "x", true},
		{listed, "https://app.example.com//", "x", false},
		{listed, "https://app.example.com/a", "x", false},
		{listed, "https://app.example.com..", "x", false},

		// The request's own host, beside others.
		{"self", "https://feed.example.com", "feed.example.com", true},
		{"self", "http://localhost:8080", "localhost:8080", true},
		{"self", "https://evil.example", "feed.example.com", false},
		{"https://app.example.com, self", "https://feed.example.com", "feed.example.com", true},
		{"https://app.example.com, self", "https://app.example.com", "feed.example.com", true},
		{"https://app.example.com, self", "https://evil.example", "feed.example.com", false},
		{"self,null", "null", "feed.example.com", true},
		{"self", "capacitor://localhost", "localhost", false},
		{"null", "https://feed.example.com", "feed.example.com", false},

		// Pages of applications.
		{apps, "capacitor://localhost", "x", true},
		{apps, "ionic://localhost", "x", true},
		{apps, "tauri://localhost", "x", true},
		{apps, "chrome-extension://abcdefghijklmnopabcdefghijklmnop", "x", true},
		{apps, "Chrome-Extension://abcdefghijklmnopabcdefghijklmnop/", "x", true},
		{apps, "file://", "x", true},
		{apps, "file:///", "x", true},
		{apps, "app://.", "x", true},
		{apps, "moz-extension://0c0cda0a-2e1a-4a4e-8f0a-3f1b1d0a9a11", "x", true},
		{apps, "moz-extension://", "x", true},
		{apps, "vscode-webview://1b2c.3d", "x", true},
		{apps, "chrome-extension://ponmlkjihgfedcbaponmlkjihgfedcba", "x", false},
		{apps, "capacitor://localhost:1", "x", false},
		{apps, "capacitor://evil", "x", false},
		{apps, "capacitor://", "x", false},
		{apps, "app://", "x", false},
		{apps, "file://host", "x", false},
		{apps, "http://localhost", "x", false},
		{apps, "moz-extension://a b", "x", false},
		{apps, "moz-extension://*", "x", false},
		{apps, "https://*", "x", false},

		// What no browser sends is not an origin.
		{listed, "https://app.example.com https://evil.example", "x", false},
		{listed, "https://user@app.example.com", "x", false},
		{listed, "https://app.example.com:", "x", false},
		{listed, "https://app.example.com:0443", "x", false},
		{listed, "https://app.example.com:443:443", "x", false},
		{listed, "app.example.com", "x", false},
		{listed, "//app.example.com", "x", false},
		{listed, "://app.example.com", "x", false},
		{listed, "https://", "x", false},
		{listed, "https://[::1", "x", false},
		{listed, "https://[::1]x", "x", false},
		{listed, "https://" + strings.Repeat("a", originMax) + ".example.org:8443", "x", false},
	} {
		o, err := ParseOrigins(c.list)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.Allow([]byte(c.origin), []byte(c.host)); got != c.want {
			t.Errorf("list %q, origin %q, host %q: %v", c.list, c.origin, c.host, got)
		}
	}
}

// Lengths at the limit: a buffer of originMax must be enough.
func TestOriginMaxLength(t *testing.T) {
	for n := originMax - 3; n <= originMax+3; n++ {
		host := strings.Repeat("a", n-len("https://a.example")) + ".example"
		origin := "https://a" + host
		list := "https://a" + host
		o, err := ParseOrigins(list)
		if (err == nil) != (len(origin) <= originMax) {
			t.Fatalf("%d bytes: %v", len(origin), err)
		}
		if err == nil && !o.Allow([]byte(origin), nil) {
			t.Errorf("%d bytes are not allowed", len(origin))
		}
	}
}

func TestOriginErrorsSayWhatIsRight(t *testing.T) {
	for list, want := range map[string]string{
		"app.example.com":           `origin "app.example.com" has no scheme, want for example https://app.example.com`,
		"*.example.com":             `origin "*.example.com" has no scheme, want for example https://*.example.com`,
		"https://app.example.com/a": `origin "https://app.example.com/a" has a path, want https://app.example.com`,
		"https://app.example.com//": `origin "https://app.example.com//" has a path, want https://app.example.com`,
		"file:///a.html":            `origin "file:///a.html" has a path, want file://`,
		"localhost":                 `origin "localhost" has no scheme, want for example https://localhost`,
		"a b://*":                   `origin "a b://*" has a scheme that is not valid, want for example moz-extension://*`,
		"wss://feed.example.com":    `origin "wss://feed.example.com" is not the address of a page, want https://feed.example.com`,
		"ws://localhost:1":          `origin "ws://localhost:1" is not the address of a page, want http://localhost:1`,
		"https://*.com":             `origin "https://*.com" has a star over a whole domain, want for example https://*.example.com`,
		"https://*.com.:1":          `origin "https://*.com.:1" has a star over a whole domain, want for example https://*.example.com`,
		"https://münchen.example":   `origin "https://münchen.example" has a host that is not ASCII, want it as browsers send it (xn--…)`,
		"https://a.*.example.com":   `origin "https://a.*.example.com" is not valid, want for example https://app.example.com, http://localhost:3000 or https://*.example.com`,
		"https://*":                 `origin "https://*" is not valid, want for example https://app.example.com, http://localhost:3000 or https://*.example.com`,
		"https://a.example:*":       `origin "https://a.example:*" is not valid, want for example https://app.example.com, http://localhost:3000 or https://*.example.com`,
		"https://a.example:70000":   `origin "https://a.example:70000" is not valid, want for example https://app.example.com, http://localhost:3000 or https://*.example.com`,
		"https://.example.com":      `origin "https://.example.com" is not valid, want for example https://app.example.com, http://localhost:3000 or https://*.example.com`,
		"https://a.example:0443":    `origin "https://a.example:0443" is not valid, want for example https://app.example.com, http://localhost:3000 or https://*.example.com`,
		"https://u:p@a.example":     `origin "https://u:p@a.example" is not valid, want for example https://app.example.com, http://localhost:3000 or https://*.example.com`,
		"a,https://ok.example,b":    "origin \"a\" has no scheme, want for example https://a\norigin \"b\" has no scheme, want for example https://b",
	} {
		if _, err := ParseOrigins(list); err == nil || err.Error() != want {
			t.Errorf("%q:\n%v, want\n%s", list, err, want)
		}
	}
}

// Why a page was refused is told to operators, with what they can do.
func TestOriginWhy(t *testing.T) {
	for _, c := range []struct{ list, origin, host, want string }{
		{"", "https://feed.example.com:8443", "feed.example.com", "Host has lost the port of the page in a proxy"},
		{"self", "http://localhost:3000", "localhost", "Host has lost the port of the page in a proxy"},
		{"self,https://app.example.com", "https://[2001:db8::1]:8443", "[2001:db8::1]", "Host has lost the port of the page in a proxy"},
		{"", "http://localhost:3000", "localhost:8080", "the page is on another port of the edge's host: list it"},
		{"", "http://localhost", "localhost:8080", "the page is on another port of the edge's host: list it"},
		{"", "https://feed.example.com", "10.0.0.5:8080", "a proxy in between has to pass Host on"},
		{"", "https://feed.example.com", "", "a proxy in between has to pass Host on"},
		{"https://app.example.com", "https://feed.example.com", "feed.example.com", "add self to -origin"},
		{"https://app.example.com", "https://evil.example", "feed.example.com", "this page is not in -origin"},
		{"https://app.example.com", "http://app.example.com", "feed.example.com", "with the other scheme"},
		{"http://app.example.com", "https://app.example.com", "feed.example.com", "with the other scheme"},
		{"", "null", "feed.example.com", "list null"},
		{"", "capacitor://localhost", "localhost", "a page of an application: list it"},
		{"", "rubbish", "feed.example.com", "not an origin"},
		{"", "https://a b", "feed.example.com", "not an origin"},
	} {
		o, err := ParseOrigins(c.list)
		if err != nil {
			t.Fatal(err)
		}
		if why := o.Why([]byte(c.origin), []byte(c.host)); !strings.Contains(why, c.want) || o.Allow([]byte(c.origin), []byte(c.host)) {
			t.Errorf("list %q, origin %q, host %q: %q, want %q", c.list, c.origin, c.host, why, c.want)
		}
	}
	for list, want := range map[string]bool{"": true, "self": true, "*": true, "https://a.example": false, "null": false, "https://a.example,self": true} {
		if o, err := ParseOrigins(list); err != nil || o.Self() != want {
			t.Errorf("%q: %v", list, err)
		}
	}
}

func TestOriginAllowAllocatesNothing(t *testing.T) {
	same, _ := ParseOrigins("")
	listed, _ := ParseOrigins("https://app.example.com,https://*.example.org,moz-extension://*")
	host := []byte("a-rather-long-name-of-a-feed.example.org")
	extension := []byte("moz-extension://0c0cda0a-2e1a-4a4e-8f0a-3f1b1d0a9a11")
	origin := []byte("https://a-rather-long-name-of-a-feed.example.org")
	if n := testing.AllocsPerRun(100, func() {
		if !same.Allow(origin, host) || !listed.Allow(origin, host) || !listed.Allow(extension, host) {
			t.Fatal("not allowed")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
