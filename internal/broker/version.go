package broker

import (
	"math"
	"strings"

	"github.com/tidwall/gjson"

	"tickedge/internal/topics"
)

// VersionOf reads the version of a value, which is JSON: a number, or a string that
// holds one, at path. It takes no way through a float, which would make two of what are
// nanoseconds since 1970 the same.
func VersionOf(value, path string) (topics.Version, bool) {
	r := gjson.Get(value, path)
	switch r.Type {
	case gjson.Number:
		return parseVersion(r.Raw)
	case gjson.String:
		return parseVersion(r.Str)
	}
	return topics.Version{}, false
}

// nanoDigits is how many digits of a fraction a version keeps. More are refused, so that
// what a publisher tells apart is never the same here.
const nanoDigits = 9

// parseVersion reads a decimal number without an exponent.
func parseVersion(s string) (v topics.Version, ok bool) {
	s, negative := strings.CutPrefix(s, "-")
	whole, fraction, point := strings.Cut(s, ".")
	if whole == "" || point && fraction == "" || len(fraction) > nanoDigits {
		return v, false
	}
	for i := range len(whole) {
		d := int64(whole[i]) - '0'
		if d < 0 || d > 9 || v.Whole > (math.MaxInt64-d)/10 {
			return v, false
		}
		v.Whole = 10*v.Whole + d
	}
	for i := range nanoDigits {
		v.Nano *= 10
		if i >= len(fraction) {
			continue
		}
		if fraction[i] < '0' || fraction[i] > '9' {
			return v, false
		}
		v.Nano += uint32(fraction[i] - '0')
	}
	if negative {
		v.Whole = -v.Whole
		if v.Nano > 0 { // The whole below, and the rest above it.
			v.Whole, v.Nano = v.Whole-1, 1e9-v.Nano
		}
	}
	v.Set = true
	return v, true
}

// ValidVersionField reports whether a path names members and nothing else that gjson
// knows.
func ValidVersionField(path string) bool {
	for name := range strings.SplitSeq(path, ".") {
		if name == "" || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
			return false
		}
	}
	return true
}
