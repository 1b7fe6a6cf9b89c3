// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// texts sends a text whole, cut in two at every byte, and in fragments of one byte.
// RFC 6455, 5.6 and 8.1: a character may be cut.
func texts(t *testing.T, name, s string, ok bool) {
	t.Helper()
	if utf8.ValidString(s) != ok {
		t.Fatalf("%s: the test is wrong about %q", name, s)
	}
	want := failed(1007)
	if ok {
		want = []string{"text " + show(s)}
	}
	t.Run(name, func(t *testing.T) {
		exchange{"whole", [][]byte{last(opText, s)}, want}.run(t)
		exchange{"between others", [][]byte{last(opText, "a"), last(opText, s)}, append([]string{`text "a"`}, want...)}.run(t)
		for cut := range len(s) + 1 {
			exchange{fmt.Sprintf("cut at %d", cut), [][]byte{more(opText, s[:cut]), last(opCont, s[cut:])}, want}.run(t)
		}
		var octets [][]byte
		for i := range len(s) {
			octets = append(octets, more([]byte{opText, opCont}[min(i, 1)], s[i:i+1]))
		}
		if len(octets) > 0 {
			exchange{"in octets", append(octets, last(opCont, "")), want}.run(t)
		}
	})
}

// Group 6, UTF-8. The sequences are those of Markus Kuhn's test file, which Autobahn's
// cases are made of.
func TestUTF8(t *testing.T) {
	const kosme = "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
	exchange{"6.1.2 three empty fragments", [][]byte{more(opText, ""), more(opCont, ""), last(opCont, "")}, []string{`text ""`}}.run(t)
	exchange{"6.1.3 text in the middle one", [][]byte{more(opText, ""), more(opCont, "middle"), last(opCont, "")}, []string{`text "middle"`}}.run(t)
	// 6.4: it fails as soon as it can, in the bad fragment, and in a frame at the bad byte.
	for _, bad := range []string{"\xf4\x90\x80\x80", "\xf4\x90"} {
		exchange{fmt.Sprintf("6.4 at once, in fragments, %q", bad),
			[][]byte{more(opText, kosme), last(opPing, "first"), more(opCont, bad), last(opPing, "no more")}, failed(1007, `pong "first"`)}.run(t)
		whole := last(opText, kosme+bad+"edited")
		exchange{fmt.Sprintf("6.4 at once, in one frame, %q", bad), [][]byte{whole[:len(whole)-len("edited")]}, failed(1007)}.run(t)
	}

	valid := map[string][]string{
		"6.1 empty":            {""},
		"6.2 mixed":            {"Hello-\xc2\xb5@\xc3\x9f\xc3\xb6\xc3\xa4\xc3\xbc\xc3\xa0\xc3\xa1-UTF-8!!"},
		"6.5 greek":            {kosme},
		"6.7 first of a size":  {"\x00", "\xc2\x80", "\xe0\xa0\x80", "\xf0\x90\x80\x80"},
		"6.9 last of a size":   {"\x7f", "\xdf\xbf", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf"},
		"6.11 boundaries":      {"\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbd", "\xf4\x8f\xbf\xbf"},
		"6.22 non-characters":  nil,
		"6.23 specials":        {"\ufff9", "\ufffa", "\ufffb", "\ufffc", "\ufffd", "\ufffe", "\uffff"},
		"byte order mark, nul": {"\ufeff", "a\x00b"},
	}
	for plane := range rune(17) {
		valid["6.22 non-characters"] = append(valid["6.22 non-characters"], string(plane<<16|0xfffe), string(plane<<16|0xffff))
	}
	for name, list := range valid {
		for _, s := range list {
			texts(t, fmt.Sprintf("%s %q", name, s), s, true)
		}
	}
	// 6.6: a prefix is good where a rune ends, and only there.
	for i := 1; i < len(kosme); i++ {
		texts(t, fmt.Sprintf("6.6 prefix of %d", i), kosme[:i], utf8.RuneStart(kosme[i]))
	}

	invalid := map[string][]string{
		"6.3 surrogate in a text":      {kosme + "\xed\xa0\x80edited"},
		"6.8 5 and 6 bytes":            {"\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80"},
		"6.10 last of 4 to 6 bytes":    {"\xf7\xbf\xbf\xbf", "\xfb\xbf\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf\xbf"},
		"6.11 beyond the last":         {"\xf4\x90\x80\x80"},
		"6.12 continuation bytes":      {"\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80", "\x80\xbf\x80\xbf\x80\xbf"},
		"6.14 last byte missing":       {"\xc0", "\xe0\x80", "\xf0\x80\x80", "\xf8\x80\x80\x80", "\xdf", "\xef\xbf", "\xf7\xbf\xbf", "\xfb\xbf\xbf\xbf"},
		"6.15 incomplete, one by one":  {"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xfc\x80\x80\x80\x80\xdf\xef\xbf\xf7\xbf\xbf\xfb\xbf\xbf\xbf\xfd\xbf\xbf\xbf\xbf"},
		"6.16 impossible bytes":        {"\xfe", "\xff", "\xfe\xfe\xff\xff"},
		"6.17 overlong slash":          {"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf8\x80\x80\x80\xaf", "\xfc\x80\x80\x80\x80\xaf"},
		"6.18 longest overlong":        {"\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xf8\x87\xbf\xbf\xbf", "\xfc\x83\xbf\xbf\xbf\xbf"},
		"6.19 overlong nul":            {"\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", "\xf8\x80\x80\x80\x80", "\xfc\x80\x80\x80\x80\x80"},
		"6.20 surrogates":              {"\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xaf\xbf", "\xed\xb0\x80", "\xed\xbe\x80", "\xed\xbf\xbf"},
		"6.21 pairs of surrogates":     {"\xed\xa0\x80\xed\xb0\x80", "\xed\xa0\x80\xed\xbf\xbf", "\xed\xad\xbf\xed\xb0\x80", "\xed\xaf\xbf\xed\xbf\xbf"},
		"6.13 lonely first bytes":      nil,
		"6.13 lonely, with a blank":    nil,
		"6.12 all continuation bytes":  nil,
		"a rune cut by the next frame": {"\xe2\x82", "\xf0\x9f\x98"},
	}
	var continuation strings.Builder
	for b := 0x80; b < 0xc0; b++ {
		continuation.WriteByte(byte(b))
	}
	invalid["6.12 all continuation bytes"] = []string{continuation.String()}
	for _, from := range [][2]int{{0xc0, 0xdf}, {0xe0, 0xef}, {0xf0, 0xf7}, {0xf8, 0xfb}, {0xfc, 0xfd}} {
		var line strings.Builder
		for b := from[0]; b <= from[1]; b++ {
			line.WriteString(string([]byte{byte(b), ' '}))
		}
		invalid["6.13 lonely first bytes"] = append(invalid["6.13 lonely first bytes"], line.String())
		invalid["6.13 lonely, with a blank"] = append(invalid["6.13 lonely, with a blank"], line.String()[:2])
	}
	for name, list := range invalid {
		for _, s := range list {
			texts(t, fmt.Sprintf("%s %q", name, s), s, false)
		}
	}
	// Binary is not looked at (5.6).
	exchange{"binary", [][]byte{last(opBinary, "\xff\xfe")}, []string{`binary "\xff\xfe"`}}.run(t)
}
