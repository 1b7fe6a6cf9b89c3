// SPDX-License-Identifier: Apache-2.0

package httphead_test

import (
	"net/url"
	"strings"
	"testing"

	"tickedge/internal/httphead"
)

func TestCleanPath(t *testing.T) {
	for path, want := range map[string]string{
		"/": "/", "/ws": "/ws", "/ws/": "/ws", "//": "/", "/ws//": "/ws/", "//ws": "//ws", "": "",
		"/%77s": "/ws", "/%77%73": "/ws", "/%57S": "/WS", "/ws%2F": "/ws%2F", "/ws%2f": "/ws%2F", "/a%2fb/": "/a%2Fb",
		"/a%40b": "/a@b", "/a@b": "/a@b", "/a%3ab": "/a:b", "/a+b": "/a+b", "/a%2bb": "/a+b", "/a,b": "/a%2Cb", "/a%2cb": "/a%2Cb",
		"/str%C3%B6me": "/str%C3%B6me", "/str%c3%b6me": "/str%C3%B6me", "/ströme": "/str%C3%B6me", "/a b": "/a%20b", `/a"<`: "/a%22%3C",
		"/100%25": "/100%25", "/%2e%2e/ws": "/../ws", "/ws%00": "/ws%00",
	} {
		if got := string(httphead.CleanPath([]byte(path))); got != want {
			t.Errorf("%q became %q, want %q", path, got, want)
		}
		if got := string(httphead.CleanPath([]byte(want))); got != want && !strings.HasSuffix(want, "/") {
			t.Errorf("%q is clean and became %q", want, got)
		}
	}
	path := []byte("/prices/ws/")
	if n := testing.AllocsPerRun(100, func() { httphead.CleanPath(path) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever stands in a path, its clean form is the same path to others, and clean.
func FuzzCleanPath(f *testing.F) {
	for _, seed := range []string{"/ws/", "/%77s", "/a%2Fb", "/%25%2525", "/ströme,", "/%ff%00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if !strings.HasPrefix(path, "/") {
			return
		}
		want, err := url.PathUnescape("/" + strings.TrimSuffix(path[1:], "/"))
		if err != nil {
			return
		}
		clean := string(httphead.CleanPath([]byte(path)))
		if got, err := url.PathUnescape(clean); err != nil || got != want {
			t.Fatalf("%q became %q (%v)", path, clean, err)
		}
		if again := string(httphead.CleanPath([]byte(clean + "/"))); again != clean {
			t.Fatalf("%q became %q, and that %q", path, clean, again)
		}
	})
}

func TestParsePath(t *testing.T) {
	for s, want := range map[string]string{"/ws": "/ws", "/": "/", "/prices/ws/": "/prices/ws", "/%77s": "/ws", "/ströme": "/str%C3%B6me", "/a b": "/a%20b", "/.well-known/x": "/.well-known/x"} {
		if got, err := httphead.ParsePath(s); got != want || err != nil {
			t.Errorf("%q: %q, %v, want %q", s, got, err, want)
		}
	}
	for s, want := range map[string]string{
		"":                             "does not begin with a slash",
		"ws":                           "does not begin with a slash, want for example /ws",
		"wss://h/ws":                   "is a URL, want its path only",
		"/ws?a":                        "has a query or a fragment",
		"/ws#a":                        "has a query or a fragment",
		"/100%":                        "has a % without two hexadecimal digits behind it, want %25",
		"/%zz":                         "has a % without",
		"/a\nb":                        "has a control character",
		"//ws":                         "has an empty part, or one of dots",
		"/a//b":                        "has an empty part",
		"/a/../b":                      "has an empty part, or one of dots",
		"/%2e%2e":                      "has an empty part, or one of dots",
		"/./ws":                        "has an empty part, or one of dots",
		"/" + strings.Repeat("a", 256): "is longer than 256 bytes",
	} {
		if got, err := httphead.ParsePath(s); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %q, %v, want %q", s, got, err, want)
		}
	}
}
