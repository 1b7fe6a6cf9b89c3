package redis

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

var jsonTexts = map[string]flaw{
	`0`: flawless, `-0`: flawless, `-0.5e+10`: flawless, `1E5`: flawless, `1234567890.0123456789`: flawless,
	`"\"\\\/\b\f\n\r\t\u00e9"`: flawless, `"é世界😀"`: flawless, "\"\x7f\"": flawless,
	`true`: flawless, `false`: flawless, `null`: flawless,
	`{}`: flawless, `[]`: flawless, `[[],{}]`: flawless, " \t\r\n{ \"a\" : [ 1 , { } ] , \"\" : null } ": flawless,
	`{"a":1,"a":2}`: flawless,
	nested(64):      flawless, strings.Repeat("[", 64) + strings.Repeat("]", 64): flawless,
	`"\ud83d\ude00"`: flawless, `"\uD83D\uDE00x"`: flawless, `"\uFFFF\ue000\ud7ff"`: flawless,

	``: notJSON, ` `: notJSON, `01`: notJSON, `-`: notJSON, `+1`: notJSON, `1.`: notJSON, `.5`: notJSON, `1e`: notJSON, `1e+`: notJSON,
	`0x1`: notJSON, `1 2`: notJSON, `tru`: notJSON, `truex`: notJSON, `nul`: notJSON, `True`: notJSON, `NaN`: notJSON,
	`"`: notJSON, `"a`: notJSON, `"\`: notJSON, `"\x"`: notJSON, `"\u12"`: notJSON, `"\u12g4"`: notJSON, "\"\n\"": notJSON, "\"\x00\"": notJSON,
	`[`: notJSON, `[1`: notJSON, `[1,`: notJSON, `[1,]`: notJSON, `[,1]`: notJSON, `[1 2]`: notJSON, `]`: notJSON, `[}`: notJSON, `[1}`: notJSON,
	`{`: notJSON, `{"a"`: notJSON, `{"a":`: notJSON, `{"a":1`: notJSON, `{"a":1,`: notJSON, `{"a":1,}`: notJSON, `{a:1}`: notJSON, `{1:1}`: notJSON,
	`{"a" 1}`: notJSON, `{,}`: notJSON, `{]`: notJSON, `{"a":1]`: notJSON, `{"a":[1}]`: notJSON, `{}{}`: notJSON, `[],`: notJSON,
	"\ufeff1": notJSON, "\u00a01": notJSON, "1\v": notJSON, `'a'`: notJSON, `/**/1`: notJSON,

	"\"\xff\"": notUTF8, "\"\xc3\"": notUTF8, "\"\xc0\xaf\"": notUTF8, "\"\xed\xa0\x80\"": notUTF8, "\"\xf5\x80\x80\x80\"": notUTF8,
	"\xff": notUTF8, "{\"a\":1}\xc3": notUTF8, "{\"\xe2\x28\xa1\":1}": notUTF8,

	nested(65): tooDeep, strings.Repeat("[", 65) + strings.Repeat("]", 65): tooDeep, strings.Repeat("[", 4096): tooDeep,

	`"\ud83d"`: loneSurrogate, `"\ude00"`: loneSurrogate, `"\ud83dx"`: loneSurrogate, `"\ud83d\n"`: loneSurrogate, `"\ud83d\u0041"`: loneSurrogate,
	`"\ud83d\ud83d\ude00"`: loneSurrogate, `"\ude00\ude00"`: loneSurrogate, `"\ude00\ud83d"`: loneSurrogate, `{"\udfff":1}`: loneSurrogate, `["\uDBFF"]`: loneSurrogate,
}

func TestCheckJSON(t *testing.T) {
	for text, want := range jsonTexts {
		if got := checkJSON(text); got != want {
			t.Errorf("%.40q is %q, want %q", text, flawNames[got], flawNames[want])
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
	if want := valid && isUTF8 && !deep && !lone; (got == flawless) != want {
		t.Fatalf("%q is %q; valid JSON %t, UTF-8 %t, too deep %t, lone surrogate %t", text, flawNames[got], valid, isUTF8, deep, lone)
	}
	switch {
	case got == notUTF8 && isUTF8, got == notJSON && valid:
		t.Fatalf("%q is %q, and it is not", text, flawNames[got])
	case valid && isUTF8 && (got == tooDeep && !deep || got == loneSurrogate && !lone):
		t.Fatalf("%q is %q, and it is not", text, flawNames[got])
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
