// SPDX-License-Identifier: Apache-2.0

package pebble

import (
	"encoding/binary"
	"slices"
	"time"

	"tickedge/internal/alert"
)

// A value begins with the version of its form. Numbers are varints, texts stand behind their length, decimal numbers are
// their text (0 is the empty one), and words that are known are their place in a list.
const form = 1

var (
	conditions = []alert.Condition{alert.Above, alert.Below, alert.Crosses, alert.Rises, alert.Falls, alert.AboveAverage, alert.BelowAverage}
	states     = []alert.State{alert.Active, alert.Waiting, alert.Fired, alert.Expired, alert.Deleted}
	sources    = []alert.By{alert.ByPrice, alert.ByBar}
)

// row is an alert as it is stored.
type row struct {
	alert.Alert
	deleted  int64 // When, if it is.
	sequence int64 // Of its newest change.
}

// account is what is stored of a user.
type account struct {
	number    int64 // Of the newest firing.
	published int64
	trimmed   int64 // Firings up to this number are gone.
	alive     int64 // Alerts that are active or waiting.
}

// use is what an idempotency key was used for.
type use struct {
	alert int64
	at    int64
	spec  alert.Spec
}

// appendWord appends the place of a word in a list, from 1 on, or 0 and the word.
func appendWord[T ~string](b []byte, known []T, w T) []byte {
	if i := slices.Index(known, w); i >= 0 {
		return append(b, byte(i+1))
	}
	return appendText(append(b, 0), string(w))
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendNum(b []byte, n alert.Num) []byte {
	if n == (alert.Num{}) {
		return append(b, 0)
	}
	at := len(b)
	b = n.Append(append(b, 0))
	b[at] = byte(len(b) - at - 1) // Some 30 bytes at most.
	return b
}

func appendSpec(b []byte, s *alert.Spec) []byte {
	b = appendText(b, s.Symbol)
	b = appendWord(b, conditions, s.Condition)
	b = appendNum(appendNum(b, s.Target), s.Percent)
	b = binary.AppendVarint(b, int64(s.Window))
	b = appendText(b, s.Interval)
	b = binary.AppendVarint(b, int64(s.Bars))
	repeat := byte(0)
	if s.Repeat {
		repeat = 1
	}
	b = appendNum(append(b, repeat), s.Hysteresis)
	b = binary.AppendVarint(b, s.Expires)
	return appendText(b, s.Note)
}

func appendFiring(b []byte, f *alert.Firing) []byte {
	for _, n := range []int64{f.Number, f.Alert, f.Arm, f.At, f.Stored} {
		b = binary.AppendVarint(b, n)
	}
	return appendWord(appendNum(b, f.Price), sources, f.By)
}

func appendRow(b []byte, r *row) []byte {
	b = appendSpec(appendText(append(b, form), r.User), &r.Spec)
	b = appendWord(b, states, r.State)
	for _, n := range []int64{r.ID, r.Created, r.Arm, r.Armed, int64(r.Side), r.deleted, r.sequence} {
		b = binary.AppendVarint(b, n)
	}
	if r.Last.Number == 0 {
		return append(b, 0)
	}
	return appendFiring(append(b, 1), &r.Last)
}

func appendNews(b []byte, n *alert.NewsItem) []byte {
	return appendSpec(appendFiring(append(b, form), &n.Firing), &n.Spec)
}

func appendUse(b []byte, u *use) []byte {
	return appendSpec(binary.AppendVarint(binary.AppendVarint(append(b, form), u.alert), u.at), &u.spec)
}

// appendNumbers is the value of what is only numbers.
func appendNumbers(b []byte, of ...int64) []byte {
	b = append(b, form)
	for _, n := range of {
		b = binary.AppendVarint(b, n)
	}
	return b
}

// value is what is left of a value, read from its beginning.
type value struct {
	b   []byte
	bad bool
}

// openValue begins a value, at its version.
func openValue(b []byte) value {
	if len(b) == 0 || b[0] != form {
		return value{bad: true}
	}
	return value{b: b[1:]}
}

// done reports whether all was read, and was right.
func (v *value) done() bool { return !v.bad && len(v.b) == 0 }

func (v *value) fail() { v.bad, v.b = true, nil }

func (v *value) int() int64 {
	n, size := binary.Varint(v.b)
	if size <= 0 {
		v.fail()
		return 0
	}
	v.b = v.b[size:]
	return n
}

func (v *value) byte() byte {
	if len(v.b) == 0 {
		v.fail()
		return 0
	}
	b := v.b[0]
	v.b = v.b[1:]
	return b
}

// bytes takes as many as the number before them says.
func (v *value) bytes() []byte {
	n, size := binary.Uvarint(v.b)
	if size <= 0 || n > uint64(len(v.b)-size) {
		v.fail()
		return nil
	}
	b := v.b[size : size+int(n)]
	v.b = v.b[size+int(n):]
	return b
}

func (v *value) text() string { return string(v.bytes()) }

func (v *value) bool() bool {
	b := v.byte()
	if b > 1 {
		v.fail()
	}
	return b == 1
}

func (v *value) num() alert.Num {
	text := v.bytes()
	if len(text) == 0 {
		return alert.Num{}
	}
	n, err := alert.ParseNum(text)
	if err != nil {
		v.fail()
	}
	return n
}

func word[T ~string](v *value, known []T) T {
	i := int(v.byte())
	switch {
	case i == 0:
		return T(v.text())
	case i > len(known):
		v.fail()
		return ""
	}
	return known[i-1]
}

func (v *value) spec(s *alert.Spec) {
	s.Symbol = v.text()
	s.Condition = word(v, conditions)
	s.Target, s.Percent = v.num(), v.num()
	s.Window, s.Interval, s.Bars = time.Duration(v.int()), v.text(), int(v.int())
	s.Repeat, s.Hysteresis = v.bool(), v.num()
	s.Expires, s.Note = v.int(), v.text()
}

func (v *value) firing(f *alert.Firing) {
	for _, to := range []*int64{&f.Number, &f.Alert, &f.Arm, &f.At, &f.Stored} {
		*to = v.int()
	}
	f.Price, f.By = v.num(), word(v, sources)
}

func parseRow(b []byte, r *row) bool {
	v := openValue(b)
	r.User = v.text()
	v.spec(&r.Spec)
	r.State = word(&v, states)
	var side int64
	for _, to := range []*int64{&r.ID, &r.Created, &r.Arm, &r.Armed, &side, &r.deleted, &r.sequence} {
		*to = v.int()
	}
	r.Side = alert.Side(side)
	if int64(r.Side) != side || r.User == "" || len(r.User) > alert.UserMax {
		v.fail()
	}
	if v.bool() {
		v.firing(&r.Last)
	}
	return v.done()
}

func parseNews(b []byte, n *alert.NewsItem) bool {
	v := openValue(b)
	v.firing(&n.Firing)
	v.spec(&n.Spec)
	return v.done()
}

func parseUse(b []byte, u *use) bool {
	v := openValue(b)
	u.alert, u.at = v.int(), v.int()
	v.spec(&u.spec)
	return v.done()
}

func parseNumbers(b []byte, to ...*int64) bool {
	v := openValue(b)
	for _, n := range to {
		*n = v.int()
	}
	return v.done()
}
