// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// nested is a value inside of so many arrays and objects, by turns.
func nested(depth int) string {
	value := "1"
	for i := range depth {
		if i%2 == 0 {
			value = "[" + value + "]"
		} else {
			value = `{"a":` + value + "}"
		}
	}
	return value
}

var jsonTexts = map[string]Flaw{
	`0`: Flawless, `-0`: Flawless, `-0.5e+10`: Flawless, `1E5`: Flawless, `1234567890.0123456789`: Flawless,
	`"\"\\\/\b\f\n\r\t\u00e9"`: Flawless, `"é世界😀"`: Flawless, "\"\x7f\"": Flawless,
	`true`: Flawless, `false`: Flawless, `null`: Flawless,
	`{}`: Flawless, `[]`: Flawless, `[[],{}]`: Flawless, " \t\r\n{ \"a\" : [ 1 , { } ] , \"\" : null } ": Flawless,
	`{"a":1,"a":2}`: Flawless,
	nested(64):      Flawless, strings.Repeat("[", 64) + strings.Repeat("]", 64): Flawless,
	`"\ud83d\ude00"`: Flawless, `"\uD83D\uDE00x"`: Flawless, `"\uFFFF\ue000\ud7ff"`: Flawless,

	``: NotJSON, ` `: NotJSON, `01`: NotJSON, `-`: NotJSON, `+1`: NotJSON, `1.`: NotJSON, `.5`: NotJSON, `1e`: NotJSON, `1e+`: NotJSON,
	`0x1`: NotJSON, `1 2`: NotJSON, `tru`: NotJSON, `truex`: NotJSON, `nul`: NotJSON, `True`: NotJSON, `NaN`: NotJSON,
	`"`: NotJSON, `"a`: NotJSON, `"\`: NotJSON, `"\x"`: NotJSON, `"\u12"`: NotJSON, `"\u12g4"`: NotJSON, "\"\n\"": NotJSON, "\"\x00\"": NotJSON,
	`[`: NotJSON, `[1`: NotJSON, `[1,`: NotJSON, `[1,]`: NotJSON, `[,1]`: NotJSON, `[1 2]`: NotJSON, `]`: NotJSON, `[}`: NotJSON, `[1}`: NotJSON,
	`{`: NotJSON, `{"a"`: NotJSON, `{"a":`: NotJSON, `{"a":1`: NotJSON, `{"a":1,`: NotJSON, `{"a":1,}`: NotJSON, `{a:1}`: NotJSON, `{1:1}`: NotJSON,
	`{"a" 1}`: NotJSON, `{,}`: NotJSON, `{]`: NotJSON, `{"a":1]`: NotJSON, `{"a":[1}]`: NotJSON, `{}{}`: NotJSON, `[],`: NotJSON,
	"\ufeff1": NotJSON, "\u00a01": NotJSON, "1\v": NotJSON, `'a'`: NotJSON, `/**/1`: NotJSON,

	"\"\xff\"": NotUTF8, "\"\xc3\"": NotUTF8, "\"\xc0\xaf\"": NotUTF8, "\"\xed\xa0\x80\"": NotUTF8, "\"\xf5\x80\x80\x80\"": NotUTF8,
	"\xff": NotUTF8, "{\"a\":1}\xc3": NotUTF8, "{\"\xe2\x28\xa1\":1}": NotUTF8,

	nested(65): TooDeep, strings.Repeat("[", 65) + strings.Repeat("]", 65): TooDeep, strings.Repeat("[", 4096): TooDeep,

	`"\ud83d"`: LoneSurrogate, `"\ude00"`: LoneSurrogate, `"\ud83dx"`: LoneSurrogate, `"\ud83d\n"`: LoneSurrogate, `"\ud83d\u0041"`: LoneSurrogate,
	`"\ud83d\ud83d\ude00"`: LoneSurrogate, `"\ude00\ude00"`: LoneSurrogate, `"\ude00\ud83d"`: LoneSurrogate, `{"\udfff":1}`: LoneSurrogate, `["\uDBFF"]`: LoneSurrogate,
}

func TestCheckJSON(t *testing.T) {
	for text, want := range jsonTexts {
		if got := checkJSON(text); got != want {
			t.Errorf("%.40q is %q, want %q", text, got, want)
		}
		checkOracle(t, text)
	}
}

// checkOracle compares with what slower ways find out.
func checkOracle(t *testing.T, text string) {
	t.Helper()
	got := checkJSON(text)
	valid, isUTF8 := json.Valid([]byte(text)), utf8.ValidString(text)
	deep, lone := deepest(text) > depthMax, hasLoneSurrogate(text)
	if want := valid && isUTF8 && !deep && !lone; (got == Flawless) != want {
		t.Fatalf("%q is %q; valid JSON %t, UTF-8 %t, too deep %t, lone surrogate %t", text, got, valid, isUTF8, deep, lone)
	}
	switch {
	case got == NotUTF8 && isUTF8, got == NotJSON && valid:
		t.Fatalf("%q is %q, and it is not", text, got)
	case valid && isUTF8 && (got == TooDeep && !deep || got == LoneSurrogate && !lone):
		t.Fatalf("%q is %q, and it is not", text, got)
	}
}

// deepest is how deep arrays and objects nest in what is valid JSON.
func deepest(text string) (most int) {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
			most = max(most, depth)
		case c == ']' || c == '}':
			depth--
		}
	}
	return most
}

// hasLoneSurrogate makes use of encoding/json, which puts U+FFFD in their place.
func hasLoneSurrogate(text string) bool {
	const replaced = "\ufffd"
	text = replaceEscapes(strings.ReplaceAll(text, replaced, "x"))
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err != nil {
			return false
		}
		if s, ok := token.(string); ok && strings.Contains(s, replaced) {
			return true
		}
	}
}

// replaceEscapes takes out escapes that stand for U+FFFD itself.
func replaceEscapes(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		if i+6 <= len(text) && strings.EqualFold(text[i:i+6], `\ufffd`) {
			b.WriteString(`\u0041`)
			i += 5
			continue
		}
		b.WriteString(text[i : i+2])
		i++
	}
	return b.String()
}

func FuzzCheckJSON(f *testing.F) {
	for text := range jsonTexts {
		f.Add(text)
	}
	f.Add(benchValue)
	f.Fuzz(checkOracle)
}

// FuzzSurrogates is FuzzCheckJSON for escapes, which mutations of bytes seldom come upon.
func FuzzSurrogates(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7})
	pieces := []string{`\ud800`, `\udbff`, `\udc00`, `\uDFFF`, `\ud7ff`, `\ue000`, `x`, `\n`, `\\`, `\u`, `😀`, `","`, `\"`}
	f.Fuzz(func(t *testing.T, program []byte) {
		text := `["`
		for _, p := range program[:min(len(program), 100)] {
			text += pieces[int(p)%len(pieces)]
		}
		checkOracle(t, text+`"]`)
	})
}
