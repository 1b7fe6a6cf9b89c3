// SPDX-License-Identifier: Apache-2.0

// Package alert has prices watched for users: an alert fires once when its condition holds. What is here is pure, and
// has the time passed in; the stores have packages of their own below this one.
//
//	num.go     Num: decimal numbers, exactly
//	alert.go   Alert: what a user asks for, and its states
//	check.go   what may be asked for
//	engine.go  Engine: which alerts does a price fire, or arm anew
//	axis.go    the heaps in which alerts wait for a value
//	past.go    moves and averages: what they know of the time before
//	store.go   Store: what a store does, and what it promises
package alert

import "time"

// Condition is when an alert fires.
type Condition string

const (
	Above   Condition = "ABOVE"   // The price is at Target or above it.
	Below   Condition = "BELOW"   // The price is at Target or below it.
	Crosses Condition = "CROSSES" // The price was on one side of Target, and is at Target or on the other side.

	Rises Condition = "RISES" // The price is at least Percent above what it was Window ago.
	Falls Condition = "FALLS" // The price is at least Percent below what it was Window ago.

	// The price is at least Percent above the average of the closes of the last Bars bars of Interval.
	AboveAverage Condition = "ABOVE_AVERAGE"
	BelowAverage Condition = "BELOW_AVERAGE" // The price is at least Percent below it.
)

// State is where an alert is in its life.
type State string

const (
	Active  State = "active"  // It fires when its condition holds.
	Waiting State = "waiting" // It has fired, and becomes active when its condition holds no more, by Hysteresis.
	Fired   State = "fired"   // It has fired, and never does again.
	Expired State = "expired" // Its time was over before it fired (again).
	Deleted State = "deleted" // Stores keep deleted alerts for a while, so that all who watch hear of it. Nobody else sees them.
)

// Side is where a price was when an alert that waits for a crossing was armed.
type Side int8

const (
	Unknown     Side = 0
	UnderTarget Side = -1
	OverTarget  Side = 1
)

// Spec is what a user asks for.
type Spec struct {
	Symbol    string        `json:"symbol"`
	Condition Condition     `json:"condition"`
	Target    Num           `json:"target_price,omitzero"` // Above, Below, Crosses: above 0.
	Percent   Num           `json:"percent,omitzero"`      // Rises, Falls: above 0; averages: 0 and more.
	Window    time.Duration `json:"-"`                     // Rises, Falls: one of Windows.
	Interval  string        `json:"-"`                     // Averages: one of Intervals.
	Bars      int           `json:"-"`                     // Averages: one of Averages.
	// Repeat has it armed anew after it fired, when the price (or move, or distance from the average) is back by Hysteresis percent
	// of the price: for Rises and Falls, and for averages, by as many percentage points.
	Repeat     bool   `json:"repeat,omitempty"`
	Hysteresis Num    `json:"hysteresis,omitzero"`
	Expires    int64  `json:"expires,omitempty"` // In Unix milliseconds; 0 is never.
	Note       string `json:"note,omitempty"`    // At most NoteMax bytes.
}

// Alert is a [Spec] of a user, and what became of it. All times are Unix milliseconds.
type Alert struct {
	ID   int64  // Above 0, and unique in a store.
	User string // The sub of the user's tokens: 1 to UserMax bytes.
	Spec

	State   State
	Created int64
	// Arm is the generation: it rises by one whenever the alert is armed, by its user's change or anew after it fired. A firing names the
	// generation that it is of.
	Arm   int64
	Armed int64 // When it was armed: no price and no bar that began before it fires it.
	Side  Side  // Of Crosses, Unknown until it is known.

	Last Firing // The newest; its Number is 0 if there is none.
}

// By is what fired an alert.
type By string

const (
	ByPrice By = "price" // A price that was heard.
	ByBar   By = "bar"   // The high or low of a closed bar: the price itself was not heard.
)

// Firing is that an alert fired.
type Firing struct {
	Number int64 // Of the user: the first is 1, and none is left out.
	Alert  int64 // The ID.
	Arm    int64
	At     int64 // When it was so, of the price or the end of the bar: Unix milliseconds.
	Price  Num
	By     By
	Stored int64 // When it was stored, by the clock of the store.
}
