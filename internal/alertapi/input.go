// SPDX-License-Identifier: Apache-2.0

package alertapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"tickedge/internal/alert"
	"tickedge/internal/protocol"
)

// BodyMax bounds a request, in bytes.
const BodyMax = 16 << 10

// Input is what a request says of an alert.
type Input struct {
	User string // Whose it is; empty if it does not say.
	Spec alert.Spec

	given uint16 // The members of Spec that it names, as bits by their places in members.
}

// member is one of a spec.
type member struct {
	name string
	read func(s *alert.Spec, v jsontext.Value) error
	take func(to, from *alert.Spec)
}

var members = [...]member{
	{"symbol", func(s *alert.Spec, v jsontext.Value) error { return readText(&s.Symbol, v) },
		func(to, from *alert.Spec) { to.Symbol = from.Symbol }},
	{"condition", func(s *alert.Spec, v jsontext.Value) error { return readText((*string)(&s.Condition), v) },
		func(to, from *alert.Spec) { to.Condition = from.Condition }},
	{"target_price", func(s *alert.Spec, v jsontext.Value) error { return readNum(&s.Target, v) },
		func(to, from *alert.Spec) { to.Target = from.Target }},
	{"percent", func(s *alert.Spec, v jsontext.Value) error { return readNum(&s.Percent, v) },
		func(to, from *alert.Spec) { to.Percent = from.Percent }},
	{"window", readWindow, func(to, from *alert.Spec) { to.Window = from.Window }},
	{"interval", func(s *alert.Spec, v jsontext.Value) error { return readText(&s.Interval, v) },
		func(to, from *alert.Spec) { to.Interval = from.Interval }},
	{"bars", readBars, func(to, from *alert.Spec) { to.Bars = from.Bars }},
	{"repeat", readRepeat, func(to, from *alert.Spec) { to.Repeat = from.Repeat }},
	{"hysteresis", func(s *alert.Spec, v jsontext.Value) error { return readNum(&s.Hysteresis, v) },
		func(to, from *alert.Spec) { to.Hysteresis = from.Hysteresis }},
	{"expires", func(s *alert.Spec, v jsontext.Value) error { return readWhole(&s.Expires, v) },
		func(to, from *alert.Spec) { to.Expires = from.Expires }},
	{"note", func(s *alert.Spec, v jsontext.Value) error { return readText(&s.Note, v) },
		func(to, from *alert.Spec) { to.Note = from.Note }},
}

// Give says that an input has a member of Spec. It is false if there is none of that name.
func (in *Input) Give(name string) bool {
	i := slices.IndexFunc(members[:], func(m member) bool { return m.name == name })
	if i >= 0 {
		in.given |= 1 << i
	}
	return i >= 0
}

// GiveAll says that an input has all members of Spec.
func (in *Input) GiveAll() { in.given = 1<<len(members) - 1 }

// GiveSet says that an input has those members of Spec that are not empty.
func (in *Input) GiveSet() {
	for i := range members {
		var one alert.Spec
		if members[i].take(&one, &in.Spec); one != (alert.Spec{}) {
			in.given |= 1 << i
		}
	}
}

// Over is a spec with what an input has of it replaced.
func (in *Input) Over(spec alert.Spec) alert.Spec {
	for i := range members {
		if in.given&(1<<i) != 0 {
			members[i].take(&spec, &in.Spec)
		}
	}
	return spec
}

// ParseInput reads a body: one object, whose members are known and there once. A member that is null is given, and empty. What
// members may be is for [alert.Spec.Check] to say.
func ParseInput(body []byte) (*Input, error) {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if d.PeekKind() != '{' {
		return nil, errors.New(`want an object, such as {"user_id":1,"symbol":"AAPL","condition":"ABOVE","target_price":150}`)
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, notJSON(err)
	}
	in := new(Input)
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, notJSON(err)
		}
		key := name.String()
		value, err := d.ReadValue()
		if err != nil {
			return nil, notJSON(err)
		}
		if err := in.read(key, value); err != nil {
			return nil, err
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, notJSON(err)
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return nil, errors.New("there is something behind the object: want one object alone")
	}
	return in, nil
}

// read reads one member.
func (in *Input) read(name string, v jsontext.Value) (err error) {
	switch {
	case name == "user_id" && v.Kind() == 'n':
		return nil
	case name == "user_id":
		in.User, err = readUser(v)
	case !in.Give(name):
		names := []string{"user_id"}
		for i := range members {
			names = append(names, members[i].name)
		}
		return fmt.Errorf("%q is no member of an alert: want some of %s", protocol.Cut(name, 40), strings.Join(names, ", "))
	case v.Kind() != 'n':
		i := slices.IndexFunc(members[:], func(m member) bool { return m.name == name })
		err = members[i].read(&in.Spec, v)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func notJSON(err error) error {
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return errors.New("a member is there twice: want each once")
	}
	return errors.New("the body is not JSON, in UTF-8 and whole")
}

func readText(to *string, v jsontext.Value) error {
	if v.Kind() != '"' {
		return errors.New("want a text")
	}
	b, err := jsontext.AppendUnquote(nil, v)
	*to = string(b)
	return err
}

// readNum takes the text of a number too, as prices stand in other systems.
func readNum(to *alert.Num, v jsontext.Value) (err error) {
	text := []byte(v)
	switch v.Kind() {
	case '0':
	case '"':
		text = text[1 : len(text)-1] // One with escapes is no number.
	default:
		return alert.ErrNum
	}
	*to, err = alert.ParseNum(text)
	return err
}

func readWhole(to *int64, v jsontext.Value) (err error) {
	if v.Kind() == '0' {
		if *to, err = strconv.ParseInt(string(v), 10, 64); err == nil && *to >= 0 {
			return nil
		}
	}
	*to = 0
	return errors.New("want a whole number, 0 or above, without a fraction or an exponent")
}

func readBars(s *alert.Spec, v jsontext.Value) error {
	var n int64
	err := readWhole(&n, v)
	s.Bars = int(min(n, 1<<20)) // More than any average has.
	return err
}

func readRepeat(s *alert.Spec, v jsontext.Value) error {
	if k := v.Kind(); k != 't' && k != 'f' {
		return errors.New("want true or false")
	}
	s.Repeat = v.Kind() == 't'
	return nil
}

func readWindow(s *alert.Spec, v jsontext.Value) error {
	var text string
	if err := readText(&text, v); err != nil {
		return err
	}
	w, err := alert.ParseWindow(text)
	if s.Window = w; err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "window: "))
	}
	return nil
}

// wholeMax is where numbers end that every reader of JSON has exactly (RFC 8259, 6).
const wholeMax = 1 << 53

// isWhole reports whether the name of a user is a whole number as answers have it, in the one way in which it is written.
func isWhole(user string) bool {
	n, err := strconv.ParseUint(user, 10, 64)
	return err == nil && n < wholeMax && strconv.FormatUint(n, 10) == user
}

func readUser(v jsontext.Value) (user string, err error) {
	switch v.Kind() {
	case '"':
		if err := readText(&user, v); err != nil {
			return "", err
		}
	case '0':
		if user = string(v); !isWhole(user) {
			return "", errors.New("want a text, or a whole number from 0 to below 2^53 without a fraction or an exponent")
		}
	}
	if err := alert.CheckUser(user); err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), "user_id: "))
	}
	return user, nil
}
