// SPDX-License-Identifier: Apache-2.0

package alertapi

import (
	"encoding/json"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"tickedge/internal/alert"
)

// IsActive reports whether an alert may fire (again): what users call active.
func IsActive(a *alert.Alert) bool { return a.State == alert.Active || a.State == alert.Waiting }

func appendText(to []byte, name, value string) []byte {
	to = append(to, name...)
	to, _ = jsontext.AppendQuote(to, value) // What is not UTF-8 was not let in.
	return to
}

func appendInt(to []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(to, name...), n, 10)
}

// appendUser has a user that is a whole number as one.
func appendUser(to []byte, user string) []byte {
	if isWhole(user) {
		return append(append(to, `,"user_id":`...), user...)
	}
	return appendText(to, `,"user_id":`, user)
}

// appendAlert appends an alert as answers have it.
func appendAlert(to []byte, a *alert.Alert) []byte {
	to = appendInt(to, `{"id":`, a.ID)
	to = append(appendUser(to, a.User), ',')
	spec, _ := json.Marshal(a.Spec) // Nothing of it can fail.
	to = append(to, spec[1:len(spec)-1]...)
	to = appendText(to, `,"state":`, string(a.State))
	to = append(to, `,"active":`...)
	to = strconv.AppendBool(to, IsActive(a))
	to = appendInt(to, `,"created":`, a.Created)
	to = appendInt(to, `,"arm":`, a.Arm)
	to = appendInt(to, `,"armed":`, a.Armed)
	if f := &a.Last; f.Number > 0 {
		to = appendInt(to, `,"fired":{"n":`, f.Number)
		to = append(appendWhat(to, f), '}')
	}
	return append(to, '}')
}

func appendWhat(to []byte, f *alert.Firing) []byte {
	to = f.Price.Append(append(to, `,"price":`...))
	to = appendInt(to, `,"at":`, f.At)
	return appendText(to, `,"by":`, string(f.By))
}

// appendAlerts appends a page.
func appendAlerts(to []byte, list []alert.Alert, next int64) []byte {
	to = append(to, `{"alerts":[`...)
	for i := range list {
		if i > 0 {
			to = append(to, ',')
		}
		to = appendAlert(to, &list[i])
	}
	if next == 0 {
		return append(to, `],"next":null}`...)
	}
	return append(appendInt(to, `],"next":"`, next), `"}`...)
}

// AppendFiring appends a firing, with what was asked for. It is what the topic of a user has too.
func AppendFiring(to []byte, f *alert.NewsItem) []byte {
	to = appendInt(to, `{"n":`, f.Number)
	to = appendInt(to, `,"alert":`, f.Alert)
	to = appendInt(to, `,"arm":`, f.Arm)
	to = append(appendWhat(to, &f.Firing), ',')
	spec, _ := json.Marshal(f.Spec) // Nothing in it fails.
	return append(to, spec[1:]...)
}

// appendFired appends a page of firings.
func appendFired(to []byte, list []alert.NewsItem, number int64) []byte {
	to = append(to, `{"fired":[`...)
	for i := range list {
		if i > 0 {
			to = append(to, ',')
		}
		to = AppendFiring(to, &list[i])
	}
	return append(appendInt(to, `],"number":`, number), '}')
}

func appendPrice(to []byte, symbol string, price alert.Num, at int64) []byte {
	to = appendText(to, `{"symbol":`, symbol)
	to = price.Append(append(to, `,"price":`...))
	return append(appendInt(to, `,"ts":`, at), '}')
}
