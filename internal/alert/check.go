// SPDX-License-Identifier: Apache-2.0

package alert

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"tickedge/internal/topics"
)

// Bounds of what may be asked for.
const (
	NoteMax = 200 // Bytes.
	UserMax = 255 // Bytes, as of a token's sub.
	KeyMax  = 255 // Bytes of an idempotency key.
)

// Windows are those of [Rises] and [Falls].
var Windows = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 24 * time.Hour}

// Intervals and Averages are what averages may be of: as many closed bars of an interval.
var (
	Intervals = []string{"1m", "5m", "1h", "1d"}
	Averages  = []int{10, 20, 50, 200}
)

// percentMax bounds percents: 10,000.
var percentMax = Whole(10_000)

// Axis is a value that is computed of a symbol, with which alerts compare: the price itself, a move within a window, or the
// distance from an average.
type Axis struct {
	Window   time.Duration // A move.
	Interval string        // An average, of so many bars.
	Bars     int
}

// Axis is what a spec compares with.
func (s *Spec) Axis() Axis { return Axis{s.Window, s.Interval, s.Bars} }

// Check returns what is wrong with a spec, or nil.
func (s *Spec) Check(now int64) error {
	if !topics.ValidName(s.Symbol) {
		return errors.New("symbol: want " + topics.NameRule)
	}
	if err := s.checkCondition(); err != nil {
		return err
	}
	if s.Hysteresis.Sign() < 0 || !s.Hysteresis.Less(Whole(100)) || !micro(s.Hysteresis) {
		return errors.New("hysteresis: want a percentage from 0 to below 100, with at most 6 digits behind the point")
	}
	if !s.Repeat && s.Hysteresis != (Num{}) {
		return errors.New(`hysteresis: it is for alerts that fire repeatedly: "repeat":true`)
	}
	if s.Expires != 0 && s.Expires <= now {
		return errors.New("expires: it is over already: want Unix milliseconds to come, or 0 for never")
	}
	return checkNote(s.Note)
}

func (s *Spec) checkCondition() error {
	price, move, average := false, false, false
	switch s.Condition {
	case Above, Below, Crosses:
		price = true
	case Rises, Falls:
		move = true
	case AboveAverage, BelowAverage:
		average = true
	default:
		return fmt.Errorf("condition: want one of %s, %s, %s, %s, %s, %s, %s", Above, Below, Crosses, Rises, Falls, AboveAverage, BelowAverage)
	}
	switch {
	case price && s.Target.Sign() <= 0:
		return errors.New("target_price: want a price above 0")
	case !price && s.Target != (Num{}):
		return fmt.Errorf("target_price: %s has none, but percent", s.Condition)
	case price && s.Percent != (Num{}):
		return fmt.Errorf("percent: %s has none, but target_price", s.Condition)
	case move && (s.Percent.Sign() <= 0), s.Percent.Sign() < 0, percentMax.Less(s.Percent), !micro(s.Percent):
		return errors.New("percent: want a number above 0 (of an average, 0 too) and up to 10000, with at most 6 digits behind the point")
	case move && !slices.Contains(Windows, s.Window):
		return errors.New("window: want one of " + windowNames())
	case !move && s.Window != 0:
		return fmt.Errorf("window: %s has none", s.Condition)
	case average && !slices.Contains(Intervals, s.Interval):
		return errors.New("interval: want one of " + strings.Join(Intervals, ", "))
	case average && !slices.Contains(Averages, s.Bars):
		return errors.New("bars: want one of " + strings.Trim(strings.Join(strings.Fields(fmt.Sprint(Averages)), ", "), "[]"))
	case !average && (s.Interval != "" || s.Bars != 0):
		return fmt.Errorf("interval, bars: %s has none", s.Condition)
	}
	return nil
}

// micro reports whether a number has at most 6 digits behind the point.
func micro(n Num) bool {
	text := n.String()
	at := strings.IndexByte(text, '.')
	return at < 0 || len(text)-at-1 <= 6
}

func checkNote(s string) error {
	if len(s) > NoteMax || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.Cc, r) }) {
		return fmt.Errorf("note: want at most %d bytes of UTF-8 without control characters", NoteMax)
	}
	return nil
}

// CheckUser returns what is wrong with the name of a user, or nil.
func CheckUser(user string) error {
	if user == "" || len(user) > UserMax || !utf8.ValidString(user) ||
		strings.ContainsFunc(user, func(r rune) bool { return unicode.Is(unicode.Cc, r) }) {
		return fmt.Errorf("user_id: want 1 to %d bytes of UTF-8 without control characters, or a whole number", UserMax)
	}
	return nil
}

// WindowName is a window as requests have it, such as 5m.
func WindowName(w time.Duration) string {
	switch {
	case w == 0:
		return ""
	case w%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", w/(24*time.Hour))
	case w%time.Hour == 0:
		return fmt.Sprintf("%dh", w/time.Hour)
	}
	return fmt.Sprintf("%dm", w/time.Minute)
}

// ParseWindow is the reverse of WindowName for [Windows].
func ParseWindow(s string) (time.Duration, error) {
	for _, w := range Windows {
		if WindowName(w) == s {
			return w, nil
		}
	}
	return 0, errors.New("window: want one of " + windowNames())
}

func windowNames() string {
	var names []string
	for _, w := range Windows {
		names = append(names, WindowName(w))
	}
	return strings.Join(names, ", ")
}

// specJSON has the members of a spec that are of another form in JSON.
type specJSON struct {
	plainSpec
	Window   string `json:"window,omitempty"`
	Interval string `json:"interval,omitempty"`
	Bars     int    `json:"bars,omitempty"`
}

type plainSpec Spec

// MarshalJSON has a spec as requests and stores have it.
func (s Spec) MarshalJSON() ([]byte, error) {
	return json.Marshal(specJSON{plainSpec(s), WindowName(s.Window), s.Interval, s.Bars})
}

// UnmarshalJSON is the reverse of MarshalJSON. It checks no more than the forms of members; see [Spec.Check].
func (s *Spec) UnmarshalJSON(b []byte) error {
	var j specJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*s = Spec(j.plainSpec)
	s.Interval, s.Bars = j.Interval, j.Bars
	if j.Window == "" {
		return nil
	}
	w, err := ParseWindow(j.Window)
	s.Window = w
	return err
}
